"""Structured3D, processed: `{train,val,test}/scene_*/room_*.pth` with `room_*_rgbd/*.pth`.

Depth is in mm; 25 classes, those more frequent than 0.001 (released code, after Swin3D). See
`processed_rooms`.
"""

from collections import Counter
from pathlib import Path

from nonet.errors import UserError
from ponderv2.depth_units import MILLIMETRES
from ponderv2.processed_rooms import ProcessedRoom
from ponderv2.read_options import ReadOptions
from ponderv2.scenes import SceneList

CLASSES = ("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "picture", "desk",
           "shelves", "curtain", "dresser", "pillow", "mirror", "ceiling", "refrigerator", "television",
           "nightstand", "sink", "lamp", "otherstructure", "otherfurniture", "otherprop")  # fmt: skip
DATASET = "structured3d"
SPLITS = ("train", "val", "test")


def open_structured3d(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """The rooms of a split, or of all.

    Args:
        path: the folder with `train`, `val`, `test`.
        split: one of them, or `train+val`; None takes all that are there.
        options: how to read.

    Raises:
        UserError: no such split, or no room in it.
    """
    parts = SPLITS if split is None else tuple(split.split("+"))
    if wrong := [part for part in parts if part not in SPLITS]:
        raise UserError(f"structured3d has no split {wrong[0]}; name {', '.join(SPLITS)}")
    skipped: Counter[str] = Counter()
    remarks: list[str] = []
    scenes = [
        ProcessedRoom(
            f"{file.parent.name}/{file.stem}", DATASET, file, classes=CLASSES,
            depth_scale=options.depth_scale or MILLIMETRES, frame_step=options.frame_step,
            said=options.depth_scale is not None, skipped=skipped, remarks=remarks,
        )
        for part in parts
        for file in sorted((path / part).glob("*/room_*.pth"))
    ]  # fmt: skip
    if not scenes:
        raise UserError(f"{path}: no room ({'|'.join(parts)}/scene_*/room_*.pth) here")
    scenes[0].check_unit()
    return SceneList(scenes, class_names={DATASET: CLASSES}, skipped=skipped, remarks=remarks)
