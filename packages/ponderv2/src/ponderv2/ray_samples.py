"""Where along a ray the field is looked at (NeuS, Wang et al. 2021; PonderV2, Zhu et al. 2023).

A ray is clipped to the box of the volume and looked at in evenly drawn places; where the distances there
change their sign, more places are added, in one or several searches with a fixed sharpness of 64, 128, ...
Places are kept as edges: a sample stands at the beginning of its interval, and what it stands for ends where
the next one begins. Edges take no gradient.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from nonet.kernels.compositing import ray_weights
from ponderv2.field import Field

# Shapes: B scenes, R rays a scene, S samples a ray.

SMALL = 1e-5  # keeps the share of two vanishing opacities finite
SEARCH_SHARPNESS = 64.0  # of the first search for the surface; doubled in each further one
STEEPEST = 1e3  # slope of distances along a ray, in the search
Shaken = Literal["none", "sample", "ray"]
Generators: TypeAlias = Sequence[torch.Generator] | torch.Generator | None
"""what draws: one for each scene, one for all of them, or torch's own"""


class Placement(NamedTuple):
    """How many places there are on a ray.

    Attributes:
        samples: drawn evenly.
        importance: added near the surface.
        steps: in how many searches.
    """

    samples: int
    importance: int
    steps: int


@torch.no_grad()
def place_samples(
    field: Field,
    origins_BR3: Tensor,
    directions_BR3: Tensor,
    near_BR: Tensor,
    far_BR: Tensor,
    placement: Placement,
    *,
    shaken: Shaken = "none",
    generator: Generators = None,
) -> Tensor:
    """Places on rays.

    Args:
        field: tells signed distances.
        origins_BR3: (B, R, 3) in sides of the cube.
        directions_BR3: (B, R, 3) of length 1.
        near_BR: (B, R) where a ray enters the box.
        far_BR: (B, R) where it leaves.
        placement: how many.
        shaken: see `even_edges`.
        generator: draws.

    Returns:
        (B, R, S + 1) ascending: where samples stand, and the end of the last one's interval.
    """

    def along(share: Tensor) -> Tensor:
        return far_BR[..., None] * share + near_BR[..., None] * (1 - share)

    share = even_edges((*near_BR.shape, placement.samples + 1), near_BR, shaken, generator)
    new, sdf = share[..., :-1], near_BR.new_zeros((*near_BR.shape, 0))
    order: Tensor | None = None
    for step in range(placement.steps if placement.importance else 0):
        found = field.sdf(points_on(origins_BR3, directions_BR3, along(new))[0]).view(new.shape)
        sdf = torch.cat([sdf, found], -1)
        sdf = sdf if order is None else sdf.gather(-1, order)
        weights = search_weights(sdf, along(share).diff(dim=-1), SEARCH_SHARPNESS * 2**step)
        count = placement.importance // placement.steps
        added = surface_edges(share, weights, count, shaken, generator)
        new = added[..., :-1]
        last = torch.maximum(share[..., -1:], added[..., -1:])
        starts, order = torch.cat([share[..., :-1], new], -1).sort(-1)
        share = torch.cat([starts, last], -1)
    return along(share)


