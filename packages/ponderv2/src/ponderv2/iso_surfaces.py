"""The surface where a grid of signed distances is 0, of the cells that were observed. Source: ours.

Marching cubes are scikit-image's (Lewiner et al. 2003). Distances are positive outside, so normals point to
where they grow.
"""

import numpy as np
from numpy.typing import NDArray

from ponderv2.meshes import Mesh

# Shapes: X, Y, Z grid points along each axis.


def surface_of(
    distances: NDArray[np.float32],
    observed: NDArray[np.bool_],
    origin: NDArray[np.float64],
    spacing: float | NDArray[np.float64],
) -> Mesh:
    """The zero surface between grid points that were all observed.

    Args:
        distances: (X, Y, Z) float, positive outside; what is not observed may hold anything finite.
        observed: (X, Y, Z) bool. A triangle is kept if all eight corners of its cell are True.
        origin: (3,), metres: where grid point (0, 0, 0) lies.
        spacing: metres between grid points, one number or three.

    Returns:
        The mesh in metres with normals; of no triangles where nothing crosses 0.

    Raises:
        ValueError: the shapes differ, or an axis has fewer than two points.
    """
    from skimage.measure import marching_cubes

    if distances.shape != observed.shape or distances.ndim != 3 or min(distances.shape) < 2:
        raise ValueError(
            f"distances {distances.shape} and observed {observed.shape} should be equal, each axis 2 or more"
        )
    whole = all_corners(observed)
    inside = distances < 0
    if not (any_corner(inside) & any_corner(~inside) & whole).any():
        return Mesh(*_nothing())
    # Unobserved points become "outside"; the triangles that this makes up lie in cells that are not whole.
    filled = np.where(observed, distances, np.float32(np.abs(distances[observed]).max() or 1))
    steps = np.broadcast_to(np.asarray(spacing, np.float64), 3)
    vertices, faces, _, _ = marching_cubes(filled, 0.0, allow_degenerate=False)
    cells = np.floor(vertices[faces].mean(1)).astype(np.int64)
    cells = np.minimum(cells, np.array(whole.shape) - 1)
    mesh = Mesh((vertices * steps + origin).astype(np.float32), faces.astype(np.int64)).kept(
        whole[tuple(cells.T)]
    )
    return with_normals(mesh)


def all_corners(points: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(X-1, Y-1, Z-1): the cells of a grid whose eight corners are all True."""
    for axis in range(3):
        low, high = np.delete(points, -1, axis), np.delete(points, 0, axis)
        points = low & high
    return points


def any_corner(points: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(X-1, Y-1, Z-1): the cells of a grid of which at least one corner is True."""
    return ~all_corners(~points)


def with_normals(mesh: Mesh) -> Mesh:
    """The mesh with vertex normals: the mean of its triangles' normals by their area."""
    sums = np.zeros((len(mesh.vertices), 3))
    normals = mesh.face_normals()
    for corner in range(3):
        np.add.at(sums, mesh.faces[:, corner], normals)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return Mesh(
        mesh.vertices, mesh.faces, (sums / np.maximum(lengths, 1e-12)).astype(np.float32), mesh.colors
    )


def _nothing() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.float32)
