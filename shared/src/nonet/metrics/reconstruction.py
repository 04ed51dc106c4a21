"""How close a reconstructed surface is to a true one: distances of points drawn on both (numpy).

    accuracy      mean distance of found points to the nearest true one
    completeness  mean distance of true points to the nearest found one
    chamfer       the mean of both (some papers give the sum)
    precision     share of found points nearer than the threshold; recall: of true ones; F: 2 P R / (P + R)

Source: Knapitsch et al. 2017 (Tanks and Temples) for precision, recall and F; Murez et al. 2020 (Atlas) for
their use in rooms, at 5 cm. Points are drawn evenly over the area of triangles. What no camera saw should be
left out on both sides before: `seen`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError, needs

Floats = NDArray[np.float64]

# Shapes: P points, V vertices, T triangles, C cameras.

SAMPLES = 200_000  # points a mesh
THRESHOLD = 0.05  # metres
PARTS = 32  # that points are looked up in: a query is one call, which hears no Ctrl-C, and far ones take long


class ReconstructionScores(NamedTuple):
    """Distances in the unit of the points (metres), shares in 0..1."""

    accuracy: float
    completeness: float
    chamfer: float
    precision: float
    recall: float
    f_score: float


def sample_surface(vertices: ArrayLike, triangles: ArrayLike, count: int = SAMPLES, seed: int = 0) -> Floats:
    """(count, 3) points, evenly over the area of a mesh.

    Args:
        vertices: (V, 3) finite.
        triangles: (T, 3) whole numbers in 0..V-1.
        count: at least 1.
        seed: of the draws.

    Raises:
        UserError: shapes or numbers do not fit, or the mesh has no area.
    """
    places, corners = np.asarray(vertices, np.float64), np.asarray(triangles)
    if places.ndim != 2 or places.shape[1:] != (3,) or corners.ndim != 2 or corners.shape[1:] != (3,):
        raise UserError(
            f"a mesh needs vertices (V, 3) and triangles (T, 3), not {places.shape}, {corners.shape}"
        )
    if not np.isfinite(places).all():
        raise UserError("a mesh has a vertex that is not finite")
    if corners.size and (corners.min() < 0 or corners.max() >= len(places)):
        raise UserError(f"triangles name vertices {corners.min()}..{corners.max()} of {len(places)} (from 0)")
    a, b, c = (places[corners[:, i]] for i in range(3))
    ends = np.linalg.norm(np.cross(b - a, c - a), axis=1).cumsum()
    if not ends.size or ends[-1] <= 0:
        raise UserError("a mesh has no area to draw points on; is it empty?")
    random = np.random.default_rng(seed)
    chosen = np.searchsorted(ends, random.random(count) * ends[-1], side="right")
    u, v = random.random((2, count))
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u)[:, None], np.where(beyond, 1 - v, v)[:, None]
    return np.asarray(a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen])


def point_scores(
    found: ArrayLike,
    truth: ArrayLike,
    threshold: float = THRESHOLD,
    *,
    done: Callable[[], object] = lambda: None,
) -> ReconstructionScores:
    """Compare points of a found and of a true surface.

    Args:
        found: (P, 3) finite; without any, all shares are 0 and distances infinite.
        truth: (Q, 3) finite, at least one.
        threshold: nearer than this is near enough.
        done: called after each of `PARTS` parts of the points of either surface.

    Raises:
        UserError: there are no true points, a shape is wrong, a number is not finite; or scipy is missing.
    """
    mine, true = _points(found, "found points"), _points(truth, "true points")
    if not len(true):
        raise UserError("there is no true point to compare with")
    if not len(mine):
        return ReconstructionScores(np.inf, np.inf, np.inf, 0.0, 0.0, 0.0)
    spatial = needs("scipy.spatial", to="compare surfaces", install="nonet[three-d]")
    to_true = _distances(mine, spatial.cKDTree(true), done)
    to_mine = _distances(true, spatial.cKDTree(mine), done)
    accuracy, completeness = float(to_true.mean()), float(to_mine.mean())
    precision, recall = float((to_true < threshold).mean()), float((to_mine < threshold).mean())
    both = precision + recall
    f_score = 2 * precision * recall / both if both else 0.0
    return ReconstructionScores(
        accuracy, completeness, (accuracy + completeness) / 2, precision, recall, f_score
    )


def mesh_scores(
    found: tuple[ArrayLike, ArrayLike],
    truth: tuple[ArrayLike, ArrayLike],
    threshold: float = THRESHOLD,
    *,
    count: int = SAMPLES,
    seed: int = 0,
    keep: Callable[[Floats], NDArray[np.bool_]] | None = None,
    done: Callable[[], object] = lambda: None,
) -> ReconstructionScores:
    """Compare two meshes by points drawn on both.

    Args:
        found: vertices (V, 3) and triangles (T, 3); without triangles nothing was found.
        truth: the same.
        threshold: nearer than this is near enough.
        count: points a mesh.
        seed: of the draws.
        keep: says which of points (P, 3) count, such as those that a camera saw; None: all.
        done: see `point_scores`.

    Raises:
        UserError: a mesh is not one, or nothing of the true one counts.
    """
    empty = not len(np.asarray(found[1]))
    mine = np.zeros((0, 3)) if empty else sample_surface(*found, count, seed)
    true = sample_surface(*truth, count, seed + 1)  # other draws, or equal meshes would have distance 0
    if keep is not None:
        mine, true = mine[keep(mine)], true[keep(true)]
    return point_scores(mine, true, threshold, done=done)


def seen(
    points: ArrayLike,
    intrinsics: ArrayLike,
    camera_to_world: ArrayLike,
    width: int,
    height: int,
    *,
    near: float = 0.0,
    far: float = np.inf,
) -> NDArray[np.bool_]:
    """(P,): whether points lie in the frustum of at least one camera; nothing hides anything.

    Args:
        points: (P, 3) in the world, metres.
        intrinsics: (3, 3) of all cameras, or (C, 3, 3); pixels.
        camera_to_world: (C, 4, 4) poses; a camera looks along its z axis, y down.
        width: of pictures, pixels.
        height: of pictures, pixels.
        near: metres along the axis from which a camera sees.
        far: metres along the axis up to which it does.

    Raises:
        UserError: shapes do not fit or numbers are not finite.
    """
    places = _points(points, "points")
    poses = np.asarray(camera_to_world, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise UserError(f"cameras need poses (C, 4, 4), not {poses.shape}")
    lenses = np.broadcast_to(np.asarray(intrinsics, np.float64), (len(poses), 3, 3))
    found = np.zeros(len(places), np.bool_)
    for pose, lens in zip(poses, lenses, strict=True):
        left = np.flatnonzero(~found)
        inverse = np.linalg.inv(pose)
        local = places[left] @ inverse[:3, :3].T + inverse[:3, 3]
        ahead = (local[:, 2] > max(near, 0.0)) & (local[:, 2] <= far)
        local, left = local[ahead], left[ahead]
        pixels = local @ lens.T
        u, v = pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2]
        # pixel centres are whole numbers, so that a picture reaches from -.5 to its size less .5
        found[left[(u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)]] = True
    return found


def _distances(points: Floats, tree: Any, done: Callable[[], object]) -> Floats:
    """(P,) from each point to the nearest one of a tree."""
    found = []
    for part in np.array_split(points, PARTS):
        found.append(tree.query(part)[0])
        done()
    return np.concatenate(found)


def _points(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.size == 0:
        return np.zeros((0, 3))
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise UserError(f"{what} must be (n, 3) finite numbers; their shape is {array.shape}")
    return array
