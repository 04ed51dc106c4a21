"""From the options of a verb `pretrain` to a run folder with a model (ours)."""

import dataclasses
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.errors import RunFailed, UserError
from nonet.runs import Run, folder_of, read_metrics
from nonet.training.callbacks import last_good
from nonet.training.checkpoints import (
    SETTINGS,
    StateOfRun,
    read_checkpoint,
    read_weights,
    refuse_other_settings,
)
from nonet.training.options import TrainerOptions
from nonet.training.seeds import seed_all
from nonet.training.trainer import build_trainer
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_folders import pair_folder, save_pair_model
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_passes import See, SeePairs
from nonet.vision_language.patch_detector import PREDICTOR
from nonet.vision_language.pretraining.card import card_text, cost_of, stage_of
from nonet.vision_language.pretraining.method import Method, Plain, begin_with
from nonet.vision_language.pretraining.notes import PairNotes, StepCost
from nonet.vision_language.pretraining.options import PretrainOptions
from nonet.vision_language.pretraining.pairs_and_regions import PairRegionData
from nonet.vision_language.pretraining.region_module import RegionModule
from nonet.vision_language.pretraining.starting import Start
from nonet.vision_language.pretraining.zero_shot import KeptOut, KeptOutCollate
from nonet.vision_language.training_stages import TRAINING, as_json, read_stages
from nonet.vision_language.word_mask import WordMask


class Done(NamedTuple):
    """What a pre-training left.

    Attributes:
        folder: of the run; `model` is in it.
        writes: whether this process is the one that writes.
        row: what it cost and its zero-shot scores in percent, by name.
    """

    folder: Path
    writes: bool
    row: dict[str, Any]


@dataclass(frozen=True)
class _Length:
    """How long a run is."""

    batches: RandomBatches
    steps_per_epoch: int
    trainer: TrainerOptions


def pretrain(options: PretrainOptions, method: Method) -> Done:
    """Pre-train, and save the model with its card.

    Args:
        options: of the verb `pretrain`.
        method: what is trained on them.

    Returns:
        Where, and what it came to.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: losses are not finite, memory does not suffice, or too many images cannot be read.
    """
    resumed, notes = folder_of(options.resume), list(method.remarks)
    seed_all(options.trainer.seed)
    begin = begin_with(options, method, notes.append)
    length = _length(options, method, len(begin.train), notes)
    module = method.build(begin, length.trainer.steps, length.steps_per_epoch)
    data = _data(options, begin, length)
    trainer = length.trainer
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create(method.package, "pretrain", options, seed=trainer.seed, folder=options.out)
    )
    with run:
        for note in notes:
            run.say(note)
        begin.write_notes(run)
        run.say(
            f"{len(begin.train):,} items to train on, {0 if begin.val is None else len(begin.val.items):,} "
            f"images kept out; {trainer.steps:,} steps, {length.steps_per_epoch:,} a pass; "
            f"{sum(each.numel() for each in begin.model.parameters()):,} parameters"
        )
        _fit(options, method, run, module, data, trainer, len(begin.train))
        row = _finish(options, method, run, begin, module, resumed is not None) if run.writes else {}
    return Done(run.folder, run.writes, row)


def build_losses(
    options: PretrainOptions, begin: Start, see: See | None = None, see_pairs: SeePairs | None = None
) -> PairLosses:
    """The losses of pairs.

    Args:
        options: of the verb.
        begin: the model and its tokenizer.
        see: what the vision tower makes of a batch; None: all of its tokens.
        see_pairs: what it makes of it for the pairs of matching; None: the same.
    """
    model = begin.model
    weights = dataclasses.asdict(options.losses)
    share = weights.pop("masked")
    if model.decoder is None:
        weights["prefix"] = 0.0
    mask = None
    if weights["mlm"]:
        tokenizer = begin.tokenizer
        mask = WordMask(
            model.config.vocabulary, mask_id=tokenizer.mask_token_id, begin_id=tokenizer.cls_token_id,
            share=share,
        )  # fmt: skip
    return PairLosses(
        mask, weights=weights, online_keys=options.itc.online_keys, see=see, see_pairs=see_pairs
    )


def twin_and_queue(
    options: PretrainOptions, model: PairModel, losses: PairLosses
) -> tuple[Twin | None, FeatureQueue | None]:
    """The momentum model and the queue of its features; None where the options leave them out."""
    itc = options.itc
    twin = Twin(model, itc.momentum, skip=losses.skipped_by_twin(model)) if itc.momentum else None
    queue = FeatureQueue(itc.queue, model.config.embed, reset=options.reset_queue) if itc.queue else None
    return twin, queue


