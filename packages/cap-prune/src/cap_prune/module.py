"""Training of an encoder under Lightning on the parts of an objective (ours).

The module owns the model and nothing else, so that a checkpoint holds the model's weights alone: banks and
the teacher's logits belong to the objective and are made again by whoever resumes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import global_mean

Parts = Mapping[str, tuple[Tensor, Tensor]]
"""a loss by name: the weighted sum over this process's examples, and how many they are"""
Objective = Callable[[Any, dict[str, Any], int], Parts]
"""(model, batch, step) to the parts of the loss"""
Optimize = Callable[[Any, OptimizerOptions, int], Any]
"""(module, options, steps) to an optimiser and its schedule"""


class CapModule(L.LightningModule):  # type: ignore[misc]
    """A model, what it is trained on, and its optimiser.

    Logs `train/loss` and `train/PART` for each part, means over the examples of all devices.

    Args:
        model: an encoder with a head.
        objective: gives the parts of a batch's loss.
        optimizer: rate and schedule.
        steps: length of this training, for schedules that end.
        first: steps of the run before this training; the objective is told the number in the run.
        keep: steps whose parts are kept, to be named when a loss is not finite.
        optimize: makes another optimiser than `build_optimizer`, from the module, the options and the steps;
            gives what `configure_optimizers` returns.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        optimizer: OptimizerOptions,
        *,
        steps: int,
        first: int = 0,
        keep: int = 10,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.optimizer_options, self.steps, self.first, self.keep = optimizer, steps, first, keep
        self._optimize = optimize
        self._recent: dict[int, tuple[float, dict[str, Tensor]]] = {}

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """The sum of the parts' means over all devices."""
        parts = self.objective(self.model, batch, self.first + self.global_step)
        means = {name: global_mean(*pair) for name, pair in parts.items()}
        loss = torch.stack(list(means.values())).sum()
        kept = {name: value.detach() for name, value in means.items()}
        self._note(kept)
        logged = {f"train/{name}": value for name, value in kept.items()}
        self.log_dict(logged | {"train/loss": loss.detach()}, batch_size=1)
        return loss

    def configure_optimizers(self) -> object:
        """The optimiser and its schedule."""
        if self._optimize is not None:
            return self._optimize(self, self.optimizer_options, self.steps)
        return build_optimizer(self, self.optimizer_options, steps=self.steps)

    def account(self, step: int) -> str:
        """The learning rate and the parts of the loss at a step of this training, counted from 1, in words.

        Empty where the step is too long ago.
        """
        if step not in self._recent:
            return ""
        rate, parts = self._recent[step]
        listed = ", ".join(f"{name} {float(value):.4g}" for name, value in parts.items())
        return f"lr {rate:.3g}, parts of the loss: {listed}"

    def _note(self, parts: dict[str, Tensor]) -> None:
        optimizers = self.optimizers()
        first = optimizers[0] if isinstance(optimizers, list) else optimizers
        step = self.global_step + 1
        self._recent[step] = (float(first.param_groups[0]["lr"]), parts)
        for old in [number for number in self._recent if number <= step - self.keep]:
            del self._recent[old]
