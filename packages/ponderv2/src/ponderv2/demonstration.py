"""Parts of `ponderv2 demo`: made-up rooms, pre-training by rendering, drawing rooms that are new (ours).

A small model is pre-trained on the views of made-up rooms without labels, and then asked what a camera sees
in rooms that it was never shown, from their clouds alone, and for their meshes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from nonet.training.schedules import scheduler
from ponderv2.batches import Batch, Collate, Item, SceneDataset
from ponderv2.mesh_scoring import score_mesh
from ponderv2.meshes import Mesh
from ponderv2.model_config import size
from ponderv2.ponder import PonderModel, build_ponder
from ponderv2.reconstruct import reconstruct
from ponderv2.samples import Transform, sample_of, through
from ponderv2.scene_inputs import SceneInput, scene_input
from ponderv2.scenes import Scene, View
from ponderv2.synthetic import SIZE, MadeUpScene, make_room
from ponderv2.transforms import (
    CenterShift,
    GridSample,
    RandomDropout,
    RandomFlip,
    RandomRotate,
    RandomScale,
    plain_transforms,
)  # fmt: skip
from ponderv2.tsdf import fuse
from ponderv2.view_rendering import (
    Picture,
    ViewScore,
    blank_view,
    mean_score,
    render_view,
    score_view,
    shrunk,
)  # fmt: skip
from ponderv2.visibility import nearest_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS = ("color", "normal")
CELLS = (24, 24, 24)
"""of the volume: 0.2 m in these rooms"""


class Plan(NamedTuple):
    """How large and long everything is."""

    rooms: int = 40
    """rooms that are pre-trained on, without labels"""
    test: int = 4
    """rooms that are drawn and compared"""
    points: int = 6000
    """of a room's cloud"""
    keep: float = 0.7
    """share of a cloud's points that is kept in pre-training"""
    voxel: float = 0.1
    """metres"""
    views: int = 2
    """of a room in a step of pre-training"""
    rays: int = 96
    """of a view"""
    batch: int = 2
    """rooms in a step"""
    steps: int = 120
    """of pre-training"""
    lr: float = 8e-3
    shrink: int = 2
    """pixels of a camera for one that is drawn, along both sides"""
    spacing: float = 0.06
    """metres between grid points of the mesh"""


DEMO = Plan()


def made_up_rooms(plan: Plan, seed: int) -> dict[str, list[MadeUpScene]]:
    """Rooms to `pretrain` on, and rooms to `test`; no two alike."""
    rooms = [
        make_room(10_000 * seed + number, size=SIZE, points=plan.points)
        for number in range(plan.rooms + plan.test)
    ]
    return {"pretrain": rooms[: plan.rooms], "test": rooms[plan.rooms :]}


def new_model(seed: int) -> PonderModel:
    """A model of the smallest size; its first weights depend on the seed alone."""
    config = size("tiny")
    config = replace(config, volume=replace(config.volume, shape=CELLS))
    torch.manual_seed(seed)
    return build_ponder(config)


