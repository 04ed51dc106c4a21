"""A mesh of an encoded scene: where its signed distance is 0, in the scene's metres. Source: ours.

The original refused to release a way to meshes. Distances are looked up on a regular grid inside the cloud's
box, by chunks; points that no camera saw, or that lie deeper behind a surface than the losses compared
distances, are left out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.iso_surfaces import surface_of
from ponderv2.meshes import Mesh
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.scenes import View
from ponderv2.visibility import observed

# Shapes: X, Y, Z grid points; P points.

CHUNK = 1 << 16
"""points at a time"""
SLAB = 1 << 21
"""grid points whose places are held at a time, but a layer at least"""
MOST_POINTS = 200_000_000
"""of a grid"""


def reconstruct(
    model: PonderModel,
    encoded: Encoded,
    box: NDArray[np.floating],
    views: Sequence[View],
    points: NDArray[np.floating],
    *,
    spacing: float,
    reach: float,
    color: bool = True,
) -> Mesh:
    """The zero surface of a scene, in the world of its batch.

    The grid reaches beyond the cloud's box as far as a surface is observed and the volume goes: floors and
    walls lie on the box itself.

    Args:
        model: in eval mode.
        encoded: of one scene.
        box: (2, 3) lowest and highest corner of the cloud, metres.
        views: what they saw counts as observed; without any, what lies within `reach` of the cloud.
        points: (N, 3) the cloud.
        spacing: metres between grid points.
        reach: metres behind a surface that still count as observed.
        color: look the vertices' colours up in the field, seen from straight before the surface.

    Returns:
        The mesh with outward normals. It has no triangles if the distance never changes its sign.

    Raises:
        UserError: the grid would have more than `MOST_POINTS` points.
    """
    low, high = _around(encoded, np.asarray(box, np.float64), reach)
    counts = np.maximum(np.ceil((high - low) / spacing).astype(np.int64) + 1, 2)
    if int(np.prod(counts)) > MOST_POINTS:
        size = " x ".join(f"{side:.1f}" for side in high - low)
        raise UserError(
            f"grid points every {spacing:g} m in a box of {size} m are too many: take a larger spacing"
        )
    axes = [low[axis] + spacing * np.arange(counts[axis]) for axis in range(3)]
    near = None if views else _Near(points, reach)
    shape = tuple(counts.tolist())
    seen, distances = np.zeros(shape, bool), np.full(shape, spacing, np.float32)
    thick = max(1, SLAB // (shape[1] * shape[2]))
    for first in range(0, shape[0], thick):  # the places of a large grid take far more than its values
        rows = slice(first, first + thick)
        grid = np.stack(np.meshgrid(axes[0][rows], *axes[1:], indexing="ij"), -1).reshape(-1, 3)
        there = observed(grid, views, reach) if near is None else near(grid)
        seen[rows] = there.reshape(seen[rows].shape)
        distances[rows][seen[rows]] = signed_distances(model, encoded, grid[there])
    mesh = surface_of(distances, seen, low, spacing)
    if not color or not len(mesh.vertices):
        return mesh
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, surface_colors(model, encoded, mesh))


def cell_sides(encoded: Encoded) -> list[float]:
    """Metres between the middles of neighbouring cells of the volume, along x, y and z."""
    cube = encoded.cube
    counts = encoded.volume.shape[:1:-1]
    sides = ((cube.high - cube.low) / cube.scale[0]).tolist()
    return [side / (count - 1) for side, count in zip(sides, counts, strict=True)]


@torch.no_grad()
def signed_distances(
    model: PonderModel, encoded: Encoded, points: NDArray[np.floating], *, chunk: int = CHUNK
) -> NDArray[np.float32]:
    """(P,) float32 metres at (P, 3) points of the batch's world, positive before a surface."""
    field, cube = model.field.at(encoded.volume, encoded.cube), encoded.cube
    parts = [
        (field.sdf(cube.to_cube(part), "field") / cube.scale[:, None])[0].cpu().numpy()
        for part in _chunks(points, chunk, encoded.volume.device)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@torch.no_grad()
def surface_colors(
    model: PonderModel, encoded: Encoded, mesh: Mesh, *, chunk: int = CHUNK
) -> NDArray[np.uint8]:
    """(V, 3) uint8: the field's colours at a mesh's vertices, looked at against their normals."""
    assert mesh.normals is not None
    device = encoded.volume.device
    parts = []
    for place, ways in zip(
        _chunks(mesh.vertices, chunk, device), _chunks(-mesh.normals, chunk, device), strict=True
    ):
        color = model.query(encoded, place, ways).color
        parts.append((color[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    return np.concatenate(parts)


def _around(
    encoded: Encoded, box: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box with a margin, inside of the volume."""
    cube = encoded.cube
    ends = cube.to_world(torch.stack([cube.low, cube.high])[None])[0].cpu().numpy().astype(np.float64)
    return np.maximum(box[0] - reach, ends[0]), np.minimum(box[1] + reach, ends[1])


def _chunks(values: NDArray[np.floating], chunk: int, device: torch.device) -> list[torch.Tensor]:
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
    return [part[None] for part in tensor.split(chunk)] if len(tensor) else []


class _Near:
    """Which places lie within reach of a cloud."""

    def __init__(self, points: NDArray[np.floating], reach: float) -> None:
        from scipy.spatial import cKDTree

        self.tree, self.reach = cKDTree(points), reach

    def __call__(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        apart, _ = self.tree.query(places, distance_upper_bound=self.reach)
        return np.asarray(np.isfinite(apart))
