"""One training of an encoder to its last step, resumed where it was interrupted (ours).

A run of `prune` has many of them, one for each level: each keeps its checkpoints in a folder of its own, and
the steps of all are counted on in the run's metrics.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L

from cap_prune.levels import levels_of
from cap_prune.module import CapModule, Objective, Optimize
from nonet.data.batching import Batches, BucketedBatches, RandomBatches
from nonet.errors import RunFailed, UserError
from nonet.runs import Run
from nonet.training.checkpoints import StateOfRun
from nonet.training.data import StepData
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.trainer import build_trainer


class PartOfRun(Run):
    """One of several trainings in a run: its own checkpoints, the run's log, steps counted on.

    Args:
        run: the whole.
        name: of this training; its checkpoints are in `checkpoints/NAME`.
        first: steps of the trainings before it.
    """

    def __init__(self, run: Run, name: str, first: int) -> None:
        super().__init__(run.folder, run.package, run.verb, writes=run.writes)
        self.run, self.name, self.first = run, name, first

    @property
    def checkpoints(self) -> Path:
        """The folder for this training's checkpoints."""
        return self.run.checkpoints / self.name

    def log(self, step: int, **metrics: float) -> None:
        """Append the numbers of a step of this training."""
        self.run.log(self.first + step, **metrics)

    def rewind(self, step: int | None) -> None:
        """Drop the metrics beyond a step of this training."""
        self.run.rewind(None if step is None else self.first + step)

    def say(self, text: str) -> None:
        """A line for the run's log."""
        self.run.say(text)


def train_batches(lengths: Any, batch: int, *, seed: int, bucket: bool) -> Batches:
    """The batches to train on: of similar lengths in random order, or random ones.

    Args:
        lengths: (N,) tokens of each example.
        batch: examples a batch, over all devices; all of them if they are fewer.
        seed: decides the order.
        bucket: similar lengths.
    """
    count = len(lengths)
    if bucket:
        return BucketedBatches(lengths, batch=min(batch, count), seed=seed)
    return RandomBatches(count, min(batch, count), seed)


def steps_of(batches: Batches, epochs: float, trainer: TrainerOptions) -> int:
    """Optimiser steps of a training: so many epochs, or what the trainer's options say where they are 0."""
    return max(1, round(epochs * batches.steps(0) / trainer.accumulate)) if epochs else trainer.steps


def train(
    model: Any,
    examples: Any,
    collate: Callable[[list[Any]], Any],
    objective: Objective,
    *,
    run: Run,
    batch: int,
    epochs: float,
    trainer: TrainerOptions,
    optimizer: OptimizerOptions,
    warmup_share: float = 0.0,
    bucket: bool = True,
    first: int = 0,
    state: dict[str, Any] | None = None,
    callbacks: Sequence[L.Callback] = (),
    optimize: Optimize | None = None,
) -> int:
    """Train a model in place; from the run's last checkpoint on if there is one.

    Args:
        model: an encoder with a head; on the CPU and in evaluation mode afterwards.
        examples: of the training side; `examples[(epoch, index)]` is an item, `lengths` their tokens.
        collate: items to a batch.
        objective: gives the parts of a batch's loss.
        run: where checkpoints and numbers go.
        batch: examples a batch, over all devices.
        epochs: passes; 0: `trainer.steps` says how long.
        trainer: devices, precision, seed.
        optimizer: rate and schedule.
        warmup_share: share of the steps in which the rate rises, unless the optimiser says how many.
        bucket: batches of similar lengths.
        first: steps of the run before.
        state: plain values that a checkpoint must share with the call that goes on from it.
        callbacks: more of them.
        optimize: see `CapModule`.

    Returns:
        How many steps it had.

    Raises:
        RunFailed: a loss is not finite; the text has step, rate, the parts of the loss and the last level.
        UserError: no examples, or a checkpoint of other settings.
    """
    if not len(examples):
        raise UserError("there are no examples to train on")
    batches = train_batches(examples.lengths, batch, seed=trainer.seed, bucket=bucket)
    steps = steps_of(batches, epochs, trainer)
    trainer = replace(trainer, steps=steps)
    if warmup_share and not optimizer.warmup:
        optimizer = replace(optimizer, warmup=int(warmup_share * steps))
    module = CapModule(
        model, objective, optimizer, steps=steps, first=first, keep=trainer.log_every + 1, optimize=optimize
    )
    data = StepData(
        examples, batches, collate, workers=trainer.workers, steps=steps, accumulate=trainer.accumulate
    )
    settings = {"batch": batch, "steps": steps, "lr": optimizer.lr, "bucket": bucket} | (state or {})
    engine = build_trainer(trainer, run, callbacks=[StateOfRun(**settings), *callbacks], label=_label(run))
    last = run.checkpoints / "last.ckpt"
    model.train()
    if not last.exists():
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except RunFailed as error:
        raise RunFailed(_with_parts(str(error), module, run)) from error
    model.to("cpu").eval()
    return steps


def own_device(accelerator: str) -> str:
    """Where this process computes what is no training: of several GPUs on its own."""
    if accelerator != "cuda":
        return accelerator
    return f"cuda:{os.environ.get('LOCAL_RANK') or os.environ.get('SLURM_LOCALID') or 0}"


def _label(run: Run) -> str:
    return run.name if isinstance(run, PartOfRun) else run.verb


def _with_parts(text: str, module: CapModule, run: Run) -> str:
    """The error with the last level that is whole, and what the failing step's loss was made of."""
    levels = levels_of(run.folder)
    if levels:
        text = f"{text}; the last complete level is {levels[-1]}"
    path = run.folder / "nonfinite.json"
    try:
        step = int(json.loads(path.read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError):
        return text
    account = module.account(step)
    return f"{text}; {account}" if account else text
