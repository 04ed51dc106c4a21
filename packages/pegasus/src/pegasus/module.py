"""Training under Lightning: one module for pre-training and fine-tuning, which differ in data alone."""

import lightning as L
import torch
from torch import Tensor

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import global_mean, shard, sharded
from pegasus.losses import GapSentenceLoss, Objective
from pegasus.model import Summarizer, zero_start


class SummarizerModule(L.LightningModule):
    """A model, its losses and its optimiser.

    Logs in training `train/loss` and each term, in validation `val/<term>` (nats a token over the whole set)
    and `val/loss`, their weighted sum.

    Args:
        model: PEGASUS or PEGASUS-X.
        losses: the loss terms.
        optimizer: name, rate, schedule.
        steps: length of the run, for schedules that end.
    """

    def __init__(
        self, model: Summarizer, losses: GapSentenceLoss, optimizer: OptimizerOptions, steps: int
    ) -> None:
        super().__init__()
        self.objective, self.optimizer_options, self.steps = Objective(model, losses), optimizer, steps
        self._sums: dict[str, Tensor] = {}

    def configure_model(self) -> None:
        """Share the weights out over the devices, if the strategy asks for it."""
        if self.device_mesh is not None and not sharded(self.objective):
            shard(self.objective, self.device_mesh)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The loss of one batch: each term's mean over its tokens on all devices, weighted and added."""
        terms = self.objective(batch)
        means = {name: global_mean(term.total, term.count) for name, term in terms.items()}
        loss = torch.stack([means[name] * term.weight for name, term in terms.items()]).sum()
        self.log_dict({f"train/{name}": value.detach() for name, value in means.items()}, batch_size=1)
        self.log("train/loss", loss.detach(), batch_size=1, prog_bar=True)
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        """Keep the decoder's start vector at zero."""
        zero_start(self.objective.model)

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        self._sums = {}

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Add the batch's losses and token counts."""
        for name, term in self.objective(batch).items():
            add = torch.stack([term.total.double(), term.count.double()])
            self._sums[name] = self._sums.get(name, torch.zeros_like(add)) + add

    def on_validation_epoch_end(self) -> None:
        """Nats a token over the validation set, on all devices together."""
        total = 0.0
        for name, weight in (("gsg", 1.0), ("mlm", self.objective.losses.word_weight)):
            if name in self._sums:
                value, count = self.trainer.strategy.reduce(self._sums[name], reduce_op="sum").tolist()
                self.log(f"val/{name}", value / max(count, 1.0), batch_size=1, sync_dist=True)
                total += weight * value / max(count, 1.0)
        self.log("val/loss", total, batch_size=1, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> object:
        """The optimiser and its schedule."""
        return build_optimizer(self, self.optimizer_options, steps=self.steps)
