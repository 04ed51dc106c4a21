"""Augmentations that move or choose points, and the lists of them for pre-training and fine-tuning.

Source: the released code (`ponder/datasets/transform.py` and its configurations). There a shift missed the
cameras until commit 82ad88a; here cameras follow every similarity (`Sample.moved`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import turn_up
from ponderv2.samples import Sample, Transform
from ponderv2.scenes import Array

# Shapes: N points.

VOXEL = 0.02
"""metres, side of a voxel indoors"""


@dataclass(frozen=True)
class Upright:
    """Turn the scene's "up" to +z. Without it, turns about z would tip a room whose poses have y down."""

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Draws nothing."""
        return sample.moved(_linear(turn_up(sample.up)))


@dataclass(frozen=True)
class CenterShift:
    """Bring the middle of the bounding box to x = y = 0 and, with `floor`, the lowest point to z = 0."""

    floor: bool = True

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Draws nothing."""
        low, high = bounds(sample.cloud.coord, sample.name)
        world = np.eye(4)
        world[:3, 3] = -(low + high) / 2
        world[2, 3] = -low[2] if self.floor else 0
        return sample.moved(world)


@dataclass(frozen=True)
class RandomDropout:
    """With probability `p` leave out a share of the points: all the same likely, but for those to keep."""

    ratio: float
    p: float = 1.0

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Keeps round(N (1 - ratio)) points, at least one, and besides those that must be kept."""
        count = len(sample.cloud)
        if generator.random() >= self.p or not count:
            return sample
        some = generator.choice(count, max(1, round(count * (1 - self.ratio))), replace=False)
        if sample.kept is not None:
            some = np.union1d(some, sample.kept)
        return sample.take(some)


@dataclass(frozen=True)
class RandomRotate:
    """With probability `p` turn about an axis through the origin, by `low` to `high` radians."""

    low: float
    high: float
    axis: Literal["x", "y", "z"] = "z"
    p: float = 1.0

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Counter-clockwise, seen from the axis' tip."""
        if generator.random() >= self.p:
            return sample
        angle = generator.uniform(self.low, self.high)
        return sample.moved(_linear(about(self.axis, angle)))


@dataclass(frozen=True)
class RandomScale:
    """Scale all axes by one factor from `low` to `high`."""

    low: float = 0.9
    high: float = 1.1

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Ray depths scale with it, as they are measured in the sample's units."""
        return sample.moved(_linear(np.eye(3) * generator.uniform(self.low, self.high)))


@dataclass(frozen=True)
class RandomFlip:
    """Mirror x, and independently y, each with probability `p`."""

    p: float = 0.5

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Cameras are mirrored with the points: their images stay as they are."""
        x, y = np.where(generator.random(2) < self.p, -1.0, 1.0)
        return sample.moved(_linear(np.diag([x, y, 1])))


@dataclass(frozen=True)
class RandomJitter:
    """Shift each point by a normal error of `sigma` metres in each axis, `clip` metres at most."""

    sigma: float = 0.005
    clip: float = 0.02

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Not for samples with views."""
        noise = generator.standard_normal(sample.cloud.coord.shape, np.float32) * np.float32(self.sigma)
        return sample.bent(sample.cloud.coord + noise.clip(-self.clip, self.clip))


@dataclass(frozen=True)
class ElasticDistortion:
    """With probability `p` bend space: smooth random shifts on coarse grids (Simard et al. 2003, in 3D).

    Attributes:
        steps: (metres between grid points, metres of a shift's deviation before smoothing), in turn.
        p: probability.
    """

    steps: tuple[tuple[float, float], ...] = ((0.2, 0.4), (0.8, 1.6))
    p: float = 0.95

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Not for samples with views. Normals stay as they are, as in the original."""
        if generator.random() >= self.p:
            return sample
        coord = sample.cloud.coord
        for spacing, magnitude in self.steps:
            coord = coord + _smooth_shifts(coord, spacing, generator) * np.float32(magnitude)
        return sample.bent(coord)


@dataclass(frozen=True)
class GridSample:
    """Keep one random point in each voxel, and give each its voxel.

    A voxel with points that must be kept keeps one of those: the only case where such a point may go, as a
    voxel has one row in a backbone. The original's hash merges voxels when it collides; here keys are exact.
    """

    size: float = VOXEL

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The points in the order of their voxels' keys."""
        import torch

        from nonet.kernels.voxels import voxelise

        coord = sample.cloud.coord
        bounds(coord, sample.name)
        try:
            found = voxelise(torch.from_numpy(np.ascontiguousarray(coord)), self.size)
        except ValueError as error:  # more voxels along an axis than a key can number
            raise UserError(f"scene {sample.name}: {error}; give larger voxels, or the right unit") from None
        voxel = found.inverse.numpy()
        keep = sample.must_keep()
        drawn = generator.random(len(coord)) + keep  # of those to keep the largest, else of all
        order = np.lexsort((drawn, voxel))
        last = np.append(voxel[order][1:] != voxel[order][:-1], True)
        chosen = order[last]
        cells = found.cells.numpy()[:, 1:]
        if sample.kept is not None:
            sample = replace(sample, kept=np.intersect1d(sample.kept, chosen))
        return replace(sample.take(chosen), grid=cells - cells.min(0), cell=self.size)


