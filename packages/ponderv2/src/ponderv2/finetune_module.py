"""Training of a backbone and a head on labelled scenes under Lightning (ours)."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.training.trainer import RunningMeans
from ponderv2.all_processes import gathered
from ponderv2.loss_guard import suspects
from ponderv2.rate_options import RateOptions
from ponderv2.rate_schedules import build_rates
from ponderv2.scored_scenes import ScoredBatch
from ponderv2.task_scores import Judge

BACKBONE = "features."  # in the name of every weight of the backbone


class FinetuneModule(L.LightningModule):  # type: ignore[misc]
    """A model, its losses, its optimiser; validated by its loss and by a judge.

    Logs `train/loss`, `train/TERM` for the weighted terms, `val/loss`, and `val/NAME` for the judge's
    numbers.

    Args:
        model: `model(batch)` gives outputs, `model.losses(outputs, batch)` name -> weighted scalar; the
            backbone is `model.features`.
        rates: of the optimiser.
        steps: length of the run.
        backbone_rate: factor of the backbone's rate; 0: it is frozen, with its norms.
        judge: makes a judge that has seen nothing.
        score: counts the scenes of a batch: (outputs, batch, judge).

    Attributes:
        judged: the judge of the last validation in this session; None before there is one.
    """

    def __init__(
        self,
        model: Any,
        rates: RateOptions,
        *,
        steps: int,
        backbone_rate: float = 1.0,
        judge: Callable[[], Judge],
        score: Callable[[Any, ScoredBatch, Judge], None],
    ) -> None:
        super().__init__()
        self.model, self.rates, self.steps, self.backbone_rate = model, rates, steps, backbone_rate
        self.new_judge, self.score = judge, score
        self.terms: dict[str, Tensor] = {}
        self.means = RunningMeans("loss")
        self._batch: Any = None
        self._judge: Judge | None = None
        self.judged: Judge | None = None
        if not backbone_rate:
            model.features.requires_grad_(False)
            model.features.eval()

    def train(self, mode: bool = True) -> "FinetuneModule":
        """The mode of all parts; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if not self.backbone_rate:
            self.model.features.eval()
        return self

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """The loss of a batch."""
        self._batch = batch["batch"]
        self.terms = self.model.losses(self.model(self._batch), self._batch)
        total = torch.stack(list(self.terms.values())).sum()
        logged = {f"train/{name}": term.detach() for name, term in self.terms.items()}
        self.log_dict(logged | {"train/loss": total.detach()}, batch_size=1)
        return total

    def suspects(self) -> tuple[str, ...]:
        """The scenes of the last batch that may be why a loss is not finite."""
        return tuple(suspects(self._batch))

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """The loss and the answers of a batch."""
        scored: ScoredBatch = batch["batch"]
        outputs = self.model(scored.batch)
        total = torch.stack(list(self.model.losses(outputs, scored.batch).values())).sum()
        self.means.add("loss", total * len(scored.scenes), len(scored.scenes))
        if self._judge is None:
            self._judge = self.new_judge()
        self.score(outputs, scored, self._judge)

    def on_validation_epoch_end(self) -> None:
        """The mean loss, and what the judge says of all processes' scenes."""
        found = {"loss": self.means.take()["loss"]}
        judges, self._judge = gathered(self._judge or self.new_judge()), None
        total = judges[0]
        for judge in judges[1:]:
            total = total + judge
        self.judged = total
        numbers = {f"val/{name}": value for name, value in {**found, **total.numbers()}.items()}
        self.log_dict(numbers, batch_size=1)

    def configure_optimizers(self) -> object:
        """The options' optimiser, with the backbone's rate apart."""

        def factor(name: str) -> float:
            return self.backbone_rate if name.startswith(BACKBONE) else 1.0

        return build_rates(self.model, self.rates, steps=self.steps, factor=factor)
