"""S3DIS, processed: `Area_K/ROOM.pth` with `Area_K/ROOM_rgbd/*.pth` (see `processed_rooms`).

Depth is in 1/4000 m. The released preprocessing has brought the images of the second part of Area 5, which
have a world of their own, to that of the scan, and has given pixels the labels of scan points within 0.1 m:
both are taken as they lie in the files.
"""

import re
from collections import Counter
from pathlib import Path

from nonet.errors import UserError
from ponderv2.processed_rooms import ProcessedRoom
from ponderv2.read_options import ReadOptions
from ponderv2.scenes import SceneList

CLASSES = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa",
           "bookcase", "board", "clutter")  # fmt: skip
DATASET = "s3dis"
SCALE = 4000.0
"""units of depth a metre"""
TEST_AREA = 5
"""the area that is usually left out of training"""


def open_s3dis(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """The rooms of some areas.

    Args:
        path: the folder with `Area_1`, ...
        split: `train` (all areas but 5), `val` or `test` (Area 5), `Area_K`, or `K` or `K+L`; `not-K` for
            six-fold training; None takes all areas.
        options: how to read.

    Raises:
        UserError: no such area, or no room in it.
    """
    areas = {int(place.name[5:]): place for place in sorted(path.glob("Area_*")) if place.name[5:].isdigit()}
    if not areas:
        raise UserError(f"{path}: no folder Area_1, Area_2, ... here")
    chosen = areas_of(split)
    if missing := sorted(chosen - set(areas)) if split and not split.startswith(("train", "not")) else []:
        raise UserError(
            f"{path}: no folder Area_{missing[0]}; there are {', '.join(f'Area_{k}' for k in areas)}"
        )
    skipped: Counter[str] = Counter()
    remarks: list[str] = []
    scenes = [
        ProcessedRoom(
            f"Area_{area}/{file.stem}", DATASET, file, classes=CLASSES,
            depth_scale=options.depth_scale or SCALE, said=options.depth_scale is not None,
            frame_step=options.frame_step, skipped=skipped, remarks=remarks,
        )
        for area in sorted(chosen & set(areas))
        for file in sorted(areas[area].glob("*.pth"))
    ]  # fmt: skip
    if not scenes:
        raise UserError(f"{path}: no room (Area_K/ROOM.pth) in {split or 'any area'}")
    scenes[0].check_unit()
    return SceneList(scenes, class_names={DATASET: CLASSES}, skipped=skipped, remarks=remarks)


def areas_of(split: str | None) -> set[int]:
    """The areas of a split, of 1 to 6.

    Raises:
        UserError: no such split.
    """
    every = set(range(1, 7))
    if split is None:
        return every
    if split == "train":
        return every - {TEST_AREA}
    if split in ("val", "test"):
        return {TEST_AREA}
    match = re.fullmatch(r"(not-)?(?:Area_)?([1-6](?:\+[1-6])*)", split)
    if match is None:
        raise UserError(f"s3dis has no split {split}; name train, val, Area_1, 1+2+3 or not-5")
    named = {int(number) for number in match.group(2).split("+")}
    return every - named if match.group(1) else named
