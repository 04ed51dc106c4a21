"""Scenes as they are scored: voxels without augmentation, and the way back to all points (ours)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import Pair, generator
from nonet.errors import UserError
from ponderv2.batches import Batch, Collate, Item
from ponderv2.samples import Sample, sample_of, through
from ponderv2.scenes import PointCloud, Scene
from ponderv2.transforms import CenterShift, GridSample, Upright

# Shapes: N points of a scene's cloud, M voxels of it.

DRAWS = 0  # seed of which point stands for a voxel: the same in all runs, so that their scores compare


class ScoredScene(NamedTuple):
    """One scene to score.

    Attributes:
        item: its voxels, for `Collate`.
        rows: (N,) int64, the voxel of each point.
        cloud: its N points, turned upright and brought to the origin, with all labels.
        world: (4, 4) float64, from the scene's own world to that of `cloud`.
    """

    item: Item
    rows: NDArray[np.int64]
    cloud: PointCloud
    world: NDArray[np.float64]


class ScoredBatch(NamedTuple):
    """Scenes of one data set, to score.

    Attributes:
        batch: their voxels.
        scenes: what belongs to each of them.
    """

    batch: Batch
    scenes: tuple[ScoredScene, ...]

    def to(self, device: Any) -> "ScoredBatch":
        """The voxels on a device."""
        return self._replace(batch=self.batch.to(device))

    def starts(self) -> NDArray[np.int64]:
        """(B + 1,) where the voxels of each scene begin, and where the last ones end."""
        return np.cumsum([0, *(len(scene.item.sample.cloud) for scene in self.scenes)])


class ScoredScenes:
    """Scenes to score; `self[(epoch, index)]` is a `ScoredScene`, the same in every epoch.

    Args:
        scenes: with labels or without.
        voxel: metres.
    """

    def __init__(self, scenes: Sequence[Scene], voxel: float) -> None:
        self.scenes, self.voxel = scenes, voxel

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, item: Pair) -> ScoredScene:
        """One scene.

        Raises:
            UserError: it cannot be read, or has no points.
        """
        return scored_scene(self.scenes[item[1]], self.voxel)


def scored_scene(scene: Scene, voxel: float) -> ScoredScene:
    """A scene's voxels, and the voxel of each of its points; which point stands for a voxel follows from the
    scene's name.

    Args:
        scene: where from.
        voxel: metres.

    Raises:
        UserError: it cannot be read, or has no points.
    """
    whole = upright(scene)
    rows = voxel_rows(whole, voxel)
    draws = generator(DRAWS, "scored", scene.dataset, scene.name)
    sample = through(whole, (GridSample(voxel), CenterShift(floor=False)), draws)
    return ScoredScene(Item(sample, None, 0), rows, whole.cloud, whole.world)


def upright(scene: Scene) -> Sample:
    """A scene's whole cloud, turned upright and brought to the origin; nothing is drawn.

    Raises:
        UserError: it cannot be read, or has no points.
    """
    sample = sample_of(scene)
    if not len(sample.cloud):
        raise UserError(f"scene {scene.name}: its cloud has no points")
    return through(sample, (Upright(), CenterShift()), np.random.default_rng(DRAWS))


def voxel_rows(sample: Sample, voxel: float) -> NDArray[np.int64]:
    """(N,) the voxel of each point, numbered as `GridSample` orders them."""
    import torch

    from nonet.kernels.voxels import voxelise

    coord = torch.from_numpy(np.ascontiguousarray(sample.cloud.coord))
    rows: NDArray[np.int64] = voxelise(coord, voxel).inverse.numpy()
    return rows


class ScoredCollate:
    """Scenes to a `ScoredBatch`, under the name `batch`; `ids` has their names.

    Args:
        channels: what the backbone takes of a point.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self.collate = Collate(channels)

    def __call__(self, scenes: Sequence[ScoredScene]) -> dict[str, Any]:
        """The batch.

        Raises:
            UserError: several data sets, or a cloud that lacks a channel.
        """
        batch = self.collate([scene.item for scene in scenes])
        return {"ids": list(batch.names), "batch": ScoredBatch(batch, tuple(scenes))}


class TrainCollate:
    """Items to a `Batch`, under the name `batch`; `ids` has the names of its scenes, for errors.

    Args:
        collate: makes the batch.
    """

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """The batch."""
        batch = self.collate(items)
        return {"ids": list(batch.names), "batch": batch}
