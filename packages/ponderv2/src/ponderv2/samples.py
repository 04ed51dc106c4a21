"""A scene on its way through augmentations: cloud, cameras and indices stay together (ours).

Every geometric augmentation is a similarity S of the world: points p become S p, and each camera-to-world
matrix C becomes S C, which is the rule E <- E S^-1 for world-to-camera matrices. Depth images stay in the
camera's own metres; rays measure in the sample's units, as their lengths go through S C.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.scenes import Array, PointCloud, Scene, View

# Shapes: N points of the sample, L points that must be kept.


@dataclass(frozen=True)
class Sample:
    """What an augmentation takes and gives.

    Attributes:
        name: of the scene.
        dataset: of the scene.
        cloud: N points.
        views: cameras in the same world.
        world: (4, 4) float64, a similarity from the scene's world to this one.
        index: (N,) int64, which point of the scene's cloud each one is.
        kept: (L,) int64, ascending numbers of points that may not be dropped, or None.
        grid: (N, 3) int64 voxels, each once and not negative, once the points went through `GridSample`.
        up: (3,) the scene's "up" in the sample's world.
        cell: metres, side of a voxel of `grid`.
    """

    name: str
    dataset: str
    cloud: PointCloud
    index: NDArray[np.int64]
    world: NDArray[np.float64]
    views: tuple[View, ...] = ()
    kept: NDArray[np.int64] | None = None
    grid: NDArray[np.int64] | None = None
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    cell: float | None = None

    def moved(self, world: Array) -> "Sample":
        """Points, normals and cameras after the similarity `world`, (4, 4).

        Voxels stay: they name points, and a shift of the origin does not change which points are neighbours.
        """
        world = np.asarray(world, np.float64)
        linear, shift = world[:3, :3], world[:3, 3]
        rotation = linear / np.cbrt(abs(np.linalg.det(linear)))
        cloud = self.cloud
        return replace(
            self,
            cloud=replace(
                cloud,
                coord=(cloud.coord @ linear.T + shift).astype(np.float32),
                normal=None if cloud.normal is None else (cloud.normal @ rotation.T).astype(np.float32),
            ),
            views=tuple(view.moved(world) for view in self.views),
            world=world @ self.world,
            up=tuple((rotation @ self.up).tolist()),
        )

    def bent(self, coord: Array) -> "Sample":
        """The points at other places, by no similarity.

        Raises:
            UserError: there are views: no camera sees a bent world as its image shows it.
        """
        if self.views:
            raise UserError(f"scene {self.name}: points are bent or shaken while cameras look at them")
        return replace(self, cloud=replace(self.cloud, coord=coord.astype(np.float32)))

    def take(self, chosen: Array) -> "Sample":
        """Some of the points in the given order; `kept` is renumbered, and must be among them.

        Args:
            chosen: (M,) int64, each at most once.

        Raises:
            ValueError: a point that must be kept is left out.
        """
        kept = self.kept
        if kept is not None:
            place = np.full(len(self.cloud), -1)
            place[chosen] = np.arange(len(chosen))
            kept = np.sort(place[kept])
            if len(kept) and kept[0] < 0:
                raise ValueError(f"scene {self.name}: points that must be kept are dropped")
        grid = None if self.grid is None else self.grid[chosen]
        return replace(self, cloud=self.cloud.take(chosen), index=self.index[chosen], kept=kept, grid=grid)

    def must_keep(self) -> NDArray[np.bool_]:
        """(N,) whether a point may not be dropped."""
        keep = np.zeros(len(self.cloud), bool)
        if self.kept is not None:
            keep[self.kept] = True
        return keep


Transform = Callable[[Sample, np.random.Generator], Sample]
"""An augmentation. It draws from the generator only, and changes nothing that it is given."""


def sample_of(scene: Scene, views: Sequence[View] = ()) -> Sample:
    """A scene as it is read, with the given views of it."""
    cloud = scene.cloud()
    return Sample(
        name=scene.name,
        dataset=scene.dataset,
        cloud=cloud,
        index=np.arange(len(cloud)),
        world=np.eye(4),
        views=tuple(views),
        kept=None if scene.kept is None else np.sort(scene.kept),
        up=scene.up,
    )


def through(sample: Sample, transforms: Sequence[Transform], generator: np.random.Generator) -> Sample:
    """The sample after all of them, in order."""
    for transform in transforms:
        sample = transform(sample, generator)
    return sample
