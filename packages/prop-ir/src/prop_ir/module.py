"""Pre-training under Lightning."""

import lightning as L
import torch
from torch import Tensor

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import RunningMeans, global_mean, shard, sharded
from prop_ir.bert_adam import BertAdam
from prop_ir.losses import Objective, PropLoss
from prop_ir.model import PropModel, ranking_head

NUMBERS = ("rop", "mlm", "accuracy")


class PropModule(L.LightningModule):  # type: ignore[misc]
    """A model, its losses and its optimiser.

    Logs in training `train/rop`, `train/mlm` (nats a masked piece), `train/accuracy` (share of pairs in the
    right order) and `train/loss`; in validation the same over all held-out pairs, under `val/`.

    Args:
        model: ranker and masked-word head.
        losses: the loss terms.
        optimizer: name, rate, schedule.
        steps: length of the run, for schedules that end.
        head_rate: factor of the learning rate for the ranking and the masked-word head.
        bert_adam: take BertAdam, with the rate and schedule of `optimizer`.
    """

    def __init__(
        self,
        model: PropModel,
        losses: PropLoss,
        optimizer: OptimizerOptions,
        *,
        steps: int,
        head_rate: float = 1.0,
        bert_adam: bool = False,
    ) -> None:
        super().__init__()
        self.objective, self.optimizer_options, self.steps = Objective(model, losses), optimizer, steps
        self.head_rate, self.bert_adam = head_rate, bert_adam
        self._heads = {f"objective.model.ranker.{name}" for name in ranking_head(model.ranker)}
        self._means = RunningMeans(*NUMBERS)

    def configure_model(self) -> None:
        """Share the weights out over the devices, if the strategy asks for it."""
        if self.device_mesh is not None and not sharded(self.objective):
            shard(self.objective, self.device_mesh)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The loss of one batch: each term's mean over all devices, weighted and added."""
        terms = self.objective(batch)
        means = {name: global_mean(term.total, term.count) for name, term in terms.items()}
        loss = torch.stack([means[name] * term.weight for name, term in terms.items() if term.weight]).sum()
        self.log_dict({f"train/{name}": value.detach() for name, value in means.items()}, batch_size=1)
        self.log("train/loss", loss.detach(), batch_size=1, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Add the batch's sums and counts."""
        for name, term in self.objective(batch).items():
            self._means.add(name, term.total, term.count)

    def on_validation_epoch_end(self) -> None:
        """Means over the held-out pairs, on all devices together."""
        means = self._means.take()
        losses = self.objective.losses
        weights = {"rop": losses.rop_weight, "mlm": losses.mlm_weight}
        means["loss"] = sum(weights[name] * means[name] for name in weights if name in means)
        self.log_dict({f"val/{name}": value for name, value in means.items()}, batch_size=1)

    def rate(self, name: str) -> float:
        """The factor of a parameter's learning rate, by its name in this module."""
        return self.head_rate if name in self._heads or name.startswith("objective.model.words.") else 1.0

    def configure_optimizers(self) -> object:
        """The optimiser and its schedule."""
        return build_optimizer(
            self,
            self.optimizer_options,
            steps=self.steps,
            rates=None if self.head_rate == 1 else self.rate,
            make=BertAdam if self.bert_adam else None,
        )
