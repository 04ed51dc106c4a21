"""Writes scenes into a packed folder, one array file for every few views (ours); see `packed_scenes`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.files import write_json
from ponderv2.normals import as_read
from ponderv2.packed_scenes import CLOUD, HELD, SCENE
from ponderv2.scenes import BadFrame, PointCloud, Scene, View
from ponderv2.view_rendering import shrunk
from ponderv2.view_split import training_part

EACH = 64
"""views in a file"""
SCALES = (1000.0, 4000.0, 5000.0, 10_000.0)
"""units a metre that are tried for depth of 16 bits"""
SPACING = 0.01
"""metres of a cell that becomes one point when a cloud is fused anew, of a scene that does not say"""


class PackedCounts(NamedTuple):
    """What a scene gave.

    Attributes:
        views: packed ones.
        points: of its cloud.
        depth: median over its views, metres; NaN without views.
        channels: what its points have.
        labels: class number -> points; empty without labels.
        pixels: class number -> labelled pixels of its views.
    """

    views: int
    points: int
    depth: float
    channels: tuple[str, ...]
    labels: dict[int, int]
    pixels: dict[int, int]


def pack_scene(
    scene: Scene, folder: Path | None, *, side: int, view_step: int, hold_out: int
) -> PackedCounts:
    """Read a scene with all its views, and pack it.

    Args:
        scene: any.
        folder: new; None: the scene is read and counted, and nothing is written.
        side: pixels of an image's longer side at most; 0: as it is. Images are shrunk by whole numbers.
        view_step: every so-many-th view is packed.
        hold_out: every so-many-th packed view will be held out in pre-training: where the cloud is fused from
            views, one without those is packed, too.

    Raises:
        UserError: the cloud cannot be read or has no points, or none of the views can be used.
    """
    entries: list[dict[str, Any]] = []
    kept: list[int] = []
    medians: list[float] = []
    pixels: dict[int, int] = {}
    arrays: dict[str, NDArray[Any]] = {}
    numbers = range(0, len(scene.view_names), view_step)
    for number, view in usable(scene, numbers):
        small = shrunk(view, -(-max(view.depth.shape) // side)) if side else view
        if not (small.depth > 0).any():  # a shrunk image has the depth of some pixels only
            height, width = small.depth.shape
            where = f"scene {scene.name}, view {view.name}"
            scene.leave_out(BadFrame("no depth when shrunk", where, f"no depth at {width} x {height} pixels"))
            continue
        medians.append(float(np.median(view.depth[view.depth > 0])))
        count(pixels, view.label)
        view = small
        entry = _entry(view, len(entries))
        entries.append(entry)
        kept.append(number)
        if folder is None:
            continue
        arrays |= _arrays(view, entry)
        if len(entries) % EACH == 0:
            _write(folder / entry["file"], arrays)
            arrays = {}
    if len(scene.view_names) and not entries:
        raise UserError(f"scene {scene.name}: none of its {len(numbers)} views can be used")
    if folder is not None and arrays:
        _write(folder / entries[-1]["file"], arrays)
    cloud, fused = _clouds(scene, kept, folder, hold_out)
    if folder is not None:
        own = as_read(scene)
        step = None if side else getattr(own, "step", None)  # of shrunk images fewer pixels are left out
        spacing = getattr(own, "spacing", SPACING)
        note = {"views": entries, "fused": fused, "hold_out": hold_out, "step": step, "spacing": spacing}
        write_json(folder / SCENE, note)
    channels = tuple(name for name in ("color", "normal", "strength") if getattr(cloud, name) is not None)
    labels: dict[int, int] = {}
    count(labels, cloud.semantic)
    depth = float(np.median(medians)) if medians else float("nan")
    return PackedCounts(len(entries), len(cloud), depth, channels, labels, pixels)


def usable(scene: Scene, numbers: Sequence[int]) -> Iterator[tuple[int, View]]:
    """The views that can be used, with their numbers; the others are counted with the scene."""
    for number in numbers:
        try:
            yield number, scene.view(number)
        except BadFrame as fault:
            scene.leave_out(fault)


def count(counts: dict[int, int], labels: NDArray[np.int64] | None) -> None:
    """Add the labels of an array to counts by class number; -1 counts nowhere."""
    if labels is None:
        return
    values, numbers = np.unique(labels[labels >= 0], return_counts=True)
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        counts[value] = counts.get(value, 0) + number


def whole_depth(depth: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float] | None:
    """Depth as 16-bit numbers and their units a metre, if these give back every value to the bit; else
    None."""
    for scale in SCALES:
        numbers = np.rint(depth * np.float64(scale))
        if numbers.max(initial=0) > np.iinfo(np.uint16).max:
            continue
        whole = numbers.astype(np.uint16)
        if np.array_equal((whole / np.float32(scale)).astype(np.float32), depth):
            return whole, scale
    return None


def _clouds(scene: Scene, kept: list[int], folder: Path | None, hold_out: int) -> tuple[PointCloud, bool]:
    """Write the cloud, and that without held-out views; whether it is fused from views."""
    part = scene.with_views(kept) if kept else scene
    fused = bool(kept) and part.fused
    cloud = part.cloud()
    if not len(cloud):
        raise UserError(f"scene {scene.name}: its cloud has no points")
    if folder is not None:
        _write_cloud(folder / CLOUD, cloud)
        less = training_part(part, hold_out)
        if fused and less is not part:
            _write_cloud(folder / HELD, less.cloud())
    return cloud, fused


def _entry(view: View, number: int) -> dict[str, Any]:
    whole = whole_depth(view.depth)
    return {
        "name": view.name,
        "number": number,
        "file": f"views-{number // EACH:03d}.safetensors",
        "depth_scale": None if whole is None else whole[1],
        "intrinsics": view.intrinsics.tolist(),
        "camera_to_world": view.camera_to_world.tolist(),
    }


def _arrays(view: View, entry: dict[str, Any]) -> dict[str, NDArray[Any]]:
    key, whole = f"{entry['number']:06d}", whole_depth(view.depth)
    found: dict[str, NDArray[Any]] = {
        f"{key}.color": view.color,
        f"{key}.depth": view.depth if whole is None else whole[0],
    }
    if view.label is not None:
        if view.label.max(initial=0) > np.iinfo(np.int16).max:
            raise UserError(f"view {view.name}: class number {view.label.max()} is over 32,767")
        found[f"{key}.label"] = view.label.astype(np.int16)
    return found


def _write_cloud(path: Path, cloud: PointCloud) -> None:
    _write(path, {name: values for name, values in vars(cloud).items() if values is not None})


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, path)
