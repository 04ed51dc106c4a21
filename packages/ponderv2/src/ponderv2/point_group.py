"""PointGroup: classes and offsets of voxels, and groups of shifted voxels as objects (Jiang et al. 2020).

This is PonderV2's PG-v1m1: objects are groups of the shifted voxels alone, and an object's score is the mean
probability of its class over its voxels; there is no network that scores.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nonet.errors import UserError
from ponderv2.batches import Batch
from ponderv2.finetune_options import GroupOptions
from ponderv2.norms import VoxelNorm
from ponderv2.offset_targets import Middle, offset_losses, offset_targets
from ponderv2.point_groups import touching_groups
from ponderv2.segmentation_loss import SegmentationLoss
from ponderv2.segmentor import PromptedBackbone

# Shapes: M voxels, K classes, C channels.


class Votes(NamedTuple):
    """What the network says of voxels.

    Attributes:
        logits: (M, K) class scores.
        offset: (M, 3) metres to the middle of the voxel's object.
    """

    logits: Tensor
    offset: Tensor


class FoundObject(NamedTuple):
    """One object of one scene.

    Attributes:
        voxels: (n,) int64, its voxels, counted within the scene, ascending.
        label: its class.
        score: mean probability of that class over its voxels, 0..1.
    """

    voxels: NDArray[np.int64]
    label: int
    score: float


class PointGroup(nn.Module):
    """A backbone with a class head and an offset head.

    Args:
        features: the backbone.
        classes: K.
        ignored: classes that are no objects, such as wall and floor.
        middle: what offsets lead to.
    """

    def __init__(
        self,
        features: PromptedBackbone,
        *,
        classes: int,
        ignored: tuple[int, ...] = (),
        middle: Middle = "mean",
    ) -> None:
        super().__init__()
        width = features.width
        self.features, self.ignored, self.middle = features, ignored, middle
        self.semantic = nn.Linear(width, classes)
        self.offset = nn.Sequential(nn.Linear(width, width), VoxelNorm(width), nn.ReLU(), nn.Linear(width, 3))
        self.loss = SegmentationLoss()

    def forward(self, batch: Batch) -> Votes:
        """The votes of a batch's voxels."""
        features = self.features(batch)
        return Votes(self.semantic(features), self.offset(features))

    def losses(self, votes: Votes, batch: Batch) -> dict[str, Tensor]:
        """Name -> weighted scalar: `ce`, `offset_l1`, `offset_direction`, each of weight 1.

        Raises:
            UserError: the batch has no labels or no objects' numbers.
        """
        if batch.semantic is None or batch.instance is None:
            raise UserError(f"{', '.join(batch.names)}: no labels, or none of objects, to learn from")
        thing = torch.ones_like(batch.semantic, dtype=torch.bool)
        for label in (-1, *self.ignored):
            thing &= batch.semantic != label
        instance = torch.where(thing, batch.instance, -1)
        targets = offset_targets(batch.coord, batch.cells[:, 0], instance, middle=self.middle)
        return self.loss(votes.logits, batch.semantic) | offset_losses(votes.offset, targets)


@torch.no_grad()
def find_objects(
    votes: Votes, batch: Batch, *, voxel: float, groups: GroupOptions, ignored: tuple[int, ...] = ()
) -> list[list[FoundObject]]:
    """The objects of each scene of a batch, best first.

    Args:
        votes: of the batch's voxels.
        batch: knows their places and scenes.
        voxel: side of a voxel, metres.
        groups: when voxels touch, and how many make an object.
        ignored: classes that are no objects.
    """
    probabilities = votes.logits.float().softmax(1).cpu().numpy()
    labels = probabilities.argmax(1)
    coord = batch.coord.double().cpu().numpy()
    shifted = _bounded(coord, coord + votes.offset.double().cpu().numpy())
    scene = batch.cells[:, 0].cpu().numpy()
    found: list[list[FoundObject]] = [[] for _ in batch.names]
    thing = np.flatnonzero(~np.isin(labels, ignored))
    kinds = scene[thing] * probabilities.shape[1] + labels[thing]
    starts = np.searchsorted(scene, np.arange(len(batch.names)))
    for places in (shifted, coord) if groups.unshifted else (shifted,):
        members = touching_groups(places[thing], kinds, groups.radius * voxel)
        for group in _members(members, groups.least):
            voxels = thing[group]
            label = int(labels[voxels[0]])
            score = float(probabilities[voxels, label].mean())
            own = int(scene[voxels[0]])
            found[own].append(FoundObject(voxels - starts[own], label, score))
    ordered = [sorted(objects, key=lambda each: -each.score) for objects in found]
    return [_without_doubles(objects) for objects in ordered] if groups.unshifted else ordered


def _bounded(coord: NDArray[np.float64], shifted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shifted places, brought back to the surroundings of the scenes: offsets of an untrained network may
    lead anywhere, or nowhere."""
    if not len(coord):
        return shifted
    low, high = coord.min(0), coord.max(0)
    margin = (high - low).max() + 1.0
    return np.clip(np.where(np.isfinite(shifted), shifted, coord), low - margin, high + margin)


def _members(groups: NDArray[np.int64], least: int) -> list[NDArray[np.int64]]:
    """The members of each group of more than `least`, ascending."""
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups)) if len(groups) else np.zeros(0, np.int64)
    return [part for part in np.split(order, ends[:-1]) if len(part) > least]


def _without_doubles(objects: list[FoundObject], overlap: float = 0.3) -> list[FoundObject]:
    """Objects that do not share more than `overlap` of their union with a better one (PointGroup's rule)."""
    kept: list[FoundObject] = []
    for each in objects:
        shared = [len(np.intersect1d(each.voxels, other.voxels, assume_unique=True)) for other in kept]
        unions = [len(each.voxels) + len(other.voxels) - n for other, n in zip(kept, shared, strict=True)]
        if all(n <= overlap * union for n, union in zip(shared, unions, strict=True)):
            kept.append(each)
    return kept
