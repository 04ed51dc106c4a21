"""Neighbours of points in space: the k nearest, those within a ball, and points far from each other.

On the CPU trees are asked (scipy's cKDTree, N log N) and farthest points are a loop of N operations for each.
On CUDA, Triton compares all pairs in registers. Of equally near points the lower index comes first in the
Triton form and when all distances fit in k; what a tree leaves out of more equals than k is its choice.

Sources: Qi et al. 2017 (PointNet++), section 3.2, for the three questions; ours for the forms.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nonet.errors import needs
from nonet.kernels.dispatch import backend

# Shapes: N points, M queries, k neighbours of each.


class Neighbours(NamedTuple):
    """Neighbours of each query, nearest first.

    Attributes:
        distances: (M, k), dtype of the queries; infinite where there is none.
        indices: (M, k) int64 in 0..N-1; -1 where there is none.
    """

    distances: Tensor
    indices: Tensor


def nearest(points_N3: Tensor, queries_M3: Tensor, k: int) -> Neighbours:
    """The k nearest points of each query; a point that is a query itself is its own nearest.

    Args:
        points_N3: (N, 3) float, finite. No gradient.
        queries_M3: (M, 3) float, finite.
        k: in 1..N.

    Raises:
        ValueError: k or shapes do not fit, or a coordinate is not finite.
        UserError: on the CPU, scipy is not installed.
    """
    if not 1 <= k <= len(points_N3):
        raise ValueError(f"k is {k}; of {len(points_N3)} points 1 to {len(points_N3)} can be asked for")
    return _search(points_N3, queries_M3, k, math.inf)


def ball_query(points_N3: Tensor, queries_M3: Tensor, radius: float, k: int) -> Neighbours:
    """The k nearest points of each query among those closer than a radius.

    Args:
        points_N3: (N, 3) float, finite. No gradient.
        queries_M3: (M, 3) float, finite.
        radius: in the points' unit, above 0; a point at that distance is not within.
        k: at least 1; may exceed N.

    Raises:
        ValueError: k, radius or shapes do not fit, or a coordinate is not finite.
        UserError: on the CPU, scipy is not installed.
    """
    if k < 1 or not radius > 0:
        raise ValueError(f"k is {k} and the radius {radius}; at least 1 and above 0 are needed")
    found = _search(points_N3, queries_M3, min(k, max(1, len(points_N3))), radius)
    missing = k - found.indices.shape[1]
    return Neighbours(
        torch.nn.functional.pad(found.distances, (0, missing), value=math.inf),
        torch.nn.functional.pad(found.indices, (0, missing), value=-1),
    )


@torch.no_grad()  # type: ignore[untyped-decorator]
def farthest_points(points_N3: Tensor, count: int, start: int = 0) -> Tensor:
    """Points, each the farthest from all before it.

    Args:
        points_N3: (N, 3) float, finite.
        count: in 1..N.
        start: the first of them, in 0..N-1.

    Returns:
        (count,) int64; of equally far points the lower index. Where fewer than `count` places are distinct,
        points repeat places that were taken, lowest index first.

    Raises:
        ValueError: count, start or the shape do not fit, or a coordinate is not finite.
    """
    _check(points_N3, "points")
    N = len(points_N3)
    if not 1 <= count <= N or not 0 <= start < N:
        raise ValueError(f"count is {count} and start {start}; there are {N} points")
    if backend(points_N3) == "triton" and points_N3.dtype != torch.float64:
        from nonet.kernels.neighbours_triton import farthest

        return farthest(points_N3.float(), count, start)
    x, y, z = points_N3.T.contiguous()
    away = torch.full_like(x, math.inf)
    found = torch.empty(count, dtype=torch.int64)
    last = start
    for place in range(count):
        found[place] = last
        away[last] = -1  # a point is taken once
        distance = (x - x[last]).square_()
        distance += (y - y[last]).square_()
        distance += (z - z[last]).square_()
        last = int(torch.minimum(away, distance, out=away).argmax())
    return found.to(points_N3.device)


def _search(points: Tensor, queries: Tensor, k: int, radius: float) -> Neighbours:
    _check(points, "points")
    _check(queries, "queries")
    M = len(queries)
    if not M or not len(points):
        return Neighbours(
            queries.new_full((M, k), math.inf),
            torch.full((M, k), -1, dtype=torch.int64, device=queries.device),
        )
    if backend(points) == "triton" and torch.float64 not in (points.dtype, queries.dtype):
        from nonet.kernels.neighbours_triton import search

        distances, indices = search(points.float(), queries.float(), k, radius)
        return Neighbours(distances.to(queries.dtype), indices)
    spatial = needs("scipy.spatial", to="look for neighbours on the CPU", install="nonet[three-d]")
    tree = spatial.cKDTree(points.detach().cpu().double().numpy())
    asked = queries.detach().cpu().double().numpy()
    workers = torch.get_num_threads()
    found = tree.query(asked, k=range(1, k + 1), distance_upper_bound=radius, workers=workers)
    distances, indices = (torch.as_tensor(part) for part in found)
    indices = torch.where(distances.isinf(), -1, indices)
    order = _lower_index_first(distances, indices)
    distances, indices = distances.gather(1, order), indices.gather(1, order)
    return Neighbours(distances.to(queries.device, queries.dtype), indices.to(queries.device))


def _lower_index_first(distances: Tensor, indices: Tensor) -> Tensor:
    """(M, k): the order by distance and, where that is equal, by index; what is missing stays last."""
    by_index = indices.sort(dim=1, stable=True).indices
    by_distance = distances.gather(1, by_index).sort(dim=1, stable=True).indices
    return by_index.gather(1, by_distance)


def _check(points: Tensor, what: str) -> None:
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"{what} must be (n, 3) floats, not {tuple(points.shape)} {points.dtype}")
    if not bool(points.isfinite().all()):
        row = int((~points.isfinite().all(1)).nonzero()[0, 0])
        raise ValueError(f"{what}: row {row} (from 0) is {points[row].tolist()}, which is not finite")
