"""Checkpoints of a run: last.ckpt to go on from, best.ckpt by a validated number; whole or not at all.

A checkpoint is taken between two steps, when everything that belongs to the first one is done: the optimiser,
the hooks, the validation if one was due. Resuming therefore takes nothing from Lightning's inner counters but
the number of steps: positions in the data and random numbers are functions of it (nonet.training.data,
nonet.training.seeds).
"""

import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from nonet.errors import RunFailed, UserError
from nonet.files import replacing
from nonet.runs import Run
from nonet.training.callbacks import FiniteLoss, Interrupts, last_good

SETTINGS = "nonet_settings"  # the key in a checkpoint of what a resumed run must share


class WholeFiles(TorchCheckpointIO):  # type: ignore[misc]
    """Writes a checkpoint beside its place, then renames it; reads tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write it at once or not at all.

        Raises:
            RunFailed: it could not be written; what was there before is still there.
        """
        try:
            with replacing(path) as part:
                torch.save(checkpoint, part)
        except (OSError, RuntimeError) as error:  # of a full disk torch says "unexpected pos 576 vs 534"
            there = "the last good one is still there" if Path(path).exists() else "there is none yet"
            raise RunFailed(
                f"{path}: the checkpoint could not be written ({str(error).splitlines()[0]}), {there}: "
                "make room on the disk, and resume the run"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read it, without running any code from it."""
        return read_checkpoint(path)


def read_checkpoint(path: str | Path, *, mmap: bool = False) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Args:
        path: the file.
        mmap: leave tensors on disk until they are used.

    Raises:
        UserError: no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a checkpoint") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint, or a damaged one ({reason})") from error
    if not isinstance(found, dict) or "state_dict" not in found:
        raise UserError(f"{path}: not a checkpoint of a run (no state_dict in it)")
    return found


def read_weights(path: str | Path, prefix: str = "model.") -> dict[str, Tensor]:
    """The weights of one part of a LightningModule, named as that part names them.

    Args:
        path: last.ckpt or best.ckpt of a run.
        prefix: the attribute that holds the part, with its dot.

    Raises:
        UserError: nothing in the checkpoint has this prefix.
    """
    weights = read_checkpoint(path, mmap=True)["state_dict"]
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        raise UserError(
            f"{path}: no weights under {prefix!r}; the first is {next(iter(weights), 'absent')!r}"
        )
    return found


class StateOfRun(L.Callback):  # type: ignore[misc]
    """Plain values that a checkpoint keeps and a resumed run must share: seed, batch size, tokenizer hash.

    Args:
        **settings: by the name of the option, so that the error can say which one to change back.
    """

    def __init__(self, **settings: str | int | float | bool | None) -> None:
        self.settings = settings

    @property
    def state_key(self) -> str:
        """One for each set of names: a trainer may have several."""
        return f"{type(self).__name__}({', '.join(sorted(self.settings))})"

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the settings."""
        checkpoint.setdefault(SETTINGS, {}).update(self.settings)

    def on_load_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Compare the settings.

        Raises:
            UserError: one differs.
        """
        refuse_other_settings(checkpoint.get(SETTINGS, {}), self.settings)


def refuse_other_settings(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UserError that names the first setting that differs; what one side lacks is not compared."""
    for name, value in now.items():
        if name in kept and kept[name] != value:
            raise UserError(
                f"{name} is {value} here but {kept[name]} in the checkpoint: "
                f"resume with {name} {kept[name]}, or start a new run"
            )


def refuse_other_run(folder: Path | None, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other settings, before it is opened: it keeps no trace of the refusal.

    Args:
        folder: the run's, as `nonet.runs.folder_of` finds it; None: nothing is gone on with.
        settings: what its `StateOfRun` keeps.

    Raises:
        UserError: a setting differs from that in its last checkpoint, or that is damaged.
    """
    last = None if folder is None else folder / "checkpoints" / "last.ckpt"
    if last is not None and last.exists():
        refuse_other_settings(read_checkpoint(last, mmap=True).get(SETTINGS, {}), settings)


class Checkpoints(L.Callback):  # type: ignore[misc]
    """Keeps last.ckpt and best.ckpt of a run; goes on from one; saves and ends when the run is interrupted.

    Args:
        run: whose folder; nothing is written on other ranks than the first.
        every: steps between two; one more is saved at the end.
        monitor: name of the validated number that best.ckpt has the best of; without one there is no
            best.ckpt.
        mode: whether the least or the greatest is best.
        finite: looks at losses before anything is saved.
        interrupts: knows whether somebody wants the run to end.

    Attributes:
        best: the best value so far.
        best_step: the step that reached it.
        pending: a validation that was interrupted has to be done again.
    """

    def __init__(
        self,
        run: Run,
        *,
        every: int,
        monitor: str | None,
        mode: Literal["min", "max"] = "min",
        finite: FiniteLoss,
        interrupts: Interrupts,
    ) -> None:
        self.run, self.every, self.monitor, self.mode = run, every, monitor, mode
        self.finite, self.interrupts = finite, interrupts
        self.best: float | None = None
        self.best_step: int | None = None
        self.pending = False
        self._saved = -1  # the step of last.ckpt
        self._resumed = False

    @property
    def last_path(self) -> Path:
        """Where the run can be continued from."""
        return self.run.checkpoints / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """The best one, or the last one where nothing was monitored."""
        path = self.run.checkpoints / "best.ckpt"
        return path if path.exists() else self.last_path

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Make the folder; sweep up what a killed run left half-written."""
        if trainer.is_global_zero:
            self.run.checkpoints.mkdir(parents=True, exist_ok=True)
            for part in self.run.checkpoints.glob(".*.ckpt.*.part"):
                part.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and whether a validation is still to do."""
        return {"best": self.best, "best_step": self.best_step, "pending": self.pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what another session knew."""
        self.best, self.best_step, self.pending = state["best"], state["best_step"], state["pending"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how many processes there were."""
        checkpoint["processes"] = trainer.world_size

    def on_load_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on at the checkpoint's step."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        step, processes = int(checkpoint["global_step"]), checkpoint.get("processes", trainer.world_size)
        checkpoint.pop(
            "loops", None
        )  # Lightning's own way back depends on the hook in which a checkpoint was made
        _continue_at(trainer, step)
        self._saved, self._resumed = step, True
        if processes != trainer.world_size:
            self.run.say(
                f"the checkpoint was made by {processes} processes, now there are {trainer.world_size}: "
                "the same batches follow, but sums are rounded and dropout is drawn otherwise"
            )

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Drop metrics beyond the checkpoint; finish the validation that was interrupted."""
        if self._resumed:
            self.rewind(trainer)
        if self.pending:
            _validate(trainer)
            self.pending = False

    def rewind(self, trainer: L.Trainer) -> None:
        """Drop the metrics of steps that are run again."""
        if trainer.is_global_zero:
            self.run.rewind(trainer.global_step)
        self._resumed = False

    def settle(self, trainer: L.Trainer) -> None:
        """Put into the files what a validation after the end of training found: the weights are the same."""
        self.pending = False
        if trainer.is_global_zero:
            checkpoint = read_checkpoint(self.last_path)
            checkpoint["callbacks"][self.state_key] = self.state_dict()
            WholeFiles().save_checkpoint(checkpoint, self.last_path)
            if self.best_step == trainer.global_step:
                _link(self.last_path, self.run.checkpoints / "best.ckpt")

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Between two steps: save if it is time, end if somebody wants it."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        stop, step = self.interrupts.wanted(trainer), trainer.global_step
        if stop or (self.every and step and step % self.every == 0):
            self.save(trainer)
        if stop:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Do not wait for the end of a validation when somebody wants to end."""
        if trainer.state.fn == TrainerFn.FITTING and self.interrupts.wanted(trainer):
            self.pending = True
            self.save(trainer)
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save best.ckpt if it is."""
        if self.monitor is None:
            return
        found = trainer.callback_metrics.get(self.monitor)
        if found is None:
            names = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise UserError(
                f"monitor is {self.monitor!r}, but validation logs no such number; there are: {names}"
            )
        value = float(trainer.strategy.broadcast(float(found)))
        if value != value or (self.best is not None and not self._better(value, self.best)):
            return
        self.best, self.best_step, self.pending = value, trainer.global_step, False
        if trainer.state.fn == TrainerFn.FITTING:
            self._write(trainer, self.run.checkpoints / "best.ckpt")

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save the end."""
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Write last.ckpt, unless it is of this step already.

        Raises:
            RunFailed: a loss or a weight is not finite; the last good checkpoint stays.
        """
        if trainer.global_step != self._saved:
            self._write(trainer, self.last_path)
            self._saved = trainer.global_step

    def _write(self, trainer: L.Trainer, path: Path) -> None:
        self.finite.check(trainer)
        bad = self.finite.first_bad_weight(trainer)
        if bad is not None:
            raise RunFailed(
                f"step {trainer.global_step}: weight {bad} is not finite although the loss was; "
                f"{last_good(self.run)}: lower the learning rate or set clip"
            )
        trainer.save_checkpoint(path, weights_only=False)

    def _better(self, value: float, than: float) -> bool:
        return value < than if self.mode == "min" else value > than


def _continue_at(trainer: L.Trainer, step: int) -> None:
    """Set Lightning's counters as if `step` steps had been made and nothing else were under way."""
    loop = trainer.fit_loop.epoch_loop
    batches = step * trainer.accumulate_grad_batches
    for progress, count in (
        (loop.automatic_optimization.optim_progress.optimizer.step.total, step),
        (loop.manual_optimization.optim_step_progress.total, step),
        (loop.batch_progress.total, batches),
    ):
        for name in vars(progress):
            setattr(progress, name, count)
    loop._batches_that_stepped = step


def _validate(trainer: L.Trainer) -> None:
    """Run the validation of a fit outside of its turn."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True


def _link(source: Path, path: Path) -> None:
    """Let `path` be the same file as `source`; a copy where the file system has no links."""
    with replacing(path) as part:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
