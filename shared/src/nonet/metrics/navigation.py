"""Following instructions through a graph of viewpoints: SR, OSR, NE, TL, SPL, nDTW, SDTW, CLS (numpy).

Sources: Anderson et al. 2018, "Vision-and-Language Navigation" (success within 3 m) and "On Evaluation of
Embodied Navigation Agents" (SPL); Ilharco et al. 2019 (nDTW, SDTW); Jain et al. 2019, "Stay on the Path"
(CLS). All distances are along the graph (geodesic), never as the crow flies. Success is *less* than the
radius, as in R2R's own script.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.warping import warp_costs

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

RADIUS = 3.0  # metres


class Walk(NamedTuple):
    """One episode.

    Attributes:
        path: viewpoints where the agent was, in order, at least one.
        reference: viewpoints of the described path; the last is the goal.
        distances: (v, v) metres between all viewpoints of the scene; see `geodesics`.
    """

    path: Sequence[int]
    reference: Sequence[int]
    distances: ArrayLike


class Navigation(NamedTuple):
    """Means over episodes. SR, OSR, SPL, nDTW, SDTW and CLS 0..1; NE and TL in metres."""

    success: float
    oracle_success: float
    error: float
    length: float
    spl: float
    ndtw: float
    sdtw: float
    cls: float
    episodes: int


def navigation(walks: Sequence[Walk], *, radius: float = RADIUS) -> Navigation:
    """All metrics of a split.

    Args:
        walks: episodes; those of one scene share their matrix of distances.
        radius: metres within which an agent has arrived; also the scale of nDTW and CLS.

    Raises:
        UserError: no episodes, an empty path, a viewpoint that does not exist, or distances that are none.
    """
    if not walks or not radius > 0:
        raise UserError("navigation needs at least one episode, and a radius above 0")
    known: dict[int, Floats] = {}
    costs, rows = [], []
    for place, walk in enumerate(walks):
        key = id(walk.distances)
        if key not in known:
            known[key] = _distances(walk.distances, f"episode {place}")
        d = known[key]
        path = _nodes(walk.path, len(d), f"episode {place}, path")
        reference = _nodes(walk.reference, len(d), f"episode {place}, reference")
        cost = d[np.ix_(path, reference)]
        costs.append(cost)
        walked, shortest = float(d[path[:-1], path[1:]].sum()), float(d[reference[0], reference[-1]])
        arrived = float(cost[-1, -1] < radius)
        longer = max(walked, shortest)
        rows.append((
            arrived, float(cost[:, -1].min() < radius), float(cost[-1, -1]), walked,
            arrived * (shortest / longer if longer else 1.0),
            coverage_by_length(cost, walked, float(d[reference[:-1], reference[1:]].sum()), radius),
        ))  # fmt: skip
    table = np.array(rows)
    lengths = np.array([cost.shape[1] for cost in costs])
    close = np.exp(-warp_costs(costs) / (lengths * radius))
    success, oracle, error, length, by_length, covered = table.mean(0).tolist()
    return Navigation(
        success, oracle, error, length, by_length,
        float(close.mean()), float((close * table[:, 0]).mean()), covered, len(walks),
    )  # fmt: skip


def spl(success: ArrayLike, shortest: ArrayLike, walked: ArrayLike) -> float:
    """Success weighted by path length: mean of S l / max(p, l), 0..1.

    `spl([1], [5], [10])` is 0.5. Who starts at the goal and stays has 1.

    Args:
        success: (n,) 0 or 1.
        shortest: (n,) metres from start to goal along the graph.
        walked: (n,) metres that were walked.
    """
    arrived, least, real = (np.asarray(values, np.float64) for values in (success, shortest, walked))
    if arrived.ndim != 1 or not arrived.shape == least.shape == real.shape or not len(arrived):
        raise UserError(
            "success and lengths must be rows of equal length, "
            f"got {arrived.shape}, {least.shape}, {real.shape}"
        )
    if not (np.isfinite(least).all() and np.isfinite(real).all()) or (least < 0).any() or (real < 0).any():
        raise UserError("lengths must be finite and at least 0")
    longer = np.maximum(least, real)
    return float((arrived * np.divide(least, longer, out=np.ones(len(longer)), where=longer > 0)).mean())


def ndtw(warp: float, reference_length: int, radius: float = RADIUS) -> float:
    """exp(-DTW / (|R| radius)), |R| the viewpoints of the reference: `ndtw(3, 3, 3)` is .7165313."""
    if reference_length < 1 or not radius > 0:
        raise UserError(
            f"the reference has {reference_length} viewpoints "
            f"and the radius is {radius}; both must be above 0"
        )
    return float(np.exp(-warp / (reference_length * radius)))


def coverage_by_length(cost: ArrayLike, walked: float, reference: float, radius: float = RADIUS) -> float:
    """CLS: how well the reference is covered, times how well the length fits, 0..1.

    PC = mean over reference viewpoints of exp(-distance to the path / radius); the expected length is PC
    times the reference's; the score is PC * expected / (expected + |expected - walked|).

    Args:
        cost: (path, reference) metres between their viewpoints.
        walked: metres of the path.
        reference: metres of the reference.
        radius: metres.
    """
    covered = float(np.exp(-np.asarray(cost, np.float64).min(0) / radius).mean())
    expected = covered * reference
    off = abs(expected - walked)
    return covered * (expected / (expected + off) if expected + off else 1.0)


def geodesics(edges: ArrayLike) -> Floats:
    """Shortest distances between all viewpoints of a graph (Floyd 1962).

    Args:
        edges: (v, v) metres of direct ways, infinite or NaN where there is none; symmetric ones are expected,
            and the diagonal is taken as 0.

    Returns:
        (v, v) metres; infinite where there is no way.
    """
    d = np.array(edges, np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or (d < 0).any():
        raise UserError(f"a graph is a square matrix of lengths of at least 0, but its shape is {d.shape}")
    d[np.isnan(d)] = np.inf
    np.fill_diagonal(d, 0)
    for middle in range(len(d)):
        np.minimum(d, d[:, middle, None] + d[middle], out=d)
    return d


def _distances(distances: ArrayLike, where: str) -> Floats:
    d = np.asarray(distances, np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1]:
        raise UserError(f"{where}: distances are a square matrix, but their shape is {d.shape}")
    if np.isnan(d).any() or (d < 0).any():
        raise UserError(f"{where}: a distance is negative or not a number")
    return d


def _nodes(nodes: Sequence[int], count: int, what: str) -> Numbers:
    array = np.asarray(nodes)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise UserError(f"{what} must be numbers of viewpoints, at least one")
    if array.min() < 0 or array.max() >= count:
        raise UserError(
            f"{what} has viewpoint {array.min()} or {array.max()}, but there are 0 to {count - 1}"
        )
    return array.astype(np.int64)
