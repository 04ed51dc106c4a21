"""Training of detectors under Lightning: on patches without labels, and on labelled boxes (ours).

The optimiser is the original's: AdamW that decays every weight, two rates, a fall to a tenth once. The
weights that are validated and saved may be a running mean of those that are trained.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from nonet.errors import UserError
from nonet.training.trainer import RunningMeans
from updetr.batches import Outputs
from updetr.detections import Detections, from_outputs
from updetr.finetune_data import Batch, images_of, targets_of
from updetr.kept_maps import KeptMaps
from updetr.losses import SetLoss, SetLossResult
from updetr.train_options import RateOptions

FALL = 0.1  # what the rates are multiplied by when they drop
BACKBONE = "backbone."  # in the name of every weight of the backbone

Judge = Callable[[list[Detections]], dict[str, float]]
"""what a validation measures: the detections of all images to numbers by name"""


class SetModule(L.LightningModule):  # type: ignore[misc]
    """A detector, its loss, its optimiser.

    Logs `train/loss`, `train/TERM` for the weighted parts of the loss over all layers, and `train/last_NAME`
    for what is counted in the last layer.

    Args:
        model: what is trained.
        loss: of its outputs.
        rates: of the optimiser.
        steps: length of the run.
        ema: decay of a running mean of the weights, which is then `best_model`; None: none is kept.
    """

    def __init__(
        self, model: nn.Module, loss: SetLoss, rates: RateOptions, *, steps: int, ema: float | None = None
    ) -> None:
        super().__init__()
        if rates.warmup >= steps:
            raise UserError(f"rates.warmup {rates.warmup} leaves nothing of {steps} steps: make it shorter")
        self.model, self.loss, self.rates, self.steps, self.ema = model, loss, rates, steps, ema
        self.average = copy.deepcopy(model).requires_grad_(False).eval() if ema is not None else None
        self.means = RunningMeans("loss")

    @property
    def best_model(self) -> Any:
        """The weights to validate and save."""
        return self.model if self.average is None else self.average

    def noted(self, result: SetLossResult) -> Tensor:
        """The loss, after its parts are logged."""
        total = result.total
        found = {f"train/{name}": term.detach() for name, term in result.terms.items()}
        found |= {f"train/last_{name}": value for name, value in result.logged.items()}
        self.log_dict(found | {"train/loss": total.detach()}, batch_size=1)
        return total

    def configure_optimizers(self) -> object:
        """AdamW with the backbone's rate apart, and one fall of both rates."""
        groups: dict[float, list[Tensor]] = {}
        for name, weight in self.model.named_parameters():
            rate = self.rates.backbone_lr if BACKBONE in f"{name}." else self.rates.lr
            if weight.requires_grad:
                groups.setdefault(rate, []).append(weight)
        ordered = sorted(
            groups.items(), key=lambda pair: pair[0] != self.rates.lr
        )  # `lr` is logged of the first
        optimizer = torch.optim.AdamW(
            [{"params": weights, "lr": rate} for rate, weights in ordered],
            weight_decay=self.rates.weight_decay,
        )
        schedule = LambdaLR(optimizer, lambda step: rate_factor(step, self.rates, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *arguments: Any, **more: Any) -> None:
        """A step, then the running mean's."""
        super().optimizer_step(*arguments, **more)
        if self.average is None or self.ema is None:
            return
        step = self.trainer.global_step
        decay = min(self.ema, (1 + step) / (10 + step))  # the first weights are soon forgotten
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
                if weight.requires_grad:
                    mean.lerp_(weight.detach(), 1 - decay)
            for mean, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
                mean.copy_(value)  # running statistics of batch norms are means already


class FinetuneModule(SetModule):
    """A detector trained on labelled boxes; validated by its loss and by a judge of its detections.

    Logs, besides, `val/loss`, `val/l1` and `val/giou` (last layer, means over the true boxes), `val/NAME` for
    what the judge measures.

    Args:
        model: a detector.
        loss: see `SetModule`, as are `rates`, `steps` and `ema`.
        judge: None: the loss alone.
        keep: MiB of the frozen backbone's maps that are kept, of training and of validation each; 0: none.
    """

    def __init__(self, model: nn.Module, loss: SetLoss, rates: RateOptions, *, steps: int,
                 ema: float | None = None, judge: Judge | None = None, keep: int = 0) -> None:  # fmt: skip
        super().__init__(model, loss, rates, steps=steps, ema=ema)
        self.judge, self.keep = judge, keep
        self._kept: dict[bool, KeptMaps] = {}  # by whether the model trains
        self.means = RunningMeans("loss", "l1", "giou")
        self._found: list[Detections] = []

    def on_fit_start(self) -> None:
        """Make the frozen backbone's faster form."""
        if self.keep:
            folded = self.model.backbone.fold().to(self.device)
            self._kept = {training: KeptMaps(folded, self.keep) for training in (True, False)}

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch."""
        outputs = self._answers(self.model, batch, training=True)
        return self.noted(self.loss(outputs, targets_of(batch)))

    def validation_step(self, batch: Batch, _: int) -> None:
        """The loss and the detections of a batch; none of whose images may have been readable."""
        if "pixels" not in batch:
            self.loss.join(self.device)
            return
        outputs = self._answers(self.best_model, batch, training=False)
        result = self.loss(outputs, targets_of(batch))
        images, boxes = len(batch["ids"]), len(batch["boxes"])
        self.means.add("loss", result.total * images, images)
        for name in ("l1", "giou"):
            self.means.add(name, result.logged[name] * boxes, boxes)
        if self.judge is not None:
            self._found += from_outputs(outputs, batch["sizes"], ids=batch["ids"], sigmoid=self.loss.sigmoid)

    def _answers(self, model: Any, batch: Batch, *, training: bool) -> Outputs:
        images = images_of(batch)
        if not self._kept:
            return model(images)  # type: ignore[no-any-return]
        maps, mask = self._kept[training](images, batch["keys"])
        return model.decode(model.encode_maps((maps,), mask))  # type: ignore[no-any-return]

    def on_validation_epoch_end(self) -> None:
        """The mean loss, and what the judge says of all processes' detections."""
        found = self.means.take()
        if self.judge is not None:
            detections, self._found = gathered(self._found), []
            found |= self.judge(detections)
        self.log_dict({f"val/{name}": value for name, value in found.items()}, batch_size=1)


def rate_factor(step: int, rates: RateOptions, steps: int) -> float:
    """What the rates are multiplied by at step 0, 1, ...: a linear rise, 1, and a tenth after the drop."""
    rise = min(1.0, (step + 1) / rates.warmup) if rates.warmup else 1.0
    return rise * (FALL if step >= round(rates.drop * steps) else 1.0)


def gathered(mine: Sequence[Any]) -> list[Any]:
    """The entries of all processes, those of the first one first; all have to call it."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(mine)
    every: list[list[Any]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(every, list(mine))
    return [entry for part in every for entry in part]
