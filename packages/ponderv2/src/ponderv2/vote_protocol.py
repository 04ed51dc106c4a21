"""The test protocol: every point of a cloud is named by votes of all fragments of all variants (Pointcept).

A fragment has one point of each voxel; together the fragments of a variant have every point. Variants are the
four quarter turns at scales 1, .95 and 1.05, and the mirrored cloud: 13. Probabilities are added, and the
class with the most is the point's. This is another measure than validation on voxels, and a higher one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nonet.kernels.voxels import grid_fragments, voxelise
from ponderv2.batches import Collate, Item
from ponderv2.samples import Sample
from ponderv2.scenes import Scene
from ponderv2.scored_scenes import upright
from ponderv2.segmentor import Segmentor, probabilities
from ponderv2.task_config import TaskConfig
from ponderv2.transforms import CenterShift, about

# Shapes: N points of a scene's cloud, K classes.

Count = Literal["one", "four", "thirteen"]
SCALES = (1.0, 0.95, 1.05)


class Variant(NamedTuple):
    """How a cloud is turned before it is named.

    Attributes:
        quarters: quarter turns about z.
        scale: factor of all lengths.
        mirrored: whether x and y are mirrored.
    """

    quarters: int = 0
    scale: float = 1.0
    mirrored: bool = False

    def world(self) -> Any:
        """(4, 4) float64, what it does to the world."""
        matrix = np.eye(4)
        matrix[:3, :3] = about("z", self.quarters * np.pi / 2) * self.scale
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix if self.mirrored else matrix


def variants(count: Count) -> tuple[Variant, ...]:
    """One: as it is; four: quarter turns; thirteen: those at three scales, and the mirrored cloud."""
    if count == "one":
        return (Variant(),)
    if count == "four":
        return tuple(Variant(quarters) for quarters in range(4))
    turned = [Variant(quarters, scale) for scale in SCALES for quarters in range(4)]
    return (*turned, Variant(mirrored=True))


class Vote(NamedTuple):
    """What was voted of a scene.

    Attributes:
        probabilities: (N, K) float32, sums over the passes that saw the point.
        passes: how many fragments there were.
    """

    probabilities: Tensor
    passes: int

    def labels(self) -> Any:
        """(N,) int64 numpy: the class with the most votes."""
        return self.probabilities.argmax(1).numpy()


@torch.inference_mode()
def vote(
    model: Segmentor,
    config: TaskConfig,
    scene: Scene,
    *,
    over: Sequence[Variant],
    batch: int = 1,
    device: str = "cpu",
) -> Vote:
    """Name all points of a scene.

    Args:
        model: in evaluation mode, on the device.
        config: what it is.
        scene: labels are not looked at.
        over: variants.
        batch: fragments that are computed together.
        device: where the model is.

    Raises:
        UserError: the scene cannot be read, or lacks a channel.
    """
    whole = upright(scene)
    dataset = scene.dataset
    collate = Collate(config.channels)
    votes = torch.zeros(len(whole.cloud), len(config.names(dataset)))
    passes = 0
    pending: list[Sample] = []
    for fragment in _fragments(whole, config.voxel, over):
        pending.append(fragment)
        passes += 1
        if len(pending) == batch:
            _count(model, collate, pending, votes, device)
            pending = []
    if pending:
        _count(model, collate, pending, votes, device)
    return Vote(votes, passes)


def _fragments(whole: Sample, voxel: float, over: Sequence[Variant]) -> Iterator[Sample]:
    """The fragments of all variants; `index` says which points of the cloud they are."""
    nothing = np.random.default_rng(0)
    for variant in over:
        turned = whole.moved(variant.world())
        coord = torch.from_numpy(np.ascontiguousarray(turned.cloud.coord))
        found = voxelise(coord, voxel)
        cells = found.cells[:, 1:].numpy()
        cells = cells - cells.min(0)
        rows = found.inverse.numpy()
        for chosen in grid_fragments(coord, voxel):
            points = chosen.numpy()
            part = turned.take(points)
            part = replace(part, grid=cells[rows[points]], cell=voxel)
            yield CenterShift(floor=False)(part, nothing)


def _count(
    model: Segmentor, collate: Collate, fragments: Sequence[Sample], votes: Tensor, device: str
) -> None:
    """Add the probabilities of some fragments to the votes of their points."""
    batch = collate([Item(replace(part, kept=None), None, 0) for part in fragments])
    said = probabilities(model(batch.to(device)))
    begin = 0
    for part in fragments:  # a point is in a fragment once: the sum does not depend on an order
        end = begin + len(part.cloud)
        votes[torch.from_numpy(part.index)] += said[begin:end]
        begin = end
