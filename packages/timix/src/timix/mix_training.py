"""Pre-training with mixed images: from the options to the module, the run and its page (ours)."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nonet.report.run_page import run_page
from nonet.vision_language.pretraining import running
from nonet.vision_language.pretraining.method import Method
from nonet.vision_language.pretraining.starting import Start
from timix.mix_options import BOX_FREE
from timix.mix_pass import MixPass
from timix.mix_schedule import mix_weight
from timix.module import MixModule
from timix.scoring import check_block
from timix.text_aware_mix import TextAwareMix

if TYPE_CHECKING:
    from timix.commands.pretrain import Options


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
    """What mixing brings to pre-training."""
    mix = options.mix
    how = "No images were mixed."
    if mix.enabled:
        where = f"where {mix.score} says so" if mix.guided else "without looking at texts"
        how = f"Images were mixed ({mix.chosen}, {where}; labels {mix.labels})."
    return Method(
        package="timix", boxes=options.tpp, guided=mix.guided and mix.score == "tpp", box_free=BOX_FREE,
        build=partial(build_module, options), how=how, settings={"mix.optim_steps": mix.optim_steps},
        manual=mix.optim_steps == "separate",
        saves_memory="checkpointing, mix.optim_steps separate or a lower mix.fraction",
    )  # fmt: skip


def build_module(options: "Options", begin: Start, steps: int, steps_per_epoch: int) -> MixModule:
    """The module of a run.

    Args:
        options: of the verb.
        begin: the model, its tokenizer and predictor.
        steps: of the whole run.
        steps_per_epoch: of a pass through the pairs.

    Raises:
        UserError: windows do not fit the grid, or there is no such block.
    """
    model, mix, tpp = begin.model, options.mix, options.tpp
    mixed = None
    if mix.enabled:
        mixer = TextAwareMix(
            model.vision.grid, mix.r_min, mix.r_max, partner=mix.partner, region=mix.chosen,
            per_sample_k=mix.per_sample_k, clamp=mix.clamp,
        )  # fmt: skip
        mixed = MixPass(
            mixer, score=mix.score, block=tpp.loc, labels=mix.labels, smoothing=mix.label_smoothing,
            fraction=mix.fraction, space=mix.space, queue=mix.queue,
        )  # fmt: skip
    if begin.detector is not None or (mix.guided and mix.score == "attn"):
        check_block(model.vision, tpp.loc)
    losses = running.build_losses(options, begin, None if mixed is None else mixed.see())
    twin, queue = running.twin_and_queue(options, model, losses)
    model.vision.checkpointing = options.checkpointing
    return MixModule(
        model, losses, options.rates, steps=steps, steps_per_epoch=steps_per_epoch, mixed=mixed,
        mix_weight=partial(mix_weight, mix), detector=begin.detector, pta_weight=tpp.loss_weight,
        block=tpp.loc, twin=twin, queue=queue, alpha=options.itc.alpha, seed=options.trainer.seed,
        separate=mix.optim_steps == "separate", clip=options.trainer.clip,
        skips=options.skip_nonfinite > 0,
    )  # fmt: skip
