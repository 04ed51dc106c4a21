"""From the options of `pretrain` to a run folder with a model (ours)."""

import dataclasses
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.errors import RunFailed, UserError
from nonet.report.run_page import run_page
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
from nonet.vision_language.training_stages import TRAINING, as_json, read_stages
from nonet.vision_language.word_mask import WordMask
from timix.mix_pass import MixPass
from timix.mix_schedule import mix_weight
from timix.module import MixModule
from timix.pretrain_card import card_text, cost_of, stage_of
from timix.pretrain_data import MixData
from timix.pretrain_notes import PairNotes, ScoreNotes, StepCost
from timix.pretrain_start import Start, start
from timix.scoring import PREDICTOR, check_block
from timix.text_aware_mix import TextAwareMix
from timix.zero_shot import KeptOut, KeptOutCollate

if TYPE_CHECKING:
    from timix.commands.pretrain import Options


@dataclass(frozen=True)
class _Length:
    """How long a run is."""

    batches: RandomBatches
    steps_per_epoch: int
    trainer: TrainerOptions


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
    resumed, notes = folder_of(options.resume), list[str]()
    seed_all(options.trainer.seed)
    begin = start(options, notes.append)
    length = _length(options, len(begin.train), notes)
    module = build_module(options, begin, length.trainer.steps, length.steps_per_epoch)
    data = _data(options, begin, length)
    trainer = length.trainer
    run = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("timix", "pretrain", options, seed=trainer.seed, folder=options.out)
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
        _fit(options, run, module, data, trainer, len(begin.train))
        if run.writes:
            _finish(options, run, begin, module, resumed is not None)
    return run.folder


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
    model, mix, tpp, itc = begin.model, options.mix, options.tpp, options.itc
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
    losses = PairLosses(
        mask, weights=weights, online_keys=itc.online_keys, see=None if mixed is None else mixed.see()
    )
    twin = Twin(model, itc.momentum, skip=losses.skipped_by_twin(model)) if itc.momentum else None
    queue = FeatureQueue(itc.queue, model.config.embed, reset=options.reset_queue) if itc.queue else None
    model.vision.checkpointing = options.checkpointing
    return MixModule(
        model, losses, options.rates, steps=steps, steps_per_epoch=steps_per_epoch, mixed=mixed,
        mix_weight=partial(mix_weight, mix), detector=begin.detector, pta_weight=tpp.loss_weight,
        block=tpp.loc, twin=twin, queue=queue, alpha=itc.alpha, seed=options.trainer.seed,
        separate=mix.optim_steps == "separate", clip=options.trainer.clip,
        skips=options.skip_nonfinite > 0,
    )  # fmt: skip


def _length(options: "Options", count: int, notes: list[str]) -> _Length:
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
    if options.mix.optim_steps == "separate":
        trainer = replace(trainer, devices=1)
    return _Length(batches, passing, trainer)


def _data(options: "Options", begin: Start, length: _Length) -> MixData:
    texts = TextBatch(begin.tokenizer, begin.model.config.max_length)
    val: tuple[Any, ...] = ()
    if begin.val is not None:
        kept = KeptOut(begin.val, begin.plain)
        val = (kept, OrderedBatches(len(kept), options.batch))
    return MixData(
        begin.visits(options), length.batches, begin.collate(options), *val,
        regions=begin.make_regions(options), val_collate=KeptOutCollate(texts),
        workers=length.trainer.workers, steps=length.trainer.steps, accumulate=length.trainer.accumulate,
    )  # fmt: skip


def _fit(
    options: "Options", run: Run, module: MixModule, data: MixData, trainer: TrainerOptions, count: int
) -> None:
    """Train in the run's folder, from its last checkpoint on if there is one."""
    config, separate = module.model.config, not module.automatic_optimization
    state = {
        "batch": options.batch, "steps": trainer.steps, "rates.lr": options.rates.lr,
        "model.image": config.image, "model.patch": config.patch, "mix.optim_steps": options.mix.optim_steps,
    }  # fmt: skip
    monitor = "val/R-mean" if options.keep == "best" and data.val_dataset is not None else None
    notes = [PairNotes(run, count, options.unreadable), StepCost(run, module.kind_of_step)]
    if module.mixed is not None:
        notes.append(ScoreNotes(run, module.mixed.mixer))
    engine = build_trainer(
        replace(trainer, clip=None) if separate else trainer, run, monitor=monitor, mode="max",
        callbacks=[StateOfRun(**state), *notes],
        skip=options.skip_nonfinite,
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
            "the device's memory does not suffice: set checkpointing, mix.optim_steps separate or a lower "
            f"mix.fraction, or lower batch and raise trainer.accumulate; {last_good(run)}"
        ) from error
    if engine.checkpoints.best_path.exists() and monitor is not None:
        module.model.load_state_dict(read_weights(engine.checkpoints.best_path))


def _finish(options: "Options", run: Run, begin: Start, module: MixModule, overwrite: bool) -> None:
    """Save the model, its card and the page."""
    model = module.model.to("cpu").eval()
    lines = [line for line in read_metrics(run.folder) if "val/R-mean" in line]
    best = options.keep == "best"
    last = (max(lines, key=lambda line: float(line["val/R-mean"])) if best else lines[-1]) if lines else {}
    scores = {name.removeprefix("val/"): value for name, value in last.items() if name.startswith("val/")}
    passing = RandomBatches(len(begin.train), min(options.batch, len(begin.train)), 0).steps(0)
    cost = cost_of(run.folder, len(begin.train) / passing * options.trainer.accumulate)
    extras = {} if module.detector is None else {PREDICTOR: module.detector.to("cpu")}
    text = card_text(run.model.name, model.config, options, scores, cost, len(begin.train))
    before = read_stages(pair_folder(options.init), options.init) if options.init else []
    files = {TRAINING: as_json([*before, stage_of(cost, module.learns())])}
    save_pair_model(model, begin.tokenizer, run.model, text, extras=extras, files=files, overwrite=overwrite)
    page = run_page(run.folder)
    page.table([cost | scores], "What it cost, and zero-shot retrieval of images kept out (percent)")
    page.save(run.folder / "report.html")
    print(run.folder)
