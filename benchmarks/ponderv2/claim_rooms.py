"""A real room from its own frames: held-out views, a mesh, and the two errors of coordinates on and off.

`python -m benchmarks.ponderv2.claim_rooms` takes 100 posed frames of a 7-Scenes room, one pixel for 4 x 4,
holds every fifth out, and fuses a cloud of the other 80. A small model is pre-trained on these: augmented
clouds go in, rays of their views have to come out, 80 steps. Then it sees the whole cloud as it is, and
draws the 20 held-out views in 32 x 24 pixels, whose points may have been seen by other frames, and a mesh. It
is compared with a fused mesh (TSDF, 2 cm) of all 100 frames, both within the frusta of their cameras up to
the 4 m that the fused mesh takes depth of. Five seeds draw weights, augmentations and rays of this one room:
intervals are over these, and say nothing of other rooms. The room is read and fused once for all seeds.

Arms: the model as it is (`at once`); the same with the released code's errors of coordinates; with random
weights, whose norms took their statistics from one pass over the augmented clouds. And fits of the volume and
its perceptrons to the 80 frames on a grid twice as fine, 60 steps: from the pre-trained model, from random
weights, and from random weights with as many steps more as cost no less than the pre-training did (a run in
which they cost less is refused). About half an hour of CPU.

The depth error is that of all pixels whose depth is known; where nothing is drawn it is all of the depth.

Said before it was run. The primary contrast is at once minus at once with the errors, depth error: correct
coordinates are expected to give lower ones. Secondary, with p-values adjusted by Holm's method: they give a
higher F as well, and random weights give neither views nor a mesh; fits are finer than what is seen at once;
a fit from pre-trained weights is ahead of one from random weights of equal length, and with the cost of
pre-training added the gap shrinks or vanishes. A null or negative outcome is published.
"""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.arms import arguments, key_of, run_arms
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table
from benchmarks.ponderv2.experiment import (
    CHANNELS,
    Contrast,
    Held,
    Passes,
    check_cost,
    contrast_rows,
    learn_to_render,
    new_model,
    numbers,
    settled,
    told,
)  # fmt: skip

from ponderv2.mesh_scoring import score_mesh
from ponderv2.meshes import Mesh
from ponderv2.model_config import PonderConfig, RendererConfig, size
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.reconstruct import reconstruct
from ponderv2.scene_fitting import FitPlan, fit_scene
from ponderv2.scene_inputs import SceneInput, scene_input
from ponderv2.scenes import View
from ponderv2.tsdf import fuse
from ponderv2.view_rendering import mean_score, render_view, score_view, shrunk

WORK = Path("runs/ponderv2/claim-rooms")
SEEDS = (0, 1, 2, 3, 4)
LONGEST = 4.0
"""metres of depth that the fused mesh is made of, and that meshes are compared in"""
ONCE, LEGACY, RANDOM = "at once", "at once, released coordinates", "at once, random weights"
FITTED, FIT_RANDOM = "fitted, pre-trained", "fitted, random weights"
FIT_LONGER = "fitted, random weights, the cost added"
MEASURES = {
    "whole_error": ("depth error cm", 1, 100.0, False), "psnr": ("PSNR dB", 1, 1.0, True),
    "f_score": ("F@5cm %", 1, 100.0, True), "accuracy": ("accuracy cm", 1, 100.0, False),
    "completeness": ("completeness cm", 1, 100.0, False), "seen": ("drawn %", 1, 100.0, True),
}  # fmt: skip
"""key -> what it is called, digits, factor, whether more is better"""
CONTRASTS = [(ONCE, LEGACY), (ONCE, RANDOM), (FITTED, ONCE), (FITTED, FIT_RANDOM), (FITTED, FIT_LONGER)]
"""each by the first three measures; the first by the first is primary"""


class Setting(NamedTuple):
    """The sizes of the experiment."""

    frames: int | None = None
    """the first ones; None: all"""
    every: int = 5
    """every so-many-th is held out"""
    frame_shrink: int = 4
    """pixels of a frame for one that is kept, along both sides"""
    voxel: float = 0.04
    """metres"""
    cells: tuple[int, int, int] = (32, 32, 32)
    steps: int = 80
    batch: int = 2
    views: int = 4
    """of the room for each cloud of a batch"""
    rays: int = 32
    """of a view"""
    lr: float = 3e-3
    kept: int = 25
    """augmentations of the room"""
    fit_steps: int = 60
    fit_rays: int = 256
    finer: int = 2
    dearer: float = 3.0
    """steps of a fit for one of pre-training, so that they cost no less"""
    shrink: int = 5
    """pixels of a kept frame for one that is drawn, along both sides"""
    spacing: float = 0.04
    """metres between grid points of a mesh"""
    observers: int = 4
    """every so-many-th frame says which grid points were observed"""
    samples: int = 50_000
    """points on a mesh"""
    reference_voxel: float = 0.02


