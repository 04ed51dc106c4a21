"""Pre-training with a part of the patches: from the options to the module, the run and its page (ours)."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nonet.report.run_page import run_page
from nonet.vision_language.pretraining import running
from nonet.vision_language.pretraining.method import Method
from nonet.vision_language.pretraining.starting import Start
from pta_vlp.model_folders import SELECT, select_json
from pta_vlp.pretrain_module import PtaModule
from pta_vlp.pruned_look import PrunedLook
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

if TYPE_CHECKING:
    from pta_vlp.commands.pretrain import Options

BOX_FREE = "set score_alpha to 0 and leave out itm_reprune, and attention selects patches without boxes"


def pretrain(options: "Options") -> Path:
    """Pre-train, save the model, its card and its page; prints the run's folder.

    Args:
        options: of the verb `pretrain`.

    Returns:
        The run's folder; `model` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: losses are not finite, memory does not suffice, or too many images cannot be read.
    """
    done = running.pretrain(options, method(options))
    if done.writes:
        page = run_page(done.folder)
        page.table([done.row], "What it cost, and zero-shot retrieval of images kept out (percent)")
        page.save(done.folder / "report.html")
        print(done.folder)
    return done.folder


def method(options: "Options") -> Method:
    """What selecting patches brings to pre-training."""
    select = selection(options)
    how, remarks = "All patches were kept.", tuple[str, ...]()
    if select.selection != "off":
        by: str = "the attention of CLS" if options.select.by_text else select.selection
        if options.score_alpha:
            by = f"the patch detector ({options.score_alpha:g}) and {by} ({1 - options.score_alpha:g})"
        how = f"Behind block {select.block} {select.keep:g} of the patches were kept, by {by}."
    if select != options.select:
        left = " (that of init is left out)" if options.init else ""
        remarks = (
            f"no regions, so no patch detector{left}: patches are selected by the attention of CLS, and the "
            "model says so",
        )
    return Method(
        package="pta-vlp", boxes=options.pta, guided=options.guided, box_free=BOX_FREE,
        build=partial(build_module, options), how=how, remarks=remarks,
        settings={
            "select.selection": select.selection, "select.block": select.block, "select.keep": select.keep,
            "select.late": select.late,
            "score_alpha": options.score_alpha, "itm_reprune": options.itm_reprune,
        },
        files={SELECT: select_json(select)}, saves_memory="checkpointing or a lower select.keep",
    )  # fmt: skip


def selection(options: "Options") -> SelectOptions:
    """How the model that comes of it selects patches: by attention if it has no detector to ask."""
    if options.select.by_text and not (options.regions or options.guided):
        return dataclasses.replace(options.select, selection="attention")
    return options.select


def build_module(options: "Options", begin: Start, steps: int, steps_per_epoch: int) -> PtaModule:
    """The module of a run.

    Args:
        options: of the verb.
        begin: the model, its tokenizer and detector.
        steps: of the whole run.
        steps_per_epoch: of a pass through the pairs.

    Raises:
        UserError: there is no such block.
    """
    model, select = begin.model, selection(options)
    PrunedVision(model.vision, None, dataclasses.replace(select, selection="attention"))  # has it the block?
    look = PrunedLook(select, alpha=options.score_alpha, again=options.itm_reprune)
    losses = running.build_losses(options, begin, look, look.pairs if options.itm_reprune else None)
    twin, queue = running.twin_and_queue(options, model, losses)
    model.vision.checkpointing = options.checkpointing
    return PtaModule(
        model, losses, options.rates, steps=steps, steps_per_epoch=steps_per_epoch, look=look,
        keep_ramp=options.keep_ramp, detector=begin.detector, pta_weight=options.pta.loss_weight, twin=twin,
        queue=queue, alpha=options.itc.alpha, seed=options.trainer.seed,
    )  # fmt: skip
