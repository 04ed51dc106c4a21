"""Fine-tuning a causal language model, fully or with LoRA: a model in, a model out (ours).

Defaults of LoRA and what is trained are those of the original code as far as they are known: rank 8, alpha
16, dropout 0.05 (Li et al. 2024, released code).
"""

import contextlib
import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from double_i.adapters import add_lora, merged
from double_i.data import Encoded, PackedText, Rows, collate
from double_i.module import TuneModule
from double_i.tune_options import LoraOptions
from nonet.data.batching import BucketedBatches, OrderedBatches
from nonet.errors import UserError
from nonet.runs import Run, read_metrics
from nonet.training.callbacks import ShowProgress
from nonet.training.checkpoints import Checkpoints, StateOfRun, read_weights
from nonet.training.data import StepData
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.trainer import build_trainer

PREFIX = "objective.model."


class Trained(NamedTuple):
    """A finished training."""

    model: Any
    """in evaluation mode on the CPU; with LoRA, adapters are merged into it"""
    adapter: Any
    """the model with adapters, for `save_pretrained`; None after full training"""
    metrics: list[dict[str, Any]]
    """numbers by step, as in metrics.jsonl"""
    steps: int
    """optimiser steps of the whole run"""


def fit(
    model: Any,
    rows: Sequence[Encoded],
    *,
    pad: int,
    batch: int = 32,
    epochs: float = 0,
    val: Sequence[Encoded] = (),
    lora: LoraOptions | None = None,
    weights: Literal["last", "best"] = "last",
    trainer: TrainerOptions | None = None,
    optimizer: OptimizerOptions | None = None,
    warmup_share: float = 0.0,
    run: Run | None = None,
    state: Mapping[str, Any] | None = None,
) -> Trained:
    """Fine-tune on encoded rows.

    Args:
        model: a causal language model of transformers; it is changed.
        rows: of `double_i.encoding.encode_rows`.
        pad: id that batches are filled up with.
        batch: rows a step and device-group, over all devices.
        epochs: passes over the rows; 0: `trainer.steps` says how long.
        val: rows to validate on.
        lora: train adapters of this shape; None: all weights.
        weights: of the last step, or of the lowest validation loss.
        trainer: steps, devices, precision, seed.
        optimizer: and its schedule; AdamW at 1e-4 by default.
        warmup_share: share of the steps in which the rate rises, unless the optimiser says how many.
        run: where checkpoints and numbers go, and where an interrupted call goes on; None: nothing is kept
            and nothing is printed.
        state: plain values that a checkpoint must share with the call that goes on from it.

    Returns:
        The trained model; the numbers.

    Raises:
        UserError: no rows, no such target modules, or settings that do not fit.
    """
    if not rows:
        raise UserError("there are no rows to train on")
    if weights == "best" and not val:
        raise UserError(
            "the best weights are those of the lowest validation loss: hold rows out, or take last"
        )
    if lora is not None:
        model = add_lora(model, lora, seed=(trainer or TrainerOptions()).seed)
    return train_model(
        model, Rows(rows), batch=batch, epochs=epochs, val=Rows(val) if val else None, weights=weights,
        trainer=trainer or TrainerOptions(validate_every=0, checkpoint_every=0),
        optimizer=optimizer or OptimizerOptions(), warmup_share=warmup_share, run=run, pad=pad, state=state,
    )  # fmt: skip


def train_model(
    model: Any,
    data: Rows | PackedText,
    *,
    batch: int,
    trainer: TrainerOptions,
    optimizer: OptimizerOptions,
    pad: int,
    epochs: float = 0,
    val: Rows | None = None,
    weights: Literal["last", "best"] = "last",
    warmup_share: float = 0.0,
    run: Run | None = None,
    state: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a model, or the adapters in it, on a data set; the arguments are those of `fit`."""
    batches = BucketedBatches(data.lengths, batch=min(batch, len(data)), seed=trainer.seed)
    if epochs:
        steps = max(1, round(epochs * batches.steps(0) / trainer.accumulate))
        trainer = replace(trainer, steps=steps)
    if warmup_share and not optimizer.warmup:
        optimizer = replace(optimizer, warmup=int(warmup_share * trainer.steps))
    shared_out = trainer.strategy == "fsdp"
    if shared_out and run is None:
        raise UserError("weights that are shared out come together in a checkpoint: give a run folder")
    finished = copy.deepcopy(model) if shared_out else model
    model.train()
    module = TuneModule(model, optimizer, steps=trainer.steps)
    step_data = StepData(
        data, batches, partial(collate, pad=pad),
        *(() if val is None else (val, OrderedBatches(val.lengths, batch, by_length=True))),
        workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
    )  # fmt: skip
    with _record(run) as (record, quiet):
        engine = build_trainer(
            trainer, record, monitor=None if val is None else "val/loss",
            callbacks=[StateOfRun(batch=batch, **(state or {}))],
        )  # fmt: skip
        if quiet:  # a file is written only where another step's weights may be wanted
            left_out = (ShowProgress, Checkpoints) if weights == "last" else (ShowProgress,)
            engine.callbacks = [
                callback for callback in engine.callbacks if not isinstance(callback, left_out)
            ]
        last, best = record.checkpoints / "last.ckpt", record.checkpoints / "best.ckpt"
        engine.fit(module, datamodule=step_data, ckpt_path=last if last.exists() else None)
        chosen = best if weights == "best" and best.exists() else last
        finished.to("cpu")
        if chosen.exists():
            _put(finished, read_weights(chosen, prefix=PREFIX))
        metrics = read_metrics(record.folder)
    finished.eval()
    if hasattr(finished, "peft_config"):
        return Trained(merged(finished), finished, metrics, trainer.steps)
    return Trained(finished, None, metrics, trainer.steps)


def _put(model: Any, found: Mapping[str, Any]) -> None:
    """Load trained weights; what was frozen is in the model already."""
    absent, extra = model.load_state_dict(dict(found), strict=False)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    lost = sorted(trained & set(absent))
    if lost or extra:
        raise UserError(
            f"the checkpoint does not fit the model: {(lost or list(extra))[0]} is only in one of them"
        )


@contextlib.contextmanager
def _record(run: Run | None) -> Iterator[tuple[Run, bool]]:
    """The run that was given, or one in a folder that goes away."""
    if run is not None:
        yield run, False
        return
    with tempfile.TemporaryDirectory(prefix="double-i-") as scratch:
        yield _Silent(Path(scratch), "double_i", "train", writes=True), True


class _Silent(Run):
    """A run that keeps its numbers and prints nothing."""

    def say(self, text: str) -> None:
        """Nothing."""