TINY = Setting(
    frames=4, every=3, voxel=0.1, cells=(8, 8, 8), steps=2, batch=2, views=1, rays=8, kept=1, fit_steps=2,
    fit_rays=8, finer=1, dearer=1, frame_shrink=8, shrink=5, spacing=0.3, observers=1, samples=500,
    reference_voxel=0.1,
)  # fmt: skip


def main(
    tiny: bool = False, work: Path = WORK, processes: int = 2, seeds: Sequence[int] = SEEDS
) -> list[Row]:
    """A row an arm, and rows of differences; kept in benchmarks/results unless tiny. No rows without data."""
    if data_folder("rgbd-7scenes") is None:
        print("claim_rooms: skipped, the real data (NONET_DATA) is not here")
        return []
    setting, seeds, processes = (TINY, seeds[:1], 1) if tiny else (Setting(), seeds, processes)
    kept = work / ("tiny" if tiny else "arms")
    room = _kept_room(setting, kept)
    jobs = [(f"seed-{seed}", run_seed, (setting, seed, room, kept if tiny else work)) for seed in seeds]
    found = run_arms(jobs, kept, processes=processes)
    rows = [_row(name, found) for name in found[0]["scores"]]
    apart = contrast_rows([
        Contrast(
            f"{one} minus {other}: {title}",
            *([factor * value for value in numbers(found, "scores", name, key)] for name in (one, other)),
            higher=higher, digits=digits,
        )
        for one, other in CONTRASTS
        for key, (title, digits, factor, higher) in list(MEASURES.items())[:3]
    ])  # fmt: skip
    print(table(rows), table(apart), sep="\n\n")
    if not tiny:
        check_cost(found, FIT_LONGER, FITTED)
        data = "7-Scenes, 100 frames of one room: 80 go in, 20 are drawn"
        for name, part in (("rooms", rows), ("rooms-differences", apart)):
            save("ponderv2", part, table=name, versions=("torch", "numpy"), data=data, seed=list(seeds))
        print(f"pictures: {work}/seed-0-*.png")
    return [*rows, *apart]


def config_of(setting: Setting, *, legacy: bool = False) -> PonderConfig:
    """The smallest model, with finer cells and rays of 64 places."""
    tiny = size("tiny")
    volume = replace(tiny.volume, shape=setting.cells, legacy=legacy)
    if min(setting.cells) < 12:
        volume = replace(volume, widths=(8, 8))
    return replace(tiny, volume=volume, renderer=RendererConfig(samples=44, importance=20))


class Room(NamedTuple):
    """What all seeds share: the room as it goes in, its frames to learn from, the fused mesh of all."""

    given: SceneInput
    inputs: Held
    reference: Mesh


def run_seed(setting: Setting, seed: int, room: Path, work: Path) -> dict[str, Any]:
    """All arms of a seed: scores, CPU seconds of training, losses.

    Args:
        setting: sizes.
        seed: of everything random.
        room: file of the `Room`.
        work: seed 0 leaves pictures there.
    """
    shared = Room(*pickle.loads(room.read_bytes()))
    given, batches = shared.given, _batches(shared.inputs, setting, seed)
    scores, seconds, losses = {}, {}, {}
    models = {RANDOM: settled(new_model(config_of(setting), seed), batches)}
    for name in (ONCE, LEGACY):
        models[name] = new_model(config_of(setting, legacy=name == LEGACY), seed)
        learned = learn_to_render(models[name], batches, steps=setting.steps, lr=setting.lr, seed=seed)
        seconds[name], losses[name] = learned.seconds, learned.losses
    for name, model in models.items():
        with torch.no_grad():
            encoded = model.encode(given.batch)
        scores[name] = _scores(model, encoded, shared, setting, _picture(work, seed, name))
    longer = setting.fit_steps + round(setting.dearer * setting.steps)
    for name, start, steps in (
        (FITTED, ONCE, setting.fit_steps),
        (FIT_RANDOM, RANDOM, setting.fit_steps),
        (FIT_LONGER, RANDOM, longer),
    ):
        fitted, took = _fit(models[start], given, setting, steps, seed)
        seconds[name] = seconds.get(start, 0.0) + took
        losses[name] = [float(np.mean(part)) for part in np.array_split(fitted.losses, min(10, steps))]
        scores[name] = _scores(fitted.model, fitted.encoded, shared, setting, _picture(work, seed, name))
    return {"scores": scores, "seconds": seconds, "losses": losses, "statement": given.statement}


