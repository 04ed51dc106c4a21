"""What pre-training and fine-tuning share: the trainer, going on after an interruption, the best weights."""

from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from nonet.data.batching import Batches
from nonet.runs import Run, read_metrics
from nonet.training.checkpoints import StateOfRun, read_weights
from nonet.training.data import StepData
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.trainer import build_trainer
from pegasus.data import collate
from pegasus.losses import GapSentenceLoss
from pegasus.model import Summarizer
from pegasus.module import SummarizerModule


@dataclass(frozen=True)
class Sets:
    """The data sets of a run, with their batches."""

    train: Any
    train_batches: Batches
    val: Any | None = None
    val_batches: Batches | None = None


def fit(
    model: Summarizer,
    sets: Sets,
    run: Run,
    *,
    trainer: TrainerOptions,
    optimizer: OptimizerOptions,
    losses: GapSentenceLoss,
    state: dict[str, Any],
    patience: int = 0,
) -> tuple[Summarizer, list[dict[str, Any]]]:
    """Train a model in its run folder; if that has a checkpoint, go on from it.

    Args:
        model: what to start from; it is changed.
        sets: what to train and validate on.
        run: where checkpoints and numbers go.
        trainer: steps, devices, precision, seed.
        optimizer: and its schedule.
        losses: the loss terms.
        state: plain values that a checkpoint must share with the run that goes on from it.
        patience: stop after so many validations without a lower loss; 0: never.

    Returns:
        The model with the weights of the lowest validation loss, or, without validation, with the last ones,
        on the CPU; and the run's numbers, one entry for each line of `metrics.jsonl`.
    """
    kind, config = type(model), model.config
    model.train()
    module = SummarizerModule(model, losses, optimizer, trainer.steps)
    data = StepData(
        sets.train, sets.train_batches, collate, sets.val, sets.val_batches,
        workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
    )  # fmt: skip
    callbacks: list[L.Callback] = [StateOfRun(**state)]
    if patience and sets.val is not None:
        callbacks.append(EarlyStopping("val/loss", patience=patience))
    engine = build_trainer(
        trainer, run, monitor="val/loss" if sets.val is not None else None, callbacks=callbacks
    )
    last, best = run.checkpoints / "last.ckpt", run.checkpoints / "best.ckpt"
    engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    chosen = best if sets.val is not None and best.exists() else last
    finished = kind(config)  # anew: the trained one may lie in pieces on several devices
    finished.load_state_dict(read_weights(chosen, prefix="objective.model."))
    return finished.eval(), read_metrics(run.folder)


def lowest(metrics: list[dict[str, Any]], name: str) -> float | None:
    """The lowest value of a number in the run's metrics, or None if it was never measured."""
    return min((line[name] for line in metrics if name in line), default=None)