def pretrain(
    model: PonderModel, rooms: Sequence[Scene], plan: Plan, seed: int, done: Callable[[], object]
) -> list[float]:
    """Learn to render, without labels; the sum of the losses by step."""
    data = SceneDataset(
        rooms, _augmented(plan, plan.keep), seed=seed, views=plan.views, rays=plan.rays, labels=False
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=1e-4)
    schedule = scheduler(optimizer, "cosine", warmup=plan.steps // 10, steps=plan.steps)
    shake = torch.Generator().manual_seed(seed)
    collate, losses = Collate(CHANNELS), []
    model.train()
    for step in range(plan.steps):
        batch = _step(data, collate, step, plan.batch)
        terms = model.losses(model(batch, shake), batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        done()
    model.eval()
    return losses


class Drawn(NamedTuple):
    """What a model makes of rooms that it was never shown.

    Attributes:
        pairs: a view of each, with what was rendered of it.
        score: the mean over them.
    """

    pairs: list[tuple[View, Picture]]
    score: ViewScore


def draw(model: PonderModel, rooms: Sequence[Scene], plan: Plan) -> Drawn:
    """Draw one view of each room, from the room's cloud alone."""
    pairs = []
    for room in rooms:
        given = _given(room, plan)
        with torch.no_grad():
            encoded = model.encode(given.batch)
        view = shrunk(given.inputs[0], plan.shrink)  # no view goes into a model, only the cloud
        pairs.append((view, render_view(model, encoded, view)))
    return Drawn(pairs, mean_score([score_view(picture, view) for view, picture in pairs]))


def mesh_of(model: PonderModel, room: Scene, plan: Plan) -> tuple[Mesh, dict[str, float]]:
    """The mesh of a room, and how near it comes to one fused of its depth images."""
    given = _given(room, plan)
    with torch.no_grad():
        encoded = model.encode(given.batch)
    mesh = reconstruct(
        model, encoded, given.batch.box[0].numpy(), given.inputs, given.sample.cloud.coord,
        spacing=plan.spacing, reach=0.15,
    ).moved(given.to_scene)  # fmt: skip
    views = [view.moved(given.to_scene) for view in given.inputs]
    reference = fuse(views, voxel=0.04)
    if not len(mesh.faces):
        return mesh, {"f_score": 0.0}
    return mesh, score_mesh(mesh, reference, views, distance=0.1, samples=20_000)


def plain_batch(room: Scene, plan: Plan) -> Batch:
    """A room's voxels as they are."""
    sample = through(sample_of(room), plain_transforms(plan.voxel), np.random.default_rng(0))
    return Collate(CHANNELS)([Item(sample, None, 0)])


def mesh_picture(mesh: Mesh, room: Scene, times: int = 6) -> "Image":
    """A view of the room, and its mesh as the same camera sees it, `times` as large.

    The mesh is drawn as dots all over its triangles, far ones first, and none of those that face away; a
    triangle is the darker the less it faces the camera, as if a lamp stood there.
    """
    from PIL import Image

    view = room.view(0)
    height, width = (side * times for side in view.depth.shape)
    zoom = np.diag([times, times, 1.0])
    zoom[:2, 2] = (times - 1) / 2
    camera = blank_view("mesh", zoom @ view.intrinsics, view.camera_to_world, (height, width))
    drawn = np.full((height, width, 3), 255, np.uint8)
    if mesh.colors is not None and len(mesh.faces):
        steps = np.arange(28) / 27.0  # as many dots as pixels along a near side
        shares = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
        to_eye = view.camera_to_world[:3, 3] - mesh.vertices[mesh.faces[:, 0]]
        normals = mesh.face_normals()
        lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(to_eye, axis=1)
        facing = (normals * to_eye).sum(1) / lengths.clip(1e-12)
        faces, light = mesh.faces[facing > 0], 0.3 + 0.7 * facing[facing > 0]
        points = np.einsum("kc,fcd->fkd", shares, mesh.vertices[faces]).reshape(-1, 3)
        lit = mesh.colors[faces] * light[:, None, None]
        colors = np.einsum("kc,fcd->fkd", shares, lit).reshape(-1, 3)
        u, v, ahead, inside = nearest_pixels(points, camera)
        order = np.argsort(-ahead)
        order = order[inside[order]]
        drawn[v[order], u[order]] = colors[order].round()
    sheet = Image.new("RGB", (2 * width + times, height), "white")
    sheet.paste(Image.fromarray(view.color).resize((width, height), Image.Resampling.NEAREST), (0, 0))
    sheet.paste(Image.fromarray(drawn), (width + times, 0))
    return sheet


def _given(room: Scene, plan: Plan) -> SceneInput:
    return scene_input(room, voxel=plan.voxel, channels=CHANNELS)


def _augmented(plan: Plan, keep: float) -> tuple[Transform, ...]:
    return (
        CenterShift(),
        RandomDropout(1 - keep),
        RandomRotate(-np.pi, np.pi),
        RandomScale(),
        RandomFlip(),
        GridSample(plan.voxel),
        CenterShift(floor=False),
    )


def _step(data: SceneDataset, collate: Collate, step: int, count: int) -> Batch:
    """Batch `step` of endless passes over the rooms, each in an order of its own."""
    items = []
    for place in range(step * count, (step + 1) * count):
        epoch, number = divmod(place, len(data))
        order = np.random.default_rng([data.seed, epoch]).permutation(len(data))
        items.append(data[(epoch, int(order[number]))])
    return collate(items)
