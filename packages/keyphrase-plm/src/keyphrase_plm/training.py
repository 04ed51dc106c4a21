"""Training of any family, or of a pre-training objective, in a run folder that can be gone on with (ours)."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from keyphrase_plm.data import Examples, WithIds
from keyphrase_plm.module import Judge, LossModule
from nonet.data.batching import BucketedBatches, OrderedBatches
from nonet.errors import UserError
from nonet.runs import Run, read_metrics
from nonet.training.checkpoints import StateOfRun, read_weights
from nonet.training.data import StepData
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.training.trainer import build_trainer

Monitor = Literal["loss", "f1", "last"]


def fit(
    family: Any,
    train: Sequence[Any],
    run: Run,
    *,
    val: Sequence[Any] = (),
    batch: int | None = None,
    batch_tokens: int | None = 16384,
    epochs: float = 0,
    select: Monitor = "loss",
    judge: Judge | None = None,
    patience: int = 0,
    warmup_share: float = 0.0,
    max_skipped: int = 0,
    trainer: TrainerOptions | None = None,
    optimizer: OptimizerOptions | None = None,
    state: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Train in a run folder; if that has a checkpoint, go on from it.

    Args:
        family: a `Family`, or anything with its `example`, `collate` and `forward`; it is changed, and ends
            in evaluation mode on the CPU with the weights that `select` names.
        train: rows of `encode`.
        run: where checkpoints and numbers go.
        val: rows to validate on.
        batch: rows a batch at most, over all devices.
        batch_tokens: padded pieces a batch at most, both sides together.
        epochs: passes over the rows; 0: `trainer.steps` says how long.
        select: `loss`: weights of the lowest validation loss; `f1`: of the greatest `f1` of the judge;
            `last`: of the last step. Without validation rows, always the last.
        judge: measures predictions at each validation.
        patience: stop after so many validations without a better one; 0: never.
        warmup_share: share of the steps in which the rate rises, unless the optimiser says how many.
        max_skipped: steps whose loss is not finite are left out and counted; so many in succession end the
            run; 0: the first one does.
        trainer: steps, devices, precision, seed.
        optimizer: and its schedule.
        state: plain values that a checkpoint must share with the run that goes on from it.
        say: takes a line on how long the run is; None: the run's own log.

    Returns:
        The run's numbers, one entry for each line of `metrics.jsonl`.

    Raises:
        UserError: no rows, or settings that do not fit.
    """
    trainer, optimizer = trainer or TrainerOptions(), optimizer or OptimizerOptions()
    if not train:
        raise UserError("there are no rows to train on")
    if select == "f1" and val and judge is None:
        raise ValueError("select f1 needs a judge")
    data = Examples(train, family.example, seed=trainer.seed)
    held_out = Examples(val, family.example, seed=trainer.seed, fixed=True) if val else None
    lengths = data.lengths
    batches = BucketedBatches(
        lengths, batch=None if batch is None else min(batch, len(data)),
        max_tokens=_limit(batch_tokens, lengths), seed=trainer.seed,
    )  # fmt: skip
    a_pass = batches.steps(0) / trainer.accumulate
    if epochs:
        trainer = replace(trainer, steps=max(1, round(epochs * a_pass)))
    if warmup_share and not optimizer.warmup:
        optimizer = replace(optimizer, warmup=int(warmup_share * trainer.steps))
    (say or run.say)(f"{trainer.steps:,} steps, {trainer.steps / a_pass:.3g} passes over {len(data):,} rows")
    finished = copy.deepcopy(family) if trainer.strategy == "fsdp" else family
    family.train()
    module = LossModule(family, optimizer, steps=trainer.steps, judge=judge if val else None)
    sets: tuple[Any, ...] = ()
    if held_out is not None:
        sizes = held_out.lengths
        limit = _limit(batch_tokens, sizes)
        sets = (held_out, OrderedBatches(sizes, batch, max_tokens=limit, by_length=True))
    step_data = StepData(
        data, batches, WithIds(family.collate), *sets,
        workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
    )  # fmt: skip
    chosen_by = None if held_out is None or select == "last" else f"val/{select}"
    mode: Literal["min", "max"] = "max" if select == "f1" else "min"
    callbacks: list[L.Callback] = [
        StateOfRun(batch=batch, batch_tokens=batch_tokens, steps=trainer.steps, **(state or {}))
    ]
    if patience and chosen_by is not None:
        callbacks.append(EarlyStopping(chosen_by, patience=patience, mode=mode))
    engine = build_trainer(trainer, run, monitor=chosen_by, mode=mode, callbacks=callbacks, skip=max_skipped)
    last, best = run.checkpoints / "last.ckpt", run.checkpoints / "best.ckpt"
    engine.fit(module, datamodule=step_data, ckpt_path=last if last.exists() else None)
    chosen = best if chosen_by is not None and best.exists() else last
    finished.to("cpu").load_state_dict(read_weights(chosen, prefix="family."))
    finished.eval()
    return read_metrics(run.folder)


def best_of(metrics: Sequence[Mapping[str, Any]], name: str, *, greatest: bool = False) -> float | None:
    """The best value of a number in a run's metrics; None where it was never measured."""
    values = [float(line[name]) for line in metrics if name in line]
    if not values:
        return None
    return max(values) if greatest else min(values)


def _limit(batch_tokens: int | None, lengths: Any) -> int | None:
    """The tokens of a batch, but no fewer than its longest row has."""
    return None if batch_tokens is None else max(batch_tokens, int(lengths.max(0).sum()))
