"""The released code's renderer, written anew from its description (NeuS, Wang et al. 2021), scene by scene.

What differs from ours is how, not what: the field is asked in separate passes for distances, for features and
for slopes; weights come from `cumprod` over a concatenation with ones, their products with colour, depth and
normals one after the other; places on rays are made of starts and ends that are merged and sorted. The
perceptrons are ours on both sides, with the same weights, and PyTorch's `grid_sample` reads the volume.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ponderv2.field import NeuralField
from ponderv2.unit_cube import UnitCube

# Shapes: R rays, S samples, C channels.


class Seen(NamedTuple):
    """What rays of one scene see: color (R, 3), depth (R,), normal (R, 3), sdf (R, S), gradient (R, S, 3)."""

    color: Tensor
    depth: Tensor
    normal: Tensor
    sdf: Tensor
    gradient: Tensor


def plain_render(
    net: NeuralField, volumes: Tensor, cube: UnitCube, origins: Tensor, directions: Tensor, v: Tensor,
    *, samples: int, importance: int, near: float,
) -> list[Seen]:  # fmt: skip
    """Render the rays (B, R, 3) of each scene, places not shaken."""
    return [
        _scene(net, volumes[b : b + 1], cube, origins[b], directions[b], v, samples, importance, near)
        for b in range(len(volumes))
    ]


def _scene(
    net: NeuralField, volume: Tensor, cube: UnitCube, origins: Tensor, directions: Tensor, v: Tensor,
    samples: int, importance: int, near: float,
) -> Seen:  # fmt: skip
    starts, ends = _uniform(cube, origins, directions, samples, near)
    with torch.no_grad():
        sdf = _sdf(net, volume, cube, origins[:, None] + directions[:, None] * starts[..., None])[0]
        weights = _search_weights(sdf, ends - starts)
        nears, fars = starts[:, :1], ends[:, -1:]
        new = _inverse_cdf(
            (starts - nears) / (fars - nears), (ends - nears) / (fars - nears), weights, importance
        )
        new_starts, new_ends = (nears + (fars - nears) * part for part in new)
        merged, _ = torch.cat([starts, new_starts], -1).sort(-1)
        last = torch.maximum(ends[:, -1:], new_ends[:, -1:])
        starts, ends = merged, torch.cat([merged[:, 1:], last], -1)
    deltas = ends - starts
    points = (origins[:, None] + directions[:, None] * starts[..., None]).requires_grad_()
    sdf, geometry = _sdf(net, volume, cube, points)
    (gradient,) = torch.autograd.grad(sdf, points, torch.ones_like(sdf), create_graph=True)
    points = points.detach()
    features = _features(net, volume, cube, points)
    ways = directions[:, None].expand_as(points)
    colors = net.color(points, torch.cat([gradient, features, geometry, ways], -1)).sigmoid()
    alpha = _alpha(sdf, gradient, ways, deltas, v)
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-7], 1), 1)[:, :-1]
    weight = (alpha * passed)[..., None]
    color = (weight * colors).sum(1)
    total = weight.sum(1)
    depth = (weight * starts[..., None]).sum(1) / (total + 1e-10)
    normal = (weight * F.normalize(gradient, dim=-1, eps=1e-6)).sum(1)
    return Seen(color, depth[:, 0], normal, sdf, gradient)


def _uniform(
    cube: UnitCube, origins: Tensor, directions: Tensor, samples: int, near: float
) -> tuple[Tensor, Tensor]:
    inverse = 1 / (directions + 1e-6)
    sides = [((low - origins[:, axis]) * inverse[:, axis], (high - origins[:, axis]) * inverse[:, axis])
             for axis, (low, high) in enumerate(zip(cube.low, cube.high, strict=True))]  # fmt: skip
    nears = torch.stack([torch.minimum(*pair) for pair in sides], 0).max(0).values.clamp(min=near)
    fars = torch.stack([torch.maximum(*pair) for pair in sides], 0).min(0).values
    bins = torch.linspace(0, 1, samples + 1)[None]
    edges = nears[:, None] + (fars - nears)[:, None] * bins
    return edges[:, :-1], edges[:, 1:]


def _search_weights(sdf: Tensor, deltas: Tensor, inverse_std: float = 64.0) -> Tensor:
    before, after, delta = sdf[:, :-1], sdf[:, 1:], deltas[:, :-1]
    middle = (before + after) * 0.5
    cosine = (after - before) / (delta + 1e-5)
    previous = torch.cat([torch.zeros_like(cosine[:, :1]), cosine[:, :-1]], -1)
    cosine = torch.min(torch.stack([previous, cosine], -1), -1).values.clip(-1e3, 0)
    first = torch.sigmoid((middle - cosine * delta * 0.5) * inverse_std)
    second = torch.sigmoid((middle + cosine * delta * 0.5) * inverse_std)
    alpha = (first - second + 1e-5) / (first + 1e-5)
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-7], 1), 1)[:, :-1]
    return torch.cat([alpha * passed, torch.zeros_like(alpha[:, :1])], -1)


def _inverse_cdf(starts: Tensor, ends: Tensor, weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    total = weights.sum(-1, keepdim=True)
    padding = torch.relu(1e-5 - total)
    pdf = (weights + padding / weights.shape[-1]) / (total + padding)
    cdf = torch.minimum(torch.ones_like(pdf), pdf.cumsum(-1))
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], -1)
    bins = count + 1
    u = torch.linspace(0, 1 - 1 / bins, bins).expand(len(cdf), bins) + 1 / (2 * bins)
    existing = torch.cat([starts, ends[:, -1:]], -1)
    indices = torch.searchsorted(cdf, u.contiguous(), side="right")
    below, above = (indices - 1).clamp(0, existing.shape[-1] - 1), indices.clamp(0, existing.shape[-1] - 1)
    low, high = cdf.gather(-1, below), cdf.gather(-1, above)
    width = high - low
    width = torch.where(width < 1e-5, torch.ones_like(width), width)
    share = ((u - low) / width).clip(0, 1)
    left, right = existing.gather(-1, below), existing.gather(-1, above)
    edges = left + share * (right - left)
    return edges[:, :-1], edges[:, 1:]


def _alpha(sdf: Tensor, gradient: Tensor, ways: Tensor, deltas: Tensor, v: Tensor) -> Tensor:
    k = torch.exp(v * 10).clip(1e-6, 1e6)
    cosine = -F.relu(-(ways * gradient).sum(-1))
    first = torch.sigmoid((sdf - cosine * deltas * 0.5) * k)
    second = torch.sigmoid((sdf + cosine * deltas * 0.5) * k)
    return ((first - second + 1e-5) / (first + 1e-5)).clip(0, 1)


def _sdf(net: NeuralField, volume: Tensor, cube: UnitCube, points: Tensor) -> tuple[Tensor, Tensor]:
    found = net.sdf(points, _sampled(volume[:, : net.channels // 2], cube, points))
    return found[..., 0], found[..., 1:]


def _features(net: NeuralField, volume: Tensor, cube: UnitCube, points: Tensor) -> Tensor:
    return _sampled(volume[:, net.channels // 2 :], cube, points)


def _sampled(volume: Tensor, cube: UnitCube, points: Tensor) -> Tensor:
    where = (points - cube.low) / (cube.high - cube.low) * 2 - 1
    found = F.grid_sample(volume, where[None, :, :, None], align_corners=True, padding_mode="zeros")
    return found[0, ..., 0].permute(1, 2, 0)
