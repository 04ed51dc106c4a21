"""`KIND:PATH[:SPLIT]` to scenes: the one door to all readers (ours)."""

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from ponderv2.normals import with_normals
from ponderv2.read_options import AXES, ReadOptions
from ponderv2.scenes import Scene, SceneList

KINDS = {
    "scannet": ("scannet", "open_scannet"),
    "scannet200": ("scannet", "open_scannet200"),
    "s3dis": ("s3dis", "open_s3dis"),
    "structured3d": ("structured3d", "open_structured3d"),
    "7scenes": ("rgbd_folders", "open_seven_scenes"),
    "tum": ("rgbd_folders", "open_tum"),
    "rgbd": ("rgbd_folders", "open_rgbd"),
    "tabletop": ("tabletop", "open_tabletop"),
    "cloud": ("cloud_scenes", "open_clouds"),
    "packed": ("packed_scenes", "open_packed"),
    "nuscenes": ("nuscenes", "open_nuscenes"),
    "kitti": ("kitti", "open_kitti"),
    "synthetic": ("synthetic", "open_synthetic"),
}
"""word -> module and function (path, split, options) -> SceneList"""
OUTDOOR = ("nuscenes", "kitti")
_WITHOUT_OPTIONS = ("nuscenes", "kitti")


def open_scenes(
    sources: Sequence[str] | str,
    *,
    depth_scale: float | None = None,
    up: str | None = None,
    frame_step: int = 1,
    normals: Literal["given", "estimate"] = "given",
    options: ReadOptions | None = None,
) -> SceneList:
    """The scenes of one or several data sets.

    Args:
        sources: `KIND:PATH` or `KIND:PATH:SPLIT`; see `KINDS` for the kinds, and each reader for its layout
            and splits. `synthetic:COUNT[:SEED]` makes rooms up.
        depth_scale: units of depth images a metre, in place of the data set's own.
        up: where the world's "up" is (x, -x, y, -y, z, -z, or `level`: from what the views see), likewise.
        frame_step: take every so many frames of a scene.
        normals: `estimate` gives clouds without normals estimated ones; `given` leaves them without.
        options: depth scale, up and frame step at once.

    Returns:
        All scenes, in the order of the sources. Its `skipped` counts frames left out, and `remarks` names
        them.

    Raises:
        UserError: an unknown kind, a folder that is not as it says, two data sets of one kind with other
            classes.
    """
    words = [sources] if isinstance(sources, str) else list(sources)
    if not words:
        raise UserError("no data are named; give KIND:PATH[:SPLIT]")
    options = options or ReadOptions(depth_scale, up, frame_step)
    if options.up is not None and options.up not in AXES:
        raise UserError(f"up {options.up} is no axis; give one of {', '.join(AXES)}")
    if options.frame_step < 1 or (options.depth_scale is not None and not options.depth_scale > 0):
        raise UserError(
            f"frame step {options.frame_step} and depth scale {options.depth_scale} must be positive"
        )
    scenes = _together([open_source(word, options) for word in words], words)
    return with_normals(scenes) if normals == "estimate" else scenes


def open_source(word: str, options: ReadOptions) -> SceneList:
    """The scenes of one `KIND:PATH[:SPLIT]`."""
    kind, path, split = parse_source(word)
    if kind != "synthetic" and not path.exists():
        raise UserError(f"{word}: {path} is no file or folder here")
    module, function = KINDS[kind]
    opener = getattr(importlib.import_module(f"ponderv2.{module}"), function)
    if kind in _WITHOUT_OPTIONS:
        return opener(path, split)
    return opener(path, split, options)


def refuse_streets(sources: Sequence[str], instead: str) -> None:
    """Refuse data of streets where rooms are wanted.

    Args:
        sources: KIND:PATH[:SPLIT].
        instead: what to do with them.

    Raises:
        UserError: one is of streets.
    """
    for word in sources:
        if (kind := word.partition(":")[0]) in OUTDOOR:
            raise UserError(f"{word}: {kind} shows streets, and this is for rooms: {instead}")


def parse_source(word: str) -> tuple[str, Path, str | None]:
    """`KIND:PATH[:SPLIT]` taken apart; a colon in the path is allowed if what follows it is no split.

    Raises:
        UserError: no kind that is known, or no path.
    """
    kind, colon, rest = word.partition(":")
    if not colon or kind not in KINDS or not rest:
        raise UserError(f"{word}: not KIND:PATH[:SPLIT] with one of the kinds {', '.join(KINDS)}")
    if Path(rest).exists() or ":" not in rest:
        return kind, Path(rest), None
    path, _, split = rest.rpartition(":")
    if not path or "/" in split or not split:
        return kind, Path(rest), None
    return kind, Path(path), split


def _together(lists: Sequence[SceneList], words: Sequence[str]) -> SceneList:
    if len(lists) == 1:
        return lists[0]
    classes: dict[str, tuple[str, ...]] = {}
    skipped: Counter[str] = Counter()
    remarks: list[str] = []
    scenes: list[Scene] = []
    for found, word in zip(lists, words, strict=True):
        for dataset, names in found.classes.items():
            if classes.setdefault(dataset, names) != names:
                other = sorted(set(names) ^ set(classes[dataset]))[:5] or ["their order"]
                raise UserError(
                    f"{word}: its classes are not those of other {dataset} data: {', '.join(other)}"
                )
        skipped += found.skipped
        remarks += found.remarks
        for scene in found:
            scene.skipped, scene.remarks = skipped, remarks
        scenes += found
    return SceneList(scenes, class_names=classes, skipped=skipped, remarks=remarks)
