"""How near two meshes are to each other where cameras looked. Source: ours."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nonet.errors import UserError
from nonet.metrics.reconstruction import PARTS, SAMPLES, mesh_scores
from ponderv2.meshes import Mesh
from ponderv2.ply import read_ply_elements
from ponderv2.scenes import View
from ponderv2.visibility import in_images


def score_mesh(
    mesh: Mesh,
    reference: Mesh,
    views: Sequence[View],
    *,
    distance: float = 0.05,
    samples: int = SAMPLES,
    seed: int = 0,
    longest: float | None = None,
    done: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Accuracy, completeness, Chamfer distance, precision, recall and F of points drawn by area.

    Args:
        mesh: what was found.
        reference: what is true.
        views: points of either mesh that lie in no frustum of theirs are left out; none: all count.
        distance: metres within which a point is right.
        samples: points on each mesh, before any are left out.
        seed: of the points.
        longest: planar depth at which a frustum ends, metres: that up to which a fused reference took depth,
            or what lies beyond counts as found and not true; None: no limit.
        done: called `parts_of(views)` times on the way.

    Returns:
        `accuracy`, `completeness`, `chamfer` in metres, `precision`, `recall`, `f_score` in 0..1.

    Raises:
        UserError: no point of the reference lies in a frustum.
    """
    end = np.inf if longest is None else longest

    def looked_up() -> Iterator[View]:
        for view in views:
            yield view
            done()

    found = mesh_scores(
        (mesh.vertices, mesh.faces),
        (reference.vertices, reference.faces),
        distance,
        count=samples,
        seed=seed,
        keep=(lambda points: in_images(points, looked_up(), longest=end)) if views else None,
        done=done,
    )
    return {name: float(value) for name, value in found._asdict().items()}


def parts_of(views: Sequence[View]) -> int:
    """What `score_mesh` counts: points of two meshes in each view, then parts of them in the other mesh."""
    return 2 * (len(views) + PARTS)


def read_reference(path: Path) -> Mesh:
    """A user's mesh from a PLY file.

    Raises:
        UserError: it cannot be read, or has no triangles.
    """
    elements = read_ply_elements(path)
    vertex, face = elements.get("vertex", {}), elements.get("face", {})
    corners = next((face[name] for name in ("vertex_indices", "vertex_index") if name in face), None)
    if not {"x", "y", "z"} <= set(vertex) or corners is None or not len(corners):
        raise UserError(f"{path}: holds no triangles; a mesh is needed, not a cloud")
    vertices = np.stack([vertex[name] for name in "xyz"], 1).astype(np.float32)
    if corners.dtype == object:  # polygons of several sizes: fans of triangles
        faces = np.concatenate([_fan(np.asarray(polygon)) for polygon in corners])
    else:
        faces = np.concatenate([corners[:, [0, k, k + 1]] for k in range(1, corners.shape[1] - 1)])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise UserError(f"{path}: a triangle names vertex {faces.max()}, but there are {len(vertices)}")
    return Mesh(vertices, faces.astype(np.int64))


def _fan(polygon: np.ndarray) -> np.ndarray:
    return np.stack([np.repeat(polygon[0], len(polygon) - 2), polygon[1:-1], polygon[2:]], 1)
