"""From the options of `detector` to a run's folder with the model and its new detector (ours)."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nonet.errors import RunFailed, UserError
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of, read_metrics
from nonet.training.callbacks import last_good
from nonet.training.checkpoints import StateOfRun, read_weights
from nonet.training.model_card import ModelCard, Score
from nonet.training.options import TrainerOptions
from nonet.training.seeds import seed_all
from nonet.training.trainer import build_trainer
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.pretraining.notes import PairNotes
from nonet.vision_language.region_data import RegionBatches
from nonet.vision_language.region_files import RegionTable, read_regions
from nonet.vision_language.region_samples import RegionImages
from nonet.vision_language.training_stages import TRAINING, as_json, read_stages
from nonet.vision_language.whole_regions import WholeCollate, WholeRegions
from pta_vlp.detector_data import RegionData, held_out, refuse_shared
from pta_vlp.detector_module import DetectorModule
from pta_vlp.model_folders import Loaded, detector_for, load_model, save_model
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

if TYPE_CHECKING:
    from pta_vlp.commands.detector import Options

WHOLE = 32  # images of a validation batch

_LOAD = """
from pta_vlp import PrunedVision, load_model

loaded = load_model("{name}")
vision = PrunedVision(loaded.model.vision, loaded.detector, loaded.options)
"""


@dataclass(frozen=True, eq=False)
class Start:
    """What is trained on what."""

    loaded: Loaded
    detector: PatchDetector
    select: SelectOptions
    train: RegionTable
    val: RegionTable | None
    images: RegionImages


def train_detector(options: "Options") -> Path:
    """Train, save the model with its detector, its card and its page; prints the run's folder.

    Args:
        options: of the verb `detector`.

    Returns:
        The run's folder; `model` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: losses are not finite, memory does not suffice, or too many images cannot be used.
    """
    resumed, notes = folder_of(options.resume), list[str]()
    seed_all(options.trainer.seed)
    begin = start(options, notes.append)
    make = regions_of(options, begin)
    trainer = _length(options, make(0, 1).epoch_steps)
    whole = None if begin.val is None else WholeRegions(begin.val, begin.images)
    length = min(options.pta.max_length, begin.loaded.model.config.positions)
    data = RegionData(
        begin.train, make, size=options.pta.regions_batch, seed=trainer.seed, whole=whole, whole_batch=WHOLE,
        collate=WholeCollate(begin.loaded.tokenizer, length), workers=trainer.workers, steps=trainer.steps,
        accumulate=trainer.accumulate,
    )  # fmt: skip
    module = DetectorModule(
        begin.loaded.model, begin.detector, options.optimizer, block=begin.select.block, steps=trainer.steps,
        keeps=tuple(sorted({0.3, 0.5, 0.7, begin.select.keep})),
    )  # fmt: skip
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("pta-vlp", "detector", options, seed=trainer.seed, folder=options.out)
    )
    with run:
        for note in notes:
            run.say(note)
        run.say(
            f"{len(begin.train):,} images to train on, {0 if begin.val is None else len(begin.val):,} kept "
            f"out; {trainer.steps:,} steps; the detector looks behind block {begin.select.block}"
        )
        _fit(options, run, begin, module, data, trainer)
        if run.writes:
            _finish(options, run, begin, module, resumed is not None)
    return run.folder


def start(options: "Options", say: Any) -> Start:
    """Read, check and build.

    Args:
        options: of the verb.
        say: takes lines on what was read and left out.

    Raises:
        UserError: something is missing, broken, or does not fit.
    """
    loaded = load_model(options.model, say=say, image=options.resize)
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.folder}: no tokenizer in it, so texts cannot be read")
    block = loaded.options.block if options.block is None else options.block
    select = replace(loaded.options, selection="text", block=block, keep=options.share)
    known = loaded.detector is not None and not options.fresh
    if known and block != loaded.options.block:
        raise UserError(
            f"{options.model}: its detector has learnt to look behind block {loaded.options.block}, not "
            f"{block}: leave block out, or begin anew with --fresh"
        )
    detector = loaded.detector if known and loaded.detector is not None else detector_for(loaded.model)
    PrunedVision(loaded.model.vision, detector, select)  # has it the block?
    say("the model's detector goes on learning" if known else "a new detector begins with random weights")
    train = _read(options.regions, options.region_images, options.max_words, say)
    if options.val:
        val: RegionTable | None = _read(options.val, options.val_images, options.max_words, say)
        assert val is not None
        refuse_shared(train, val)
    else:
        train, val = held_out(train, options.val_size, options.trainer.seed)
    config, augment = loaded.model.config, options.augment
    height, width = config.image_size
    images = RegionImages(
        height=height, width=width, patch=config.patch, max_regions=options.pta.max_regions,
        min_visible=options.pta.min_visible, flip=augment.flip, operations=augment.operations,
        magnitude=augment.magnitude, mean=config.mean, deviation=config.deviation,
    )  # fmt: skip
    return Start(loaded, detector, select, train, val, images)


def regions_of(options: "Options", begin: Start) -> Any:
    """(rank, processes) to the batches of regions of a process."""
    length = min(options.pta.max_length, begin.loaded.model.config.positions)

    def make(rank: int, world: int) -> RegionBatches:
        return RegionBatches(
            begin.train, begin.images, begin.loaded.tokenizer, size=options.pta.regions_batch,
            seed=options.trainer.seed, max_length=length, rank=rank, world=world,
        )  # fmt: skip

    return make


def _read(files: tuple[Path, ...], folder: Path | None, max_words: int, say: Any) -> RegionTable:
    table = read_regions(files, folder=folder, max_words=max_words)
    for line in table.said():
        say(f"regions: {line}")
    return table


def _length(options: "Options", epoch_steps: int) -> TrainerOptions:
    """The trainer's options with the steps of the whole run, and those between validations."""
    trainer = options.trainer
    passing = max(1, epoch_steps // trainer.accumulate)
    if options.epochs:
        trainer = replace(trainer, steps=max(1, round(options.epochs * epoch_steps / trainer.accumulate)))
    if options.validate:
        trainer = replace(trainer, validate_every=max(1, round(options.validate * passing)))
    if options.optimizer.schedule in ("linear", "cosine") and options.optimizer.warmup >= trainer.steps:
        raise UserError(
            f"optimizer.warmup {options.optimizer.warmup} leaves nothing of {trainer.steps} steps: make it "
            "shorter"
        )
    return trainer


def _fit(
    options: "Options", run: Run, begin: Start, module: DetectorModule, data: RegionData,
    trainer: TrainerOptions,
) -> None:  # fmt: skip
    """Train in the run's folder, from its last checkpoint on if there is one."""
    config = begin.loaded.model.config
    state = StateOfRun(
        steps=trainer.steps, block=begin.select.block, model=options.model,
        **{"optimizer.lr": options.optimizer.lr, "pta.regions_batch": options.pta.regions_batch,
           "resize": config.image},
    )  # fmt: skip
    monitor = "val/ap" if options.keep == "best" and begin.val is not None else None
    engine = build_trainer(
        trainer, run, monitor=monitor, mode="max",
        callbacks=[state, PairNotes(run, len(begin.train), options.unreadable)], skip=options.skip_nonfinite,
    )  # fmt: skip
    last = run.checkpoints / "last.ckpt"
    if not last.exists():
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # the model is
            engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            "the device's memory does not suffice: lower pta.regions_batch and raise trainer.accumulate; "
            f"{last_good(run)}"
        ) from error
    if monitor is not None and engine.checkpoints.best_path.exists():
        module.detector.load_state_dict(read_weights(engine.checkpoints.best_path, prefix="detector."))


