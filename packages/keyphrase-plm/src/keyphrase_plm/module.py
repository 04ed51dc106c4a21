"""Training under Lightning: one module for every family and for both pre-training objectives (ours)."""

from collections.abc import Callable
from typing import Any

import lightning as L
from torch import Tensor, nn

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import RunningMeans, global_mean, shard, sharded

Judge = Callable[[Any], dict[str, float]]
"""what a validation measures beside the loss: the family in evaluation mode to numbers by name"""


class LossModule(L.LightningModule):  # type: ignore[misc]
    """Anything that turns a batch into a sum of losses and their number, with an optimiser.

    Logs `train/loss` and `val/loss`, nats a target token (or word, or sequence) over all devices, and what
    the judge measures as `val/NAME`.

    Args:
        family: `family(batch)` gives (sum, count).
        optimizer: name, rate, schedule.
        steps: length of the run, for schedules that end.
        judge: measures predictions after each validation; None: the loss alone.
    """

    def __init__(
        self, family: nn.Module, optimizer: OptimizerOptions, *, steps: int, judge: Judge | None = None
    ) -> None:
        super().__init__()
        self.family, self.optimizer_options, self.steps = family, optimizer, steps
        self._judge, self._means = judge, RunningMeans("loss")

    def configure_model(self) -> None:
        """Share the weights out over the devices, if the strategy asks for it."""
        if self.device_mesh is not None and not sharded(self.family):
            shard(self.family, self.device_mesh)

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """The mean loss of a target token, over all devices."""
        loss = global_mean(*self.family(batch["batch"]))
        self.log("train/loss", loss.detach(), batch_size=1, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """Add the batch's sum and count."""
        total, count = self.family(batch["batch"])
        self._means.add("loss", total, count)

    def on_validation_epoch_end(self) -> None:
        """The mean over all validation tokens, and what the judge says."""
        found = self._means.take()
        if self._judge is not None:
            found |= self._judge(self.family)
        self.log_dict({f"val/{name}": value for name, value in found.items()}, batch_size=1)

    def configure_optimizers(self) -> object:
        """The optimiser and its schedule."""
        return build_optimizer(self, self.optimizer_options, steps=self.steps)
