"""How long the parts of a model take, each alone. Source: ours."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ponderv2.batches import Batch, Collate, Item, RayBatch
from ponderv2.feature_volume import pool
from ponderv2.model_folders import load_model, read_model
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.reading import open_scenes
from ponderv2.samples import sample_of, through
from ponderv2.scenes import Scene
from ponderv2.synthetic import make_room
from ponderv2.transforms import VOXEL, plain_transforms

CHANNELS = ("color", "normal")
"""what a model takes if its folder does not say"""


class Timing(NamedTuple):
    """What one part takes.

    Attributes:
        part: what.
        threads: of the CPU.
        seconds: a call, the median of the rounds; on a GPU until it is done.
        least: seconds of the fastest round.
        most: seconds of the slowest.
        amount: what a call works through.
        unit: of `amount`.
        memory_mib: the most CUDA memory on top of what was held before; None on a CPU.
    """

    part: str
    threads: int
    seconds: float
    least: float
    most: float
    amount: int
    unit: str
    memory_mib: float | None


def model_timings(
    name: str, device: str, *, data: str | None, points: int, rays: Sequence[int], grid: int, rounds: int
) -> Iterator[Timing]:
    """Time a model's parts on one scene, one after the other.

    Args:
        name: the model's folder.
        device: where.
        data: a scene, KIND:PATH[:SPLIT]; None: a made-up room.
        points: of the made-up room.
        rays: numbers of rays at a time.
        grid: points at a time where distances are looked up.
        rounds: how often each part is timed.

    Yields:
        The parts: backbone, backbone with gradients, volume, rays and rays with gradients for each number,
        distances.
    """
    facts = read_model(name).facts
    model = load_model(name).to(device)
    scene = make_room(0, views=1, points=points) if data is None else open_scenes([data])[0]
    batch = _batch(scene, float(facts.get("voxel", VOXEL)), tuple(facts.get("channels", CHANNELS)), device)
    if data is None and model.config.backbone.datasets:
        batch = replace(batch, dataset=model.config.backbone.datasets[0])
    for part, count, unit, call in _parts(model, batch, rays, grid):
        yield _timed(part, count, unit, call, rounds, device)


def _batch(scene: Scene, voxel: float, channels: Sequence[str], device: str) -> Batch:
    sample = through(sample_of(scene), plain_transforms(voxel), np.random.default_rng(0))
    return Collate(channels)([Item(sample, None, 0)]).to(device)


def _parts(
    model: PonderModel, batch: Batch, rays: Sequence[int], grid: int
) -> Iterator[tuple[str, int, str, Callable[[], Any]]]:
    voxels = len(batch.cells)

    def backbone() -> Tensor:
        return model.backbone(batch.features, batch.cells, batch.dataset)

    def trained_backbone() -> None:
        model.zero_grad(set_to_none=True)
        backbone().square().mean().backward()

    yield "backbone", voxels, "voxels", _without_gradient(model, backbone)
    yield "backbone, with gradients", voxels, "voxels", _training(model, trained_backbone)
    model.eval()
    with torch.no_grad():
        encoded = model.encode(batch)
    config, scenes = model.config.volume, batch.cells[:, 0]

    def volume() -> Tensor:
        pooled = pool(
            encoded.features, batch.coord, scenes, encoded.cube, config.shape, occupancy=config.occupancy
        )
        return model.dense(pooled)

    cells = int(np.prod(config.shape))
    yield "volume", cells, "cells", _without_gradient(model, volume)
    for count in rays:
        seen = _seen(batch, encoded, count)

        def rendered(seen: Batch = seen) -> Any:
            assert seen.rays is not None
            return model.render(encoded, seen.rays)

        def learned(seen: Batch = seen) -> None:
            model.zero_grad(set_to_none=True)
            leaf = encoded._replace(volume=encoded.volume.detach().requires_grad_())
            assert seen.rays is not None
            terms = model.losses(model.render(leaf, seen.rays), seen)
            torch.stack(list(terms.values())).sum().backward()

        yield f"{count} rays", count, "rays", _without_gradient(model, rendered)
        yield f"{count} rays, with losses and gradients", count, "rays", _training(model, learned)
    box = batch.box[0]
    places = box[0] + torch.rand(1, grid, 3, device=box.device) * (box[1] - box[0])
    field = model.field.at(encoded.volume, encoded.cube)
    yield (
        "distances",
        grid,
        "points",
        _without_gradient(model, lambda: field.sdf(encoded.cube.to_cube(places), "field")),
    )


def _seen(batch: Batch, encoded: Encoded, count: int) -> Batch:
    """The batch with `count` rays from the middle of its box, in directions drawn evenly; made-up targets."""
    random = torch.Generator().manual_seed(count)
    ways = torch.nn.functional.normalize(torch.randn(1, count, 3, generator=random), dim=-1)
    device = batch.coord.device
    middle = batch.box[0].mean(0).expand(1, count, 3).contiguous()
    depth = 0.3 / encoded.cube.scale[0] * torch.ones(1, count, device=device)
    rays = RayBatch(
        middle, ways.to(device), depth, torch.full((1, count, 3), 0.5, device=device),
        torch.full((1, count), -1, device=device),
    )  # fmt: skip
    return replace(batch, rays=rays, valid=torch.ones(1, count, dtype=torch.bool, device=device))


def _without_gradient(model: PonderModel, call: Callable[[], Any]) -> Callable[[], Any]:
    def timed() -> Any:
        model.eval()
        with torch.no_grad():
            return call()

    return timed


def _training(model: PonderModel, call: Callable[[], Any]) -> Callable[[], Any]:
    def timed() -> Any:
        model.train()
        return call()

    return timed


def _timed(part: str, count: int, unit: str, call: Callable[[], Any], rounds: int, device: str) -> Timing:
    cuda = device.startswith("cuda")

    def waited() -> None:
        if cuda:
            torch.cuda.synchronize(device)

    call()  # what is built or compiled once is no part of it
    waited()
    held = 0
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        waited()
        seconds.append(time.perf_counter() - start)
    memory = (torch.cuda.max_memory_allocated(device) - held) / 2**20 if cuda else None
    return Timing(
        part,
        torch.get_num_threads(),
        statistics.median(seconds),
        min(seconds),
        max(seconds),
        count,
        unit,
        memory,
    )
