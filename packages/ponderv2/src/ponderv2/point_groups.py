"""Groups of points that touch: connected components of "same class, same scene, within a radius" (PointGroup,
Jiang et al. 2020, section 3.2.1: ball query, then breadth-first search).

The original lists every neighbour of every point. Shifted points lie on a heap, thousands within one ball, so
that the lists grow with their square. Here space is cut into cells whose diagonal is the radius: the points
of a cell belong together whatever else, and only neighbouring cells are compared, most of them by their
bounding boxes alone. The groups are exactly those of the definition.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAIRS = 1 << 22  # distances that are held at once
STEPS = np.array(
    [(x, y, z) for x in range(-2, 3) for y in range(-2, 3) for z in range(-2, 3) if (x, y, z) > (0, 0, 0)],
    np.int64,
)  # to cells that may hold a point within the radius, each pair of cells once


def touching_groups(points: Floats, kinds: Ints, radius: float) -> Ints:
    """The number of each point's group.

    Two points are linked if they are of one kind and at most `radius` apart; groups are what links connect.

    Args:
        points: (N, 3), any unit.
        kinds: (N,) whole numbers: class and scene as one number, say.
        radius: in the unit of the points, above 0.

    Returns:
        (N,) group numbers 0, 1, ... in the order of each group's first point.

    Raises:
        ValueError: a radius that is not positive, a point that is not finite, or points too far apart to
            count their cells.
    """
    points = np.ascontiguousarray(points, np.float64)
    if not radius > 0:
        raise ValueError(f"radius is {radius:g}; it is positive")
    if not np.isfinite(points).all():
        raise ValueError("a point to group is not finite")
    if not len(points):
        return np.zeros(0, np.int64)
    _, kinds = np.unique(np.asarray(kinds), return_inverse=True)
    side = radius / np.sqrt(3.0) * (1 - 1e-9)  # the diagonal of a cell stays below the radius
    cells = np.floor((points - points.min(0)) / side).astype(np.int64) + 2
    extent = cells.max(0) + 3
    if float(extent[0]) * float(extent[1]) * float(extent[2]) * (kinds.max() + 1) >= 2**62:
        raise ValueError(
            f"points lie over {points.max(0) - points.min(0)}, too wide for a radius of {radius:g}"
        )
    strides = np.array([extent[1] * extent[2], extent[2], 1], np.int64)
    keys = kinds * int(extent.prod()) + cells @ strides
    unique, inverse = np.unique(keys, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(unique) + 1))
    links = _linked_cells(points[order], unique, starts, STEPS @ strides, radius)
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(len(unique),) * 2)
    groups = connected_components(graph, directed=False)[1][inverse]
    _, first, renamed = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[renamed]


def _linked_cells(sorted_points: Floats, unique: Ints, starts: Ints, steps: Ints, radius: float) -> Ints:
    """(L, 2) pairs of cells that hold two points within the radius, as far as they are needed to connect."""
    low = np.minimum.reduceat(sorted_points, starts[:-1])
    high = np.maximum.reduceat(sorted_points, starts[:-1])
    sure, open_pairs = [np.zeros((0, 2), np.int64)], [np.zeros((0, 2), np.int64)]
    for step in steps:
        place = np.searchsorted(unique, unique + step)
        found = (place < len(unique)) & (unique[np.minimum(place, len(unique) - 1)] == unique + step)
        pairs = np.stack([np.flatnonzero(found), place[found]], 1)
        a, b = pairs[:, 0], pairs[:, 1]
        gap = np.maximum(0, np.maximum(low[a] - high[b], low[b] - high[a]))
        reach = np.maximum(high[a] - low[b], high[b] - low[a])
        near = np.square(reach).sum(1) <= radius**2
        sure.append(pairs[near])
        open_pairs.append(pairs[~near & (np.square(gap).sum(1) <= radius**2)])
    links, doubtful = np.concatenate(sure), np.concatenate(open_pairs)
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(len(unique),) * 2)
    component = connected_components(graph, directed=False)[1]
    doubtful = doubtful[component[doubtful[:, 0]] != component[doubtful[:, 1]]]
    return np.concatenate([links, doubtful[_within(sorted_points, starts, doubtful, radius)]])


def _within(points: Floats, starts: Ints, pairs: Ints, radius: float) -> NDArray[np.bool_]:
    """(L,) whether some point of the first cell and some of the second are within the radius."""
    counts = np.diff(starts)
    sizes = counts[pairs[:, 0]] * counts[pairs[:, 1]]
    found = np.zeros(len(pairs), bool)
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(pairs):
        base = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, base + PAIRS, side="right")))
        part, size = pairs[begin:end], sizes[begin:end]
        owner = np.repeat(np.arange(len(part)), size)
        place = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        wide = counts[part[:, 1]][owner]
        first = starts[part[:, 0]][owner] + place // wide
        second = starts[part[:, 1]][owner] + place % wide
        close = np.square(points[first] - points[second]).sum(1) <= radius**2
        found[begin:end] = np.bincount(owner[close], minlength=len(part)) > 0
        begin = end
    return found
