"""ScanNet, processed: clouds as .pth with 20 or 200 classes, and RGB-D frames beside them (released layout).

    PATH/{train,val,test}/SCENE.pth      coord, color, normal, [semantic_gt20], [semantic_gt200],
    [instance_gt] PATH/rgbd/SCENE/color/N.jpg  depth/N.png (mm)  pose/N.txt (camera-to-world)  [label/N.png
    (NYU40)] PATH/rgbd/SCENE/intrinsic/intrinsic_depth.txt

Frames are found by their names: with frames extracted at a stride, the original's count into the list reads
the wrong frame or none. Wall is class 0 and counts, in 2D too. Poses of minus infinity, as ScanNet has where
tracking was lost, and empty depth are found here, without a list of bad frames.
Also read: SCENE.bin of float32 rows x, y, z, red, green, blue, as in mmdetection3d; it has no labels.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.depth_units import MILLIMETRES
from ponderv2.frame_files import read_intrinsics, read_pose
from ponderv2.point_files import read_cloud
from ponderv2.processed_rooms import read_room
from ponderv2.read_options import ReadOptions
from ponderv2.rgbd_scenes import Decode, FrameFiles, RgbdScene
from ponderv2.scannet_classes import CLASSES_20, CLASSES_200, NYU40_20, RAW_200
from ponderv2.scenes import IGNORED, Array, BadFrame, PointCloud, Scene, SceneList

SPLITS = ("train", "val", "test")


def open_scannet(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """ScanNet with its 20 classes; label images have the 40 of NYU.

    Args:
        path: the folder with `train`, `val`, `test`; or one with .bin files.
        split: one of them, or `train+val`; None takes all that are there.
        options: how to read.

    Raises:
        UserError: no such split, or no scene in it.
    """
    return _open(path, split, options, "scannet")


def open_scannet200(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """ScanNet with 200 classes; label images have ScanNet's raw numbers. See `open_scannet`."""
    return _open(path, split, options, "scannet200")


class ScanNetScene(RgbdScene):
    """A scene whose cloud lies in its own .pth."""

    def __init__(self, file: Path, frames: Path, dataset: str, options: ReadOptions, *,
                 skipped: "Counter[str]", remarks: list[str]) -> None:  # fmt: skip
        classes, numbers, self._key = _TABLES[dataset]
        scale = options.depth_scale
        super().__init__(
            file.stem, dataset, lambda: list(self._frames(frames, options.frame_step)),
            depth_scale=scale or MILLIMETRES, said=scale is not None, classes=classes,
            decode=label_table(numbers, dataset), cloud_file=file, skipped=skipped, remarks=remarks,
        )  # fmt: skip
        self._file = file

    def cloud(self) -> PointCloud:
        """Read anew each time."""
        assert self.classes is not None
        if self._file.suffix == ".bin":
            return read_cloud(self._file)
        return read_room(self._file, classes=self.classes, label=self._key)

    def _frames(self, folder: Path, step: int) -> Iterator[FrameFiles]:
        colors = [file for ending in ("jpg", "png") for file in (folder / "color").glob(f"*.{ending}")]
        if not colors:
            return
        camera = read_intrinsics(folder / "intrinsic" / "intrinsic_depth.txt")
        for color in sorted(colors, key=_number)[::step]:
            name = color.stem
            label = folder / "label" / f"{name}.png"
            try:
                pose = read_pose(folder / "pose" / f"{name}.txt")
            except BadFrame as fault:
                self.leave_out(fault)
                continue
            yield FrameFiles(
                name, color, folder / "depth" / f"{name}.png", pose, camera, label if label.exists() else None
            )


def label_table(numbers: tuple[int, ...], dataset: str) -> Decode:
    """How to read label images: from the numbers in them to classes 0, 1, ...; all other numbers are ignored.

    Args:
        numbers: the number in an image of each class.
        dataset: `scannet` has NYU40's numbers, of 40 at most; raw ones are refused there.
    """
    largest = 40 if dataset == "scannet" else 65535
    table = np.full(largest + 1, IGNORED)
    table[list(numbers)] = np.arange(len(numbers))

    def decode(raw: Array) -> tuple[NDArray[np.int64], None]:
        if raw.size and raw.max() > largest:
            raise UserError(
                f"a label image has the number {raw.max()}, and NYU40's end at 40: these are raw labels; map "
                "them by the column nyu40id of scannetv2-labels.combined.tsv, or read them as scannet200"
            )
        return table[raw], None

    return decode


_TABLES = {
    "scannet": (CLASSES_20, NYU40_20, "semantic_gt20"),
    "scannet200": (CLASSES_200, RAW_200, "semantic_gt200"),
}


def _open(path: Path, split: str | None, options: ReadOptions, dataset: str) -> SceneList:
    parts = SPLITS if split is None else tuple(split.split("+"))
    if wrong := [part for part in parts if part not in SPLITS]:
        raise UserError(f"{dataset} has no split {wrong[0]}; name {', '.join(SPLITS)}")
    files = [file for part in parts for file in sorted((path / part).glob("scene*.pth"))]
    if not files and split is None:
        files = sorted(path.glob("scene*.bin")) or sorted(path.glob("scene*.pth"))
    if not files:
        raise UserError(f"{path}: no scene ({'|'.join(parts)}/scene*_*.pth) here")
    skipped: Counter[str] = Counter()
    remarks: list[str] = []
    scenes: list[Scene] = [
        ScanNetScene(file, path / "rgbd" / file.stem, dataset, options, skipped=skipped, remarks=remarks)
        for file in files
    ]
    return SceneList(scenes, class_names={dataset: _TABLES[dataset][0]}, skipped=skipped, remarks=remarks)


def _number(file: Path) -> tuple[int, str]:
    return (int(file.stem) if file.stem.isdigit() else -1, file.stem)