def _finish(options: "Options", run: Run, begin: Start, module: DetectorModule, overwrite: bool) -> None:
    """Save the model with its detector, its card and the page."""
    lines = [line for line in read_metrics(run.folder) if "val/ap" in line]
    best = options.keep == "best"
    last = (max(lines, key=lambda line: float(line["val/ap"])) if best else lines[-1]) if lines else {}
    scores = {name.removeprefix("val/"): value for name, value in last.items() if name.startswith("val/")}
    boxes = int(np.diff(begin.train.first).sum())
    card = ModelCard(
        title=run.model.name,
        what=f"The image-text model `{options.model}` with a patch detector, trained with `pta-vlp "
        f"detector`: behind vision block {begin.select.block} it says which patches a text is about. The "
        "model's own weights are as they were.",
        tags=("image-text-retrieval", "pta-vlp"), library="pta-vlp", base=options.model,
        data=f"{boxes:,} regions of {len(begin.train):,} images "
        f"({', '.join(path.name for path in options.regions)}).",
        options=dump(options),
        scores=[Score(name, value, data="whole images kept out") for name, value in scores.items()],
        limits=["The model did not learn to do without patches: fine-tune it at the share that is kept."],
        load=_LOAD.format(name=run.model.name),
    ).text()  # fmt: skip
    stages = [*read_stages(begin.loaded.folder, options.model), _stage(options, run, module)]
    save_model(
        module.model.cpu().eval(), module.detector.cpu(), begin.loaded.tokenizer, run.model, card,
        options=begin.select, files={TRAINING: as_json(stages)}, overwrite=overwrite,
    )  # fmt: skip
    page = run_page(run.folder)
    if scores:
        page.table([scores], "How well patches of boxes are found, on whole images kept out (0 to 1)")
    page.save(run.folder / "report.html")
    print(run.folder)


def _stage(options: "Options", run: Run, module: DetectorModule) -> dict[str, Any]:
    """What this training took; its examples are regions."""
    last = read_metrics(run.folder)[-1]
    hours = float(last["seconds"]) / 3600 * module.trainer.world_size
    return {
        "verb": "detector", "losses": ["pta"], "steps": last["step"],
        "examples": last["step"] * options.pta.regions_batch * options.trainer.accumulate,
        "device_hours": round(hours, 5),
    }  # fmt: skip
