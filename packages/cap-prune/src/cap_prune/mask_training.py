"""What happens between the steps of a training with masks: decisions, snapshots, levels (ours).

All of it is a function of the step and of what a checkpoint holds, so that a resumed training does the same.
"""

import copy
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cap_prune.banks import Banks
from cap_prune.density import Cubic
from cap_prune.levels import complete, density_name, read_facts, save_level
from cap_prune.masked_layers import Masking, bake, layers_of
from cap_prune.module import Objective, Parts
from cap_prune.remaining import Remaining, remaining
from nonet.errors import UserError
from nonet.files import replacing
from nonet.runs import Run

MEASURE_EVERY = 25
"""steps between two counts of what a threshold leaves"""


class LevelSaver:
    """Saves a model with zeros in place of masks when its density passes a level.

    Args:
        masking: decides for a density, or for a threshold whose density is found out.
        densities: of the levels, falling; the last one is saved at the end, when a density can be set.
        tokenizer: saved beside each.
        run: they are its folders.
        score: a model's measures; None: none.
        facts: for each level's step.json.
        options: of the run as YAML.
    """

    def __init__(
        self,
        masking: Masking,
        densities: Sequence[float],
        tokenizer: Any,
        run: Run,
        *,
        score: Callable[[Any], dict[str, float]] | None,
        facts: Mapping[str, Any],
        options: str,
    ) -> None:
        self.masking, self.tokenizer, self.run = masking, tokenizer, run
        self.score, self.facts, self.options = score, facts, options
        self.sets = masking.start == 1.0  # levels are densities; soft movement's are thresholds
        self.waiting = list(densities[:-1] if self.sets else densities)

    def passed(self, model: Any, step: int, level: float) -> None:
        """Save the levels that the model has reached with this many steps done."""
        if not self.waiting or not (self.sets or step % MEASURE_EVERY == 0):
            return
        density = level if self.sets else remaining(model).density
        while self.waiting and density <= self.waiting[0]:
            self._save(model, step, self.waiting.pop(0), last=False)

    def save_last(self, model: Any, step: int) -> Path:
        """Save the model at the end of its training, whose masks are decided already."""
        density = self.masking.final if self.sets else remaining(model).density
        return self._save(model, step, density, last=True)

    def _save(self, model: Any, step: int, density: float, *, last: bool) -> Path:
        folder = self.run.folder / density_name(_short(density))
        if complete(folder) and not last:
            self._log(read_facts(folder), step)
            return folder
        copied = copy.deepcopy(model).eval()
        if self.sets and not last:
            self.masking.decide(layers_of(copied), density)
        counted = remaining(copied)
        bake(copied)
        metrics = self.score(copied) if self.score is not None else {}
        found = {"density": _short(density if self.sets else counted.density), "step": step, "last": last}
        found |= {"metrics": metrics, "kept": counted.to_dict()} | dict(self.facts)
        self.run.say(_account(found, counted))
        if self.run.writes:
            self._log(found, step)
            save_level(folder, copied, self.tokenizer, found, options=self.options, overwrite=folder.exists())
        return folder

    def _log(self, found: Mapping[str, Any], step: int) -> None:
        measures = {f"dev/{name}": value for name, value in found["metrics"].items()}
        self.run.log(step, density=found["density"], **measures)