def _kept_room(setting: Setting, folder: Path) -> Path:
    """The file of the room that all seeds share; made where there is none of this setting and code."""
    from nonet.files import replacing

    path = folder / f"room-{key_of(read_room, (setting,))[:16]}.pickle"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(pickle.dumps(tuple(read_room(setting))))
    return path


def read_room(setting: Setting) -> Room:
    """Read and fuse the room."""
    from ponderv2.reading import open_scenes

    (scene,) = open_scenes([f"7scenes:{data_folder('rgbd-7scenes')}"])
    if setting.frames is not None:
        scene = scene.with_views(range(setting.frames))
    given = scene_input(scene, voxel=setting.voxel, channels=CHANNELS, every=setting.every)
    small = {
        side: tuple(shrunk(view, setting.frame_shrink) for view in getattr(given, side))
        for side in ("inputs", "held_out")
    }
    given = replace(given, **small)
    held = {view.name for view in given.held_out}
    numbers_in = [number for number, name in enumerate(scene.view_names) if name not in held]
    inputs = Held(scene.with_views(numbers_in), setting.frame_shrink)
    least = 2 if setting.frames is None else 1
    reference = fuse(_views(given), voxel=setting.reference_voxel, least=least, longest=LONGEST)
    return Room(given, inputs, reference)


def _batches(inputs: Held, setting: Setting, seed: int) -> Passes:
    """Augmented clouds of the room with rays of its frames."""
    from ponderv2.batches import SceneDataset
    from ponderv2.transforms import (
        CenterShift,
        GridSample,
        RandomDropout,
        RandomFlip,
        RandomRotate,
        RandomScale,
        Upright,
    )  # fmt: skip

    augmented = (
        Upright(), CenterShift(), RandomDropout(0.5), RandomRotate(-np.pi, np.pi), RandomScale(),
        RandomFlip(), GridSample(setting.voxel), CenterShift(floor=False),
    )  # fmt: skip
    data = SceneDataset([inputs], augmented, seed=seed, views=setting.views, rays=setting.rays, labels=False)
    return Passes(data, setting.batch, setting.kept)


def _views(given: SceneInput) -> list[View]:
    """All frames in the scene's own world."""
    return [view.moved(given.to_scene) for view in (*given.inputs, *given.held_out)]


def _fit(model: PonderModel, given: SceneInput, setting: Setting, steps: int, seed: int) -> tuple[Any, float]:
    """Volume and perceptrons, fitted to the input frames; and CPU seconds."""
    import time

    start = time.process_time()
    with torch.no_grad():
        encoded = model.encode(given.batch)
    plan = FitPlan(steps=steps, rays=setting.fit_rays, finer=setting.finer, seed=seed)
    return fit_scene(model, encoded, given.batch, given.inputs, plan), time.process_time() - start


def _scores(
    model: PonderModel, encoded: Encoded, room: Room, setting: Setting, picture: Path | None
) -> dict[str, float | None]:
    """Views and mesh of an encoded room; with `picture` a sheet of views is drawn there."""
    given = room.given
    pairs = []
    for view in given.held_out:
        small = shrunk(view, setting.shrink)
        pairs.append((small, render_view(model, encoded, small)))
    if picture is not None:
        from ponderv2.view_sheet import view_sheet

        picture.parent.mkdir(parents=True, exist_ok=True)
        view_sheet(pairs[:: max(1, len(pairs) // 4)]).save(picture)
    views = mean_score([score_view(drawn, view) for view, drawn in pairs])
    extent = float(1 / encoded.cube.scale[0])
    mesh = reconstruct(
        model, encoded, given.batch.box[0].numpy(), given.inputs[:: setting.observers],
        given.sample.cloud.coord, spacing=setting.spacing, reach=model.config.losses.truncation * extent,
        color=False,
    ).moved(given.to_scene)  # fmt: skip
    return views.plain() | score_mesh(
        mesh, room.reference, _views(given), samples=setting.samples, longest=LONGEST
    )


def _picture(work: Path, seed: int, name: str) -> Path | None:
    return work / f"seed-0-{name.replace(',', '').replace(' ', '-')}.png" if seed == 0 else None


def _row(name: str, found: Sequence[dict[str, Any]]) -> Row:
    row: Row = {"name": name}
    for key, (title, digits, factor, _) in MEASURES.items():
        row[title] = told([factor * value for value in numbers(found, "scores", name, key)], digits)
    if name in found[0]["seconds"]:
        row["CPU s"] = f"{np.mean(numbers(found, 'seconds', name)):.0f}"
    return row


if __name__ == "__main__":
    parser = arguments(__doc__, str(WORK))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many (default: %(default)s)")
    parsed = parser.parse_args()
    if parsed.seeds < 1:
        parser.error("no seeds")
    main(work=parsed.work, processes=parsed.processes, seeds=tuple(range(parsed.seeds)))
