"""Fine-tuning under Lightning: groups in, a ranking metric on held-out queries out."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import global_mean
from prop_ir.group_losses import GroupLoss, group_losses
from prop_ir.model import encoder_inputs, ranking_head, reads_segments


class RankerModule(L.LightningModule):
    """A ranker, its loss and its optimiser.

    Logs `train/loss`, the mean over groups, and `val/METRIC`, the mean over validation queries.

    Args:
        ranker: transformers' model with one label.
        loss: of a group.
        size: documents of a group.
        optimizer: name, rate, schedule.
        steps: length of the run, for schedules that end.
        head_only: leave the encoder as it is.
        head_rate: learning rate of the head, as a multiple.
        metric: its name.
        validate: the metric's values for queries by their numbers.
    """

    def __init__(
        self,
        ranker: Any,
        *,
        loss: GroupLoss,
        size: int,
        optimizer: OptimizerOptions,
        steps: int,
        head_only: bool = False,
        head_rate: float = 1.0,
        metric: str,
        validate: Callable[[list[int]], list[float]] | None = None,
    ) -> None:
        super().__init__()
        self.ranker, self.loss, self.size = ranker, loss, size
        self.optimizer_options, self.steps = optimizer, steps
        self.head_only, self.head_rate = head_only, head_rate
        self.metric, self._validate = metric, validate
        self.segments, self.head = reads_segments(ranker), ranking_head(ranker)
        self._sum = torch.zeros(2, dtype=torch.float64)
        for name, parameter in ranker.named_parameters():
            parameter.requires_grad_(not head_only or name in self.head)

    def train(self, mode: bool = True) -> "RankerModule":
        """As usual; an encoder that does not learn has no dropout either."""
        super().train(mode)
        if self.head_only:
            self.ranker.base_model.eval()
        return self

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """The mean loss of the groups on all devices."""
        scores = self.ranker(**encoder_inputs(batch, self.segments)).logits.view(-1, self.size)
        losses = group_losses(scores, self.loss)
        mean = global_mean(losses.sum(), losses.new_tensor(float(len(losses))))
        self.log("train/loss", mean.detach(), batch_size=1, prog_bar=True)
        return mean

    def on_validation_epoch_start(self) -> None:
        """Begin a new sum."""
        self._sum = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: Tensor, _: int) -> None:
        """Add the values of some queries."""
        assert self._validate is not None
        values = self._validate(batch.tolist())
        self._sum += torch.tensor([sum(values), len(values)], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        """The mean over all validation queries, on all devices together."""
        total, count = self.trainer.strategy.reduce(self._sum.to(self.device), reduce_op="sum").tolist()
        self.log(f"val/{self.metric}", total / max(count, 1.0), batch_size=1, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """The optimiser and its schedule."""
        return build_optimizer(
            self, self.optimizer_options, steps=self.steps,
            rates=None if self.head_rate == 1.0 else self.rate,
        )  # fmt: skip

    def rate(self, name: str) -> float:
        """The factor of a parameter's learning rate, by its name in this module."""
        return self.head_rate if name.removeprefix("ranker.") in self.head else 1.0
