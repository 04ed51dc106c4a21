"""Normals of clouds that came without, from the planes through each point's neighbours (ours).

The direction of least spread of the nearest neighbours (Hoppe et al. 1992). A plane has two sides: a normal
looks to the middle of the cloud, as those of a room scanned from inside do. Estimated normals are never put
in place of missing ones unasked: whoever opens the scenes says so.
"""

from collections.abc import Iterable
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.scenes import Array, PointCloud, Scene, SceneList, View

# Shapes: N points, K neighbours.

NEIGHBOURS = 16
"""points, itself among them, that a plane goes through"""
KEPT = 1 << 30
"""bytes of estimated normals that a process keeps, those of 90 million points; the rest is estimated anew"""


def estimate_normals(
    coord: Array, *, neighbours: int = NEIGHBOURS, towards: Array | None = None
) -> NDArray[np.float32]:
    """(N, 3) float32 normals of length 1.

    Args:
        coord: (N, 3).
        neighbours: points that a plane goes through; fewer where there are fewer.
        towards: (3,), the side a normal looks to; the middle of the bounding box by default.

    Raises:
        UserError: fewer than three points, or all in one place or on one line: no plane goes through them.
    """
    from scipy.spatial import cKDTree

    coord = np.asarray(coord, np.float64)
    if len(coord) < 3:
        raise UserError(
            f"{len(coord)} points span no plane, so normals cannot be estimated; leave normal out"
        )
    _, near = cKDTree(coord).query(coord, min(neighbours, len(coord)))
    spread = coord[near] - coord[near].mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", spread, spread))
    if not (values[:, 1] > 1e-12 * np.maximum(values[:, 2], 1e-12)).any():
        raise UserError("all points lie on one line or in one place, so normals cannot be estimated")
    normal = vectors[:, :, 0]
    middle = (coord.min(0) + coord.max(0)) / 2 if towards is None else np.asarray(towards)
    away = (normal * (middle - coord)).sum(1) < 0
    normal[away] *= -1
    return normal.astype(np.float32)


class EstimatedNormals(Scene):
    """A scene whose cloud has estimated normals if it has none of its own.

    Estimating takes longer than reading: normals are kept while the scene is, up to `KEPT` of all scenes.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.name, scene.dataset, skipped=scene.skipped, remarks=scene.remarks)
        self.scene = scene
        self.up, self.classes, self.kept = scene.up, scene.classes, scene.kept

    @property
    def fused(self) -> bool:
        """As the scene's."""
        return self.scene.fused

    @property
    def checked(self) -> bool:
        """As the scene."""
        return self.scene.checked

    @property
    def view_names(self) -> tuple[str, ...]:
        """The scene's."""
        return self.scene.view_names

    def cloud(self) -> PointCloud:
        """The scene's, with normals.

        Raises:
            UserError: they cannot be estimated.
        """
        cloud = self.scene.cloud()
        if cloud.normal is not None:
            return cloud
        normal = _kept.get(self)
        if normal is None:
            try:
                normal = estimate_normals(cloud.coord)
            except UserError as error:
                raise UserError(f"scene {self.name}: {error}") from None
            if sum(each.nbytes for each in _kept.values()) + normal.nbytes <= KEPT:
                _kept[self] = normal
        return replace(cloud, normal=normal)

    def view(self, index: int) -> View:
        """The scene's."""
        return self.scene.view(index)

    def with_views(self, indices: Iterable[int]) -> Scene:
        """The same of the chosen views."""
        return EstimatedNormals(self.scene.with_views(indices))


def as_read(scene: Scene) -> Scene:
    """The scene itself, where normals are estimated for it."""
    return scene.scene if isinstance(scene, EstimatedNormals) else scene


_kept: WeakKeyDictionary[EstimatedNormals, NDArray[np.float32]] = WeakKeyDictionary()


def with_normals(scenes: SceneList) -> SceneList:
    """The scenes, whose clouds get estimated normals where they have none."""
    return scenes.of(EstimatedNormals(scene) for scene in scenes)
