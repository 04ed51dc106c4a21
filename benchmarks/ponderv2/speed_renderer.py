"""Rendering of rays with losses and gradients, against the original's way on the same field.

Once forward alone, as pictures are drawn, and once with colour, depth and eikonal losses and their gradients
of volume and perceptrons, which takes second derivatives of the reading of the volume. Places on rays are not
shaken, so that both sides look at the same ones; both give the same to rounding.
"""

from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, save, table, versus
from benchmarks.ponderv2.plain_renderer import plain_render
from torch import Tensor

from ponderv2.field import NeuralField
from ponderv2.model_config import SIZES, PonderConfig, Size
from ponderv2.renderer import Renderer
from ponderv2.unit_cube import UnitCube

SEED = 0
SETTINGS: dict[str, tuple[Size, tuple[int, int, int], int, int]] = {
    "tiny: 2 scenes x 256 rays, 32 x 32 x 32 cells": ("tiny", (32, 32, 32), 2, 256),
    "paper: 1 scene x 64 rays, 64 x 64 x 32 cells": ("paper", (64, 64, 32), 1, 64),
}
"""size, cells of the volume, scenes, rays of each"""


class Field:
    """What both sides are given."""

    def __init__(self, config: PonderConfig, shape: tuple[int, int, int], scenes: int, rays: int) -> None:
        torch.manual_seed(SEED)
        self.config = config.renderer
        self.net = NeuralField(config.field, config.volume.out)
        self.volume = (0.3 * torch.randn(scenes, config.volume.out, *shape[::-1])).requires_grad_()
        corner = torch.tensor([[-1.0, -1, 0], [1, 1, 1.5]]).expand(scenes, 2, 3)
        self.cube = UnitCube.of_boxes(corner, padding=config.volume.padding)
        self.renderer = Renderer(
            samples=self.config.samples, importance=self.config.importance, steps=1, near=self.config.near
        ).eval()
        inside = torch.rand(scenes, rays, 3) * 0.4 - 0.2
        self.origins = inside
        self.directions = torch.nn.functional.normalize(torch.randn(scenes, rays, 3), dim=-1)


def main(*, tiny: bool = False) -> list[Row]:
    """Two rows a setting."""
    torch.set_num_threads(1)
    settings = {"smallest": ("tiny", (12, 12, 12), 2, 8)} if tiny else SETTINGS
    rows = []
    for name, (size, shape, scenes, rays) in settings.items():
        field = Field(SIZES[size], shape, scenes, rays)  # type: ignore[index]
        timed: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {"rounds": 7}
        timed |= {"unit": "rays", "per_call": scenes * rays}
        for what, function, peer in (
            ("forward", our_pictures, peers_pictures),
            ("with losses and gradients", our_step, peers_step),
        ):
            rows.append(
                versus(f"{name}, {what}", partial(function, field), partial(peer, field), same, **timed)
            )
    print(table(rows))
    if not tiny:
        save("ponderv2", rows, table="renderer", versions=("torch",), data="random volumes", seed=SEED)
    return rows


@torch.no_grad()
def our_pictures(field: Field) -> tuple[Tensor, ...]:
    """Colour, depth and normals."""
    cube = field.cube
    seen = field.renderer(
        field.net.at(field.volume, cube), field.origins, field.directions, cube.low, cube.high
    )
    return seen.color, seen.depth, seen.normal


def peers_pictures(field: Field) -> tuple[Tensor, ...]:
    """The same; slopes need a graph there, which is dropped."""
    seen = _plain(field)
    return tuple(
        torch.stack([getattr(s, name) for s in seen]).detach() for name in ("color", "depth", "normal")
    )


def our_step(field: Field) -> tuple[Tensor, ...]:
    """A loss and its gradients."""
    cube = field.cube
    seen = field.renderer(
        field.net.at(field.volume, cube), field.origins, field.directions, cube.low, cube.high
    )
    return _step(field, seen.color, seen.depth, seen.gradient)


def peers_step(field: Field) -> tuple[Tensor, ...]:
    """The same."""
    seen = _plain(field)
    return _step(
        field, *(torch.stack([getattr(s, name) for s in seen]) for name in ("color", "depth", "gradient"))
    )


def _plain(field: Field) -> list[Any]:
    config = field.config
    return plain_render(
        field.net, field.volume, field.cube, field.origins, field.directions, field.renderer.sharpness,
        samples=config.samples, importance=config.importance, near=config.near,
    )  # fmt: skip


def _step(field: Field, color: Tensor, depth: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    length = (gradient.square().sum(-1) + 1e-12).sqrt()
    loss = (color - 0.5).abs().mean() + (depth - 0.3).abs().mean() + ((length - 1) ** 2).mean()
    weights = [field.volume, *(w for w in field.net.parameters())]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return loss.detach(), *(each for each in found if each is not None)


def same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool | str:
    """To rounding, in relation to the largest number."""
    for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        apart = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        if apart > 2e-3:
            return f"result {place} differs by {apart:.3g} of its largest number"
    return True


if __name__ == "__main__":
    main()
