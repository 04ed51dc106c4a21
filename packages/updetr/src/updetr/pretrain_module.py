"""Training on patches of images (Dai et al. 2021, section 3).

Beside the losses it measures whether patches are found at all: `val/found_iou` is the overlap of each patch
with the box of the surest query of its own group, and `val/floor` what a box of 0.8 x 0.8 in the middle of
every image would have: 0.31 for random patches. A decoder that has learnt the statistics of boxes, but does
not look at patches, stays near the floor, and its share of matches in the own group near 1 / M.
"""

from typing import Any

import torch
from torch import Tensor

from nonet.kernels.set_cost import corners, overlaps
from nonet.training.trainer import RunningMeans
from updetr.batches import Outputs, Targets
from updetr.detector import Memory
from updetr.losses import SetLoss
from updetr.module import SetModule
from updetr.pretext_data import Pretext, prepare
from updetr.query_patches import PatchDetector, keep_queries, patch_means, shuffled_queries
from updetr.train_options import RateOptions

# Shapes: B images, M patches an image, G queries of a patch, N = M G, T = B M patches of the batch.

CONSTANT = (0.5, 0.5, 0.8, 0.8)  # cxcywh; the best guess of one that does not look


class PretrainModule(SetModule):
    """A detector with patches, trained to find them.

    Logs, besides what `SetModule` does, `val/loss`, `val/iou` (of matched pairs), `val/own_group`,
    `val/found_iou` and `val/floor`.

    Args:
        model: with patches; its backbone is frozen or not.
        loss: see `SetModule`, as are `rates`, `steps` and `ema`.
        seed: of the query masks and orders.
        patch_size: side of a patch, pixels.
        augment: jitter patches in training.
        masked: share of queries that are not shown their patch in training.
        shuffle: put the object queries in another order in each step.
    """

    def __init__(
        self,
        model: PatchDetector,
        loss: SetLoss,
        rates: RateOptions,
        *,
        steps: int,
        seed: int,
        patch_size: int,
        augment: bool = True,
        masked: float = 0.1,
        shuffle: bool = False,
        ema: float | None = None,
    ) -> None:
        super().__init__(model, loss, rates, steps=steps, ema=ema)
        self.seed, self.patch_size, self.augment = seed, patch_size, augment
        self.masked, self.shuffle = masked, shuffle
        self.means = RunningMeans("loss", "iou", "own_group", "found_iou", "floor")
        self._folded: list[Any] = []  # in a list, so that its weights are not saved a second time

    def on_fit_start(self) -> None:
        """Make the frozen backbone's faster form."""
        backbone = self.model.detector.backbone
        if backbone.frozen:
            self._folded = [backbone.fold().to(self.device)]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        pretext = self._prepared(batch, self.augment)
        config, count = self.model.detector.config, len(batch["rows"])
        each = self.trainer.accumulate_grad_batches
        number = self.global_step * each + batch_idx % each
        rows = torch.arange(count) * self.trainer.world_size + self.trainer.global_rank
        keep = keep_queries(self.seed, number, rows, config.queries, masked=self.masked).to(self.device)
        order = shuffled_queries(self.seed, number, config.queries) if self.shuffle else None
        outputs, targets = self._found(
            self.model, pretext, keep, None if order is None else order.to(self.device)
        )
        return self.noted(self.loss(outputs, targets))

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """The loss of a batch, and how well its patches are found."""
        pretext = self._prepared(batch, self.augment)
        outputs, targets = self._found(self.best_model, pretext)
        result, images, boxes = self.loss(outputs, targets), len(batch["rows"]), len(targets.boxes)
        self.means.add("loss", result.total * images, images)
        for name in ("iou", "own_group"):
            self.means.add(name, result.logged[name] * boxes, boxes)
        self.means.add("found_iou", found_overlap(outputs, targets).sum(), boxes)
        self.means.add("floor", floor_overlap(targets).sum(), boxes)

    def on_validation_epoch_end(self) -> None:
        """The means over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self.means.take().items()}, batch_size=1)

    def _prepared(self, batch: dict[str, Any], augment: bool) -> Pretext:
        """The batch as the model takes it; colours are not computed in half precision."""
        with torch.autocast(self.device.type, enabled=False):
            return prepare(batch, self.patch_size, augment=augment)

    def _found(
        self, model: PatchDetector, pretext: Pretext, keep: Tensor | None = None, order: Tensor | None = None
    ) -> tuple[Outputs, Targets]:
        """What the model says, and what it should."""
        folded = self._folded[0] if self._folded else None
        features = model.patch_features(pretext.patches, backbone=folded)
        outputs = model(self._memory(model, pretext), features, keep_BN=keep, order=order)
        return outputs, pretext.targets._replace(features=patch_means(features).flatten(0, 1))

    def _memory(self, model: PatchDetector, pretext: Pretext) -> Memory:
        detector = model.detector
        if pretext.maps is not None:
            memory: Memory = detector.encode_maps((pretext.maps.pixels,), pretext.maps.mask)
            return memory
        assert pretext.images is not None
        if not self._folded:
            return detector.encode(pretext.images)  # type: ignore[no-any-return]
        with torch.no_grad():
            maps = self._folded[0](pretext.images.pixels)
        return detector.encode_maps(maps, pretext.images.mask)  # type: ignore[no-any-return]


@torch.no_grad()
def found_overlap(outputs: Outputs, targets: Targets) -> Tensor:
    """(T,) overlap of each patch with the box of the surest query of its group, without any matching.

    Args:
        outputs: the last layer counts.
        targets: M boxes an image, one a group, in the order of the groups.
    """
    chosen = surest_boxes(outputs, targets.counts[0]).flatten(0, 1)
    return overlaps(corners(chosen), corners(targets.boxes))[0]


def surest_boxes(outputs: Outputs, patches: int) -> Tensor:
    """(B, M, 4) cxcywh in 0..1: for each of M patches the box of the surest query of its group."""
    logits, boxes = outputs.logits[-1].float(), outputs.boxes[-1].float()
    sure = logits.softmax(-1)[..., 0] if logits.shape[-1] > 1 else logits[..., 0]
    best_BM1 = sure.unflatten(1, (patches, -1)).argmax(-1, keepdim=True)
    return boxes.unflatten(1, (patches, -1)).take_along_dim(best_BM1[..., None], 2)[:, :, 0]


def floor_overlap(targets: Targets) -> Tensor:
    """(T,) overlap of each patch with a box of 0.8 x 0.8 in the middle."""
    constant = targets.boxes.new_tensor(CONSTANT).expand_as(targets.boxes)
    return overlaps(corners(constant), corners(targets.boxes))[0]