def _length(options: PretrainOptions, method: Method, count: int, notes: list[str]) -> _Length:
    """Batches, steps of a pass, and the trainer's options with the steps of the whole run."""
    size, trainer = min(options.batch, count), options.trainer
    if size < options.batch:
        notes.append(f"warning: batch is {options.batch}, and there are {count} items: all are one batch")
    batches = RandomBatches(count, size, trainer.seed)
    passing = max(1, batches.steps(0) // trainer.accumulate)
    if options.epochs:
        steps = max(1, round(options.epochs * batches.steps(0) / trainer.accumulate))
        trainer = replace(trainer, steps=steps)
    if options.rates.warmup >= trainer.steps:
        raise UserError(
            f"rates.warmup {options.rates.warmup} leaves nothing of {trainer.steps} steps: make it shorter"
        )
    if options.validate:
        trainer = replace(trainer, validate_every=max(1, round(options.validate * passing)))
    if method.manual:
        trainer = replace(trainer, devices=1)
    return _Length(batches, passing, trainer)


def _data(options: PretrainOptions, begin: Start, length: _Length) -> PairRegionData:
    texts = TextBatch(begin.tokenizer, begin.model.config.max_length)
    val: tuple[Any, ...] = ()
    if begin.val is not None:
        kept = KeptOut(begin.val, begin.plain)
        val = (kept, OrderedBatches(len(kept), options.batch))
    return PairRegionData(
        begin.visits(options), length.batches, begin.collate(options), *val,
        regions=begin.make_regions(options), val_collate=KeptOutCollate(texts),
        workers=length.trainer.workers, steps=length.trainer.steps, accumulate=length.trainer.accumulate,
    )  # fmt: skip


def _fit(
    options: PretrainOptions, method: Method, run: Run, module: RegionModule, data: PairRegionData,
    trainer: TrainerOptions, count: int,
) -> None:  # fmt: skip
    """Train in the run's folder, from its last checkpoint on if there is one."""
    config = module.model.config
    state: dict[str, Plain] = {
        "batch": options.batch, "steps": trainer.steps, "rates.lr": options.rates.lr,
        "model.image": config.image, "model.patch": config.patch, **method.settings,
    }  # fmt: skip
    monitor = "val/R-mean" if options.keep == "best" and data.val_dataset is not None else None
    notes = [PairNotes(run, count, options.unreadable), StepCost(run, module.kind_of_step)]
    engine = build_trainer(
        replace(trainer, clip=None) if method.manual else trainer, run, monitor=monitor, mode="max",
        callbacks=[StateOfRun(**state), *notes, *module.callbacks(run)], skip=options.skip_nonfinite,
    )  # fmt: skip
    last = run.checkpoints / "last.ckpt"
    if last.exists():  # before Lightning finds that weights do not fit
        refuse_other_settings(read_checkpoint(last, mmap=True).get(SETTINGS, {}), state)
    else:
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # the twin is
            engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"the device's memory does not suffice: set {method.saves_memory}, or lower batch and raise "
            f"trainer.accumulate; {last_good(run)}"
        ) from error
    if engine.checkpoints.best_path.exists() and monitor is not None:
        module.model.load_state_dict(read_weights(engine.checkpoints.best_path))


def _finish(
    options: PretrainOptions, method: Method, run: Run, begin: Start, module: RegionModule, overwrite: bool
) -> dict[str, Any]:
    """Save the model and its card; what it cost, and its scores."""
    model = module.model.to("cpu").eval()
    lines = [line for line in read_metrics(run.folder) if "val/R-mean" in line]
    best = options.keep == "best"
    last = (max(lines, key=lambda line: float(line["val/R-mean"])) if best else lines[-1]) if lines else {}
    scores = {name.removeprefix("val/"): value for name, value in last.items() if name.startswith("val/")}
    passing = RandomBatches(len(begin.train), min(options.batch, len(begin.train)), 0).steps(0)
    cost = cost_of(run.folder, len(begin.train) / passing * options.trainer.accumulate)
    extras = {} if module.detector is None else {PREDICTOR: module.detector.to("cpu")}
    text = card_text(
        run.model.name, method.package, method.how, model.config, options, scores, cost, len(begin.train),
        method.limits,
    )  # fmt: skip
    before = read_stages(pair_folder(options.init), options.init) if options.init else []
    files = {TRAINING: as_json([*before, stage_of(cost, module.learns())]), **method.files}
    save_pair_model(model, begin.tokenizer, run.model, text, extras=extras, files=files, overwrite=overwrite)
    return cost | scores
