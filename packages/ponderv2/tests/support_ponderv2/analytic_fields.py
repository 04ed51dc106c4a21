"""Fields that are known in closed form, and a small model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ponderv2.field import FieldValues
from ponderv2.model_config import (
    FieldConfig,
    LossConfig,
    PonderConfig,
    RendererConfig,
    SpUNetConfig,
    VolumeConfig,
)
from ponderv2.ponder import PonderModel, build_ponder


@dataclass
class Analytic:
    """A signed distance and a colour as functions of points (..., 3)."""

    distance: Callable[[Tensor], Tensor]
    paint: Callable[[Tensor], Tensor] = lambda points: torch.full_like(points, 0.5)

    def sdf(self, points):
        return self.distance(points)

    def values(self, points, directions):
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            sdf = self.distance(points)
            (gradient,) = torch.autograd.grad(sdf.sum(), points)
        return FieldValues(sdf.detach(), gradient, self.paint(points.detach()), None)


def plane(height=0.0):
    """Solid below z = height."""
    return Analytic(lambda points: points[..., 2] - height)


def sphere(radius=0.3):
    """A solid ball at the origin."""
    return Analytic(lambda points: (points.square().sum(-1) + 1e-12).sqrt() - radius)


SMALL = PonderConfig(
    backbone=SpUNetConfig(
        in_channels=3, stem=8, channels=(8, 12, 12, 8), blocks=(1, 2, 1, 1), context=5, momentum=0.1
    ),
    volume=VolumeConfig(shape=(16, 16, 8), widths=(6, 8), out=12),
    field=FieldConfig(hidden=16, geometry=8),
    renderer=RendererConfig(samples=12, importance=6),
    losses=LossConfig(),
)


def small_config(**parts):
    """A few thousand weights; `parts` are changes of the config's parts, such as volume={"legacy": True}."""
    return replace(SMALL, **{name: replace(getattr(SMALL, name), **change) for name, change in parts.items()})


def small_model(seed=0, **parts) -> PonderModel:
    torch.manual_seed(seed)
    return build_ponder(small_config(**parts))


class TinyRays(NamedTuple):
    origin: Tensor
    direction: Tensor
    depth: Tensor
    color: Tensor
    label: Tensor


@dataclass(frozen=True)
class TinyBatch:
    """What a model asks of a batch."""

    cells: Tensor
    coord: Tensor
    features: Tensor
    box: Tensor
    rays: TinyRays | None
    valid: Tensor | None
    dataset: str = "scannet"
    names: tuple[str, ...] = ("first", "second")


def room_batch(scenes=2, points=300, rays=24, seed=0) -> TinyBatch:
    """Points on the floor and one wall of rooms of 4 m, and rays to the floor with their true depth. Each has
    an origin of its own: what a single camera sees could be painted right before its lens."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=draw)

    cells, coords, boxes = [], [], []
    for scene in range(scenes):
        floor = torch.cat([random(points, 2) * 4, torch.zeros(points, 1)], 1)
        wall = torch.cat([torch.zeros(points // 2, 1), random(points // 2, 2) * 4], 1)
        cloud = torch.cat([floor, wall])
        cell = torch.unique((cloud / 0.25).long(), dim=0)
        cloud = (cell + 0.5) * 0.25
        cells.append(torch.cat([torch.full((len(cell), 1), scene), cell], 1))
        coords.append(cloud)
        boxes.append(torch.stack([cloud.amin(0), cloud.amax(0)]))
    coord = torch.cat(coords)
    origin = random(scenes, rays, 3) * torch.tensor([3.0, 3, 1]) + torch.tensor([0.5, 0.5, 0.8])
    target = torch.cat([random(scenes, rays, 2) * 4, torch.zeros(scenes, rays, 1)], -1)
    way = target - origin
    depth = way.norm(dim=-1)
    color = torch.stack([target[..., 0] / 4, target[..., 1] / 4, torch.full_like(depth, 0.5)], -1)
    label = torch.randint(-1, 3, (scenes, rays), generator=draw)
    return TinyBatch(
        cells=torch.cat(cells),
        coord=coord,
        features=torch.cat([coord / 4, coord.sin()], 1)[:, :3],
        box=torch.stack(boxes),
        rays=TinyRays(origin, way / depth[..., None], depth, color, label),
        valid=torch.ones(scenes, rays, dtype=torch.bool),
        names=tuple(f"room {scene}" for scene in range(scenes)),
    )
