"""Pre-training as one function: a run folder in, a re-ranker out; goes on where it was interrupted."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from nonet.data.batching import Batches, OrderedBatches
from nonet.runs import Run, read_metrics
from nonet.training.checkpoints import StateOfRun, read_weights
from nonet.training.data import StepData
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.trainer import build_trainer
from prop_ir.data import RopData, collate
from prop_ir.losses import PropLoss
from prop_ir.model import PropModel, ranking_head
from prop_ir.module import PropModule

Weights = Literal["last", "best"]


@dataclass(frozen=True)
class Sets:
    """The data sets of a run, with their batches."""

    train: RopData
    train_batches: Batches
    val: RopData | None = None
    val_batches: OrderedBatches | None = None
    padding: int = 0
    """id of the padding piece"""


def fit(
    model: PropModel,
    sets: Sets,
    run: Run,
    *,
    trainer: TrainerOptions,
    optimizer: OptimizerOptions,
    losses: PropLoss,
    head_rate: float = 1.0,
    bert_adam: bool = False,
    freeze_embeddings: bool = False,
    weights: Weights = "last",
    state: Mapping[str, Any] | None = None,
) -> tuple[PropModel, list[dict[str, Any]]]:
    """Pre-train a model in its run folder; if that has a checkpoint, go on from it.

    Args:
        model: what to start from; it is changed.
        sets: what to train and validate on.
        run: where checkpoints and numbers go.
        trainer: steps, devices, precision, seed.
        optimizer: and its schedule.
        losses: the loss terms.
        head_rate: factor of the learning rate for the heads.
        bert_adam: BertAdam in place of the named optimiser.
        freeze_embeddings: leave the word embeddings as they are.
        weights: of the last step, or of the step with the lowest validation loss.
        state: plain values that a checkpoint must share with the run that goes on from it.

    Returns:
        The model with the chosen weights, on the CPU in evaluation mode; and the run's numbers, one entry for
        each line of `metrics.jsonl`.
    """
    finished = copy.deepcopy(model)  # the trained one may lie in pieces on several devices
    model.train()
    if freeze_embeddings:
        model.ranker.get_input_embeddings().weight.requires_grad_(False)
    if not losses.mlm_weight:  # a head that no loss asks has no gradient, for which DDP would wait
        model.words.requires_grad_(False)
    head = ranking_head(model.ranker)
    for name, weight in model.ranker.named_parameters():
        # the score's own bias cancels in differences: what Adam would follow is rounding
        if name in head and (not losses.rop_weight or weight.shape == (1,)):
            weight.requires_grad_(False)
    if bert_adam and trainer.clip is not None:
        run.say("BertAdam clips each gradient by itself: trainer.clip is not used")
        trainer = replace(trainer, clip=None)
    module = PropModule(
        model, losses, optimizer, steps=trainer.steps, head_rate=head_rate, bert_adam=bert_adam
    )
    data = StepData(
        sets.train, sets.train_batches, partial(collate, padding=sets.padding), sets.val, sets.val_batches,
        workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
    )  # fmt: skip
    monitor = "val/loss" if sets.val is not None else None
    engine = build_trainer(trainer, run, monitor=monitor, callbacks=[StateOfRun(**(state or {}))])
    last, best = run.checkpoints / "last.ckpt", run.checkpoints / "best.ckpt"
    engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    chosen = best if weights == "best" and best.exists() else last
    finished.load_state_dict(read_weights(chosen, prefix="objective.model."))
    return finished.eval(), read_metrics(run.folder)