class Snapshots:
    """A bank of the model's representations after every epoch but the last, kept in files to resume with.

    Args:
        banks: to fill; None: nothing is done.
        run: its folder `banks` has the files.
        epoch: steps of an epoch.
        steps: of the training.
        encoded: pairs (numbers of examples, their vectors) of a model.
    """

    def __init__(
        self,
        banks: Banks | None,
        run: Run,
        *,
        epoch: int,
        steps: int,
        encoded: Callable[[Any], Iterable[tuple[Tensor, Tensor]]],
    ) -> None:
        self.banks, self.run, self.epoch, self.steps, self.encoded = banks, run, epoch, steps, encoded

    def take(self, model: Any, step: int) -> None:
        """Fill the next bank if an epoch ends with this many steps done, and it is not the last."""
        if self.banks is None or step % self.epoch or not 0 < step < self.steps:
            return
        name = f"snap-{step // self.epoch}"
        self.banks.fill(name, self.encoded(model))
        if self.run.writes:
            file = self._file(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as part:
                save_file({"z": self.banks.bank("snap")[:, -1].cpu().contiguous()}, part)

    def restore(self, model: Any, step: int) -> None:
        """Fill the banks of the epochs that a checkpoint's steps contain.

        Raises:
            UserError: a file is missing.
        """
        if self.banks is None:
            return
        for number in range(1, min(step, self.steps - 1) // self.epoch + 1):
            name = f"snap-{number}"
            if name in self.banks.names:
                continue
            file = self._file(name)
            if file.exists():
                z = load_file(file)["z"]
                self.banks.fill(name, [(torch.arange(len(z)), z)])
            elif number * self.epoch == step:
                self.take(model, step)  # interrupted after the step's checkpoint and before its snapshot
            else:
                raise UserError(f"{file}: missing, and the model of that epoch is gone: start a new run")

    def forget(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.run.folder / "banks", ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self.run.folder / "banks" / f"{name}.safetensors"


class MaskCallback(L.Callback):  # type: ignore[misc]
    """Decides on masks before a step; takes snapshots and saves levels after it.

    Args:
        masking: the way to decide.
        curve: its level at each step.
        levels: saves levels.
        snapshots: fills banks.
        epoch: steps of an epoch.
        observed: batches that the way to decide may look at, for a model.
    """

    def __init__(
        self,
        masking: Masking,
        curve: Cubic,
        *,
        levels: LevelSaver,
        snapshots: Snapshots,
        epoch: int,
        observed: Callable[[Any], Iterable[Any]],
    ) -> None:
        self.masking, self.curve, self.levels, self.snapshots = masking, curve, levels, snapshots
        self.epoch, self.observed = epoch, observed
        self._decided = self._done = -1

    def objective(self, objective: Objective) -> Objective:
        """The loss with the penalty on masks, if there is one."""

        def with_penalty(model: Any, batch: dict[str, Any], step: int) -> Parts:
            parts = dict(objective(model, batch, step))
            penalty = self.masking.penalty(layers_of(model), self.curve(step))
            if penalty is not None:
                parts["penalty"] = penalty, torch.ones_like(penalty)
            return parts

        return with_penalty

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Fill the banks of epochs before."""
        self._done = trainer.global_step
        self.snapshots.restore(module.model, trainer.global_step)

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, number: int) -> None:
        """Decide which weights are kept in this step."""
        step = trainer.global_step
        level = self.curve(step)
        module.log("train/level", level, batch_size=1)
        if step != self._decided and step % self.masking.every == 0:
            self.masking.decide(layers_of(module.model), level)
            self._decided = step

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, number: int
    ) -> None:
        """Look at the model when a step is done."""
        step = trainer.global_step
        if step == self._done:
            return  # more batches make this step
        self._done = step
        self.levels.passed(module.model, step, self.curve(step))
        self.snapshots.take(module.model, step)
        if step % self.epoch == 0:
            self.masking.observe(module.model, self.observed(module.model))


def _short(density: float) -> float:
    """A density with four digits, for names: measured ones have more."""
    return density if math.isclose(density, round(density, 6), abs_tol=1e-12) else round(density, 4)


def _account(found: Mapping[str, Any], counted: Remaining) -> str:
    measures = ", ".join(f"{name} {value:.4f}" for name, value in found["metrics"].items())
    return (
        f"density {found['density']:g} at step {found['step']}: {measures or 'not scored'}; "
        f"{counted.matrices_kept:,} of {counted.matrices:,} weights kept, {counted.encoder_share:.2%} of the "
        f"encoder and {counted.model_share:.2%} of the model remain"
    )