@dataclass(frozen=True)
class SphereCrop:
    """Keep at most `points` points (or the share `rate`): those nearest to a random one.

    Points that must be kept stay, in place of the farthest others.
    """

    points: int | None = 100_000
    rate: float | None = None

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Draws the centre even when nothing is to be cropped."""
        coord = sample.cloud.coord
        centre = coord[generator.integers(len(coord))]
        most = len(coord) if self.points is None else self.points
        if self.rate is not None:
            most = min(most, max(1, int(self.rate * len(coord))))
        if len(coord) <= most:
            return sample
        distance = np.square(coord - centre).sum(1)
        distance[sample.must_keep()] = -1
        most = max(most, 0 if sample.kept is None else len(sample.kept))
        return sample.take(np.sort(np.argpartition(distance, most - 1)[:most]))


@dataclass(frozen=True)
class Shuffle:
    """The points in random order."""

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Draws a permutation."""
        return sample.take(generator.permutation(len(sample.cloud)))


def pretraining_transforms(voxel: float = VOXEL, *, keep: float = 0.2) -> tuple[Transform, ...]:
    """What indoor pre-training does to a scene with its views, but for colours, which stay.

    Args:
        voxel: metres.
        keep: the share of points that is kept: the original's stand-in for masking.
    """
    return (
        Upright(),
        CenterShift(),
        RandomDropout(1 - keep),
        *_turns(),
        RandomScale(),
        RandomFlip(),
        GridSample(voxel),
        CenterShift(floor=False),
        Shuffle(),
    )


def finetuning_transforms(
    voxel: float = VOXEL, *, crop_points: int | None = 100_000, crop_rate: float | None = None
) -> tuple[Transform, ...]:
    """What fine-tuning does to a scene without views. Mix3D is `batches.Collate`'s.

    Args:
        voxel: metres.
        crop_points: points at most; 100,000 for ScanNet.
        crop_rate: the share of points at most; 0.6 for S3DIS, 0.8 for Structured3D.
    """
    from ponderv2.color_transforms import ChromaticAutoContrast, ChromaticJitter, ChromaticTranslation

    return (
        Upright(),
        CenterShift(),
        RandomDropout(0.2, p=0.2),
        *_turns(),
        RandomScale(),
        RandomFlip(),
        RandomJitter(),
        ElasticDistortion(),
        ChromaticAutoContrast(),
        ChromaticTranslation(),
        ChromaticJitter(),
        GridSample(voxel),
        SphereCrop(crop_points, crop_rate),
        CenterShift(floor=False),
        Shuffle(),
    )


def plain_transforms(voxel: float = VOXEL) -> tuple[Transform, ...]:
    """No augmentation: for validation, reconstruction and pictures."""
    return Upright(), CenterShift(), GridSample(voxel), CenterShift(floor=False)


def bounds(coord: Array, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest coordinates, (3,) float64 each.

    Raises:
        UserError: no point is left, or one is not finite.
    """
    if not len(coord):
        raise UserError(f"scene {name}: no point is left")
    low, high = coord.min(0).astype(np.float64), coord.max(0).astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        bad = int((~np.isfinite(coord).all(1)).sum())
        raise UserError(f"scene {name}: {bad} of {len(coord)} points are not finite; leave them out")
    return low, high


def about(axis: str, angle: float) -> NDArray[np.float64]:
    """(3, 3) float64 rotation about `x`, `y` or `z`, counter-clockwise, in radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    return turn


def _turns() -> Sequence[Transform]:
    return (
        RandomRotate(-np.pi, np.pi, "z", 0.5),
        RandomRotate(-np.pi / 64, np.pi / 64, "x", 0.5),
        RandomRotate(-np.pi / 64, np.pi / 64, "y", 0.5),
    )


def _linear(matrix: Array) -> NDArray[np.float64]:
    world = np.eye(4)
    world[:3, :3] = matrix
    return world


def _smooth_shifts(coord: Array, spacing: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """(N, 3) normal noise on a grid, averaged twice over 3 x 3 x 3 grid points, read at the points."""
    from scipy.ndimage import map_coordinates, uniform_filter

    low = coord.min(0)
    places = (coord - low) / np.float32(spacing) + 1  # a grid point of margin on either side
    shape = tuple(np.floor(places.max(0)).astype(int) + 3)
    columns = []
    for _ in range(3):
        noise = generator.standard_normal(shape, np.float32)
        for _ in range(2):
            noise = uniform_filter(noise, 3, mode="constant")
        columns.append(map_coordinates(noise, places.T, order=1))
    return np.stack(columns, 1).astype(np.float32)
