"""Training a ranker and choosing its weights: with checkpoints in a folder, or in memory alone (ours).

Fine-tunings of a few steps are many in learning curves; writing the optimiser's state for each of them would
take longer than the training.
"""

import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from nonet.files import write_json
from nonet.runs import Run as RunFolder
from nonet.training.callbacks import ShowProgress
from nonet.training.checkpoints import Checkpoints, StateOfRun, read_weights
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.trainer import build_trainer
from prop_ir.finetune_module import RankerModule


class Chosen(NamedTuple):
    """Which weights a fit ended with."""

    start: float | None
    """the validated metric before training; None without validation"""
    best: float | None
    """with the chosen weights"""
    step: int
    """steps behind them; 0: the starting ones"""


class KeepBest(L.Callback):  # type: ignore[misc]
    """Keeps the trained weights with the greatest validated number in memory.

    Args:
        monitor: the number.
        start: its value before training, which has to be exceeded.
    """

    def __init__(self, monitor: str, start: float) -> None:
        self.monitor, self.best, self.step = monitor, start, 0
        self.weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Copy the weights if they are better."""
        value = float(trainer.callback_metrics[self.monitor])
        if value > self.best:
            self.best, self.step, self.weights = value, trainer.global_step, weights_of(module.ranker)


def fit(
    module: RankerModule,
    data: StepData,
    options: TrainerOptions,
    *,
    validate: Callable[[], float] | None,
    patience: int = 0,
    folder: Path | None = None,
    state: dict[str, Any] | None = None,
) -> Chosen:
    """Train, and leave the module's ranker with the chosen weights, on the CPU.

    Args:
        module: what to train.
        data: its groups and validation queries.
        options: steps, validations, seed.
        validate: the metric with the present weights; None: nothing is validated, the last weights count.
        patience: stop after so many validations that were no better; 0: never.
        folder: for checkpoints and numbers, and to go on from; None: everything stays in memory, silently.
        state: plain values that a checkpoint must share with the call that goes on from it.
    """
    monitor = f"val/{module.metric}" if validate else None
    before = weights_of(module.ranker) if validate else {}
    start = _start(folder, validate) if validate else None
    callbacks: list[L.Callback] = [StateOfRun(**(state or {}))]
    module.train()  # Lightning leaves the mode as it is
    if module.head_only:
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    if monitor and patience:
        callbacks.append(EarlyStopping(monitor, mode="max", patience=patience))
    if folder is None:
        keep = KeepBest(monitor, start) if monitor and start is not None else None
        _fit_in_memory(module, data, options, [*callbacks, *([keep] if keep else [])])
        best, step, weights = (keep.best, keep.step, keep.weights) if keep else (None, options.steps, None)
    else:
        engine = _fit_in_folder(module, data, options, callbacks, monitor, folder)
        best, step, weights = None, engine.global_step, None
        if start is not None:
            best, step = engine.checkpoints.best, engine.checkpoints.best_step or 0
            if best is not None and best > start:
                weights = read_weights(folder / "checkpoints" / "best.ckpt", prefix="ranker.")
            else:
                best, step = start, 0
    if start is not None:
        module.ranker.load_state_dict(before if weights is None else weights, strict=weights is None)
    return Chosen(start, best, step)


def weights_of(ranker: Any) -> dict[str, Tensor]:
    """A copy of a ranker's weights on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in ranker.state_dict().items()}


def _fit_in_memory(
    module: RankerModule, data: StepData, options: TrainerOptions, callbacks: list[L.Callback]
) -> None:
    with tempfile.TemporaryDirectory(prefix="prop-ir-") as scratch:
        silent = RunFolder(Path(scratch), "prop_ir", "finetune", writes=False)
        engine = build_trainer(options, silent, callbacks=callbacks)
        # a few steps: no bar, and nothing to go on from
        engine.callbacks = [c for c in engine.callbacks if not isinstance(c, Checkpoints | ShowProgress)]
        engine.fit(module, datamodule=data)


def _fit_in_folder(
    module: RankerModule,
    data: StepData,
    options: TrainerOptions,
    callbacks: list[L.Callback],
    monitor: str | None,
    folder: Path,
) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    record = RunFolder(folder, "prop_ir", "finetune", writes=True)
    engine = build_trainer(options, record, monitor=monitor, mode="max", callbacks=callbacks)
    last = record.checkpoints / "last.ckpt"
    engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    if not monitor and last.exists():  # nothing was left to do: the weights are in the file alone
        module.ranker.load_state_dict(read_weights(last, prefix="ranker."))
    return engine


def _start(folder: Path | None, validate: Callable[[], float]) -> float:
    """The metric before training; kept, as a call that goes on has other weights by then."""
    path = folder / "start.json" if folder else None
    if path and path.exists():
        return float(json.loads(path.read_text(encoding="utf-8"))["value"])
    value = validate()
    if path:
        write_json(path, {"value": value})
    return value