def intersect(
    origins: Tensor, directions: Tensor, low: Tensor, high: Tensor, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays enter a box and leave it.

    Args:
        origins: (..., 3).
        directions: (..., 3).
        low: (3,) one corner of the box.
        high: (3,) the other one.
        near: nearest place that counts.

    Returns:
        Entry (...), exit (...), and whether they meet it at all (...) bool; where not, both are 0.
    """
    inverse = 1 / (directions + 1e-6)
    first, second = (low - origins) * inverse, (high - origins) * inverse
    enter = torch.minimum(first, second).amax(-1).clamp(min=near)
    leave = torch.maximum(first, second).amin(-1)
    hit = enter < leave
    nowhere = torch.zeros_like(enter)
    return torch.where(hit, enter, nowhere), torch.where(hit, leave, nowhere), hit


def opacity(sdf: Tensor, cosine: Tensor, delta: Tensor, k: Tensor | float) -> Tensor:
    """The share of light that an interval keeps.

    Args:
        sdf: (...) signed distance in the interval.
        cosine: (...) at most 0: by how much it changes along the ray.
        delta: (...) length of the interval.
        k: sharpness.

    Returns:
        (...), at least about 0. An interval through the surface, s = 0.1 to -0.1 at k = 20, gives 0.8647.
    """
    before = torch.sigmoid((sdf - cosine * delta / 2) * k)
    after = torch.sigmoid((sdf + cosine * delta / 2) * k)
    return (before - after + SMALL) / (before + SMALL)


def even_edges(shape: tuple[int, ...], like: Tensor, shaken: Shaken, generator: Generators) -> Tensor:
    """Edges of intervals of a ray, as shares of it.

    Args:
        shape: (..., S + 1).
        like: device and dtype.
        shaken: none; sample: each edge is drawn between the middles of the intervals beside it; ray: the
            same, at one share for all edges of a ray.
        generator: draws.

    Returns:
        `shape`, ascending, in 0..1.
    """
    edges = torch.linspace(0, 1, shape[-1], dtype=like.dtype, device=like.device).expand(shape)
    if shaken == "none":
        return edges
    middle = (edges[..., 1:] + edges[..., :-1]) / 2
    upper = torch.cat([middle, edges[..., -1:]], -1)
    lower = torch.cat([edges[..., :1], middle], -1)
    return lower + (upper - lower) * _drawn(shape, like, shaken, generator)


def search_weights(sdf: Tensor, delta: Tensor, k: float) -> Tensor:
    """How much of a ray's light each interval keeps, judged by distances alone.

    The slope in an interval is the lesser of its own and that of the one before, so that an end of a thin
    wall is no surface.

    Args:
        sdf: (B, R, S) at the beginnings of the intervals.
        delta: (B, R, S) their lengths.
        k: sharpness.

    Returns:
        (B, R, S); the last is 0, as nothing is known of its end.
    """
    before, after, delta = sdf[..., :-1], sdf[..., 1:], delta[..., :-1]
    slope = (after - before) / (delta + SMALL)
    earlier = torch.cat([torch.zeros_like(slope[..., :1]), slope[..., :-1]], -1)
    slope = torch.minimum(earlier, slope).clamp(-STEEPEST, 0)
    alpha = opacity((before + after) / 2, slope, delta, k)
    weights = ray_weights(alpha.flatten(0, 1)).view(alpha.shape)
    return torch.cat([weights, torch.zeros_like(weights[..., :1])], -1)


def surface_edges(
    share: Tensor, weights: Tensor, count: int, shaken: Shaken, generator: Generators
) -> Tensor:
    """Edges of new intervals, dense where the weights are: the inverse of their cumulative sum.

    Args:
        share: (..., S + 1) edges so far, ascending.
        weights: (..., S) of their intervals, at least 0.
        count: how many new intervals.
        shaken: as for `even_edges`.
        generator: draws.

    Returns:
        (..., count + 1), ascending.
    """
    total = weights.sum(-1, keepdim=True)
    missing = torch.relu(SMALL - total)  # a ray of nothing: drawn evenly
    chance = (weights + missing / weights.shape[-1]) / (total + missing)
    heights = torch.cat([torch.zeros_like(total), chance.cumsum(-1).clamp(max=1)], -1)
    bins = count + 1
    wanted = torch.linspace(0, 1 - 1 / bins, bins, dtype=share.dtype, device=share.device)
    wanted = wanted.expand(*share.shape[:-1], bins)
    if shaken == "none":
        wanted = wanted + 1 / (2 * bins)
    else:
        wanted = wanted + _drawn(wanted.shape, share, shaken, generator) / bins
    above = torch.searchsorted(heights, wanted.contiguous(), right=True)
    last = share.shape[-1] - 1
    below, above = (above - 1).clamp(0, last), above.clamp(0, last)
    low, high = heights.gather(-1, below), heights.gather(-1, above)
    rise = high - low
    rise = torch.where(rise < SMALL, torch.ones_like(rise), rise)
    part = ((wanted - low) / rise).clamp(0, 1)
    low, high = share.gather(-1, below), share.gather(-1, above)
    return low + part * (high - low)


def _drawn(shape: tuple[int, ...], like: Tensor, shaken: Shaken, generator: Generators) -> Tensor:
    """Draws of 0..1, (B, ...); those of a generator on the CPU are the same on each device."""
    shape = (*shape[:-1], 1) if shaken == "ray" else tuple(shape)
    if isinstance(generator, Sequence):
        return torch.stack([_drawn(shape[1:], like, "sample", each) for each in generator])
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def points_on(origins: Tensor, directions: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, R S, 3) at distances (B, R, S), and the directions that they are seen from."""
    points = origins[:, :, None] + directions[:, :, None] * t[..., None]
    return points.flatten(1, 2), directions[:, :, None].expand_as(points).flatten(1, 2)
