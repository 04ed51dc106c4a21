"""Rooms as Pointcept's preprocessing leaves them: a .pth with the cloud, a folder of .pth with the views.

    ROOM.pth              coord, color, [normal], [semantic_gt], [instance_gt]
    ROOM_rgbd/VIEW.pth    intrinsic (3, 3), extrinsic (4, 4) camera-to-world, rgb (H, W, 3), depth (H, W) raw,
                          [depth_mask (H, W)], [semantic_map (H, W), -1 ignored]

Source: the released code's scripts in `ponder/datasets/preprocessing`. Its loaders rename views that they do
not like to `.bad` while they train, and make class 0 ignored in 2D; nothing is renamed here, and class 0
counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nonet.errors import UserError
from ponderv2.cameras import pose_fault
from ponderv2.depth_units import check_median
from ponderv2.frame_files import check_labels, masked_depth
from ponderv2.point_files import as_cloud
from ponderv2.scenes import IGNORED, BadFrame, PointCloud, Scene, View
from ponderv2.torch_arrays import load_torch_arrays


class ProcessedRoom(Scene):
    """A room and its views.

    Args:
        name: of the room.
        dataset: of the room.
        file: its .pth; views lie in the folder beside it with `_rgbd` for `.pth`.
        classes: names of the class numbers.
        depth_scale: units of the views' depth a metre.
        said: whether the user named that unit.
        frame_step: take every so many views.
        label: key of the cloud's class numbers.
        skipped: see `Scene`.
        remarks: see `Scene`.
    """

    def __init__(
        self,
        name: str,
        dataset: str,
        file: Path,
        *,
        classes: tuple[str, ...],
        depth_scale: float,
        said: bool = False,
        frame_step: int = 1,
        label: str = "semantic_gt",
        skipped: "Counter[str] | None" = None,
        remarks: list[str] | None = None,
    ) -> None:
        super().__init__(name, dataset, skipped=skipped, remarks=remarks)
        self.file, self.classes, self.depth_scale = file, classes, depth_scale
        self.said, self.frame_step, self.label = said, frame_step, label

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        folder = self.file.with_name(f"{self.file.stem}_rgbd")
        return tuple(sorted(folder.glob("*.pth")))[:: self.frame_step]

    def check_unit(self) -> None:
        """Refuse depth that no room has, judged by some views; see `depth_units.check_median`."""
        check_median(self._median, self.depth_scale, said=self.said, name=self.name)

    @cached_property
    def _median(self) -> float | None:
        """Metres over three views, evenly chosen; None if none of them has depth."""
        chosen = np.unique(np.linspace(0, max(len(self._files) - 1, 0), 3).round().astype(int))
        found = []
        for index in chosen[: len(self._files)]:
            try:
                depth = self._view(self._files[index]).depth
            except UserError:  # said when the view itself is asked for
                continue
            found.append(depth[depth > 0])
        return float(np.median(np.concatenate(found))) if found else None

    @property
    def view_names(self) -> tuple[str, ...]:
        """All views that there are: their poses lie in their files, and are checked when one is read."""
        return tuple(file.stem for file in self._files)

    def cloud(self) -> PointCloud:
        """Read anew each time: a room of S3DIS has millions of points."""
        assert self.classes is not None
        return read_room(self.file, classes=self.classes, label=self.label)

    def view(self, index: int) -> View:
        """Reads one file; the first time two or three others, too, for the unit of this room."""
        self.check_unit()
        return self._view(self._files[index])

    def _view(self, file: Path) -> View:
        try:
            content = load_torch_arrays(file)
        except UserError as error:
            raise BadFrame("view unreadable", str(file), str(error).removeprefix(f"{file}: ")) from None
        if not isinstance(content, Mapping) or (
            missing := {"intrinsic", "extrinsic", "rgb", "depth"} - set(content)
        ):
            raise BadFrame("view unreadable", str(file), f"has no {sorted(missing)[0]}")
        pose = np.asarray(content["extrinsic"], np.float64)
        if fault := pose_fault(pose):
            raise BadFrame(fault, str(file))
        raw = np.asarray(content["depth"])
        raw = np.where(np.asarray(content["depth_mask"], bool), raw, 0) if "depth_mask" in content else raw
        depth = masked_depth(np.where(raw >= _INVALID, 0, raw), self.depth_scale, str(file))
        label = None
        if "semantic_map" in content:
            label = np.maximum(np.asarray(content["semantic_map"]).astype(np.int64), IGNORED)
            assert self.classes is not None
            check_labels(label, self.classes, str(file))
        color = np.asarray(content["rgb"], np.uint8)
        if color.shape != (*depth.shape, 3):
            raise BadFrame(
                "colour of another shape", str(file), f"colour {color.shape} beside depth {depth.shape}"
            )
        intrinsics = np.asarray(content["intrinsic"], np.float64)[:3, :3]
        return View(file.stem, color, depth, label, intrinsics, pose)


_INVALID = 65500  # S3DIS' and Structured3D's "nothing" after undistortion, which blurs 65535


def read_room(file: Path, *, classes: Sequence[str], label: str) -> PointCloud:
    """The cloud of a processed room.

    Args:
        file: the .pth.
        classes: names of the class numbers.
        label: key of the class numbers.

    Raises:
        UserError: it cannot be read, has no points, or labels out of range.
    """
    content = load_torch_arrays(file)
    if not isinstance(content, Mapping) or "coord" not in content:
        raise UserError(f"{file}: has no coord: not a processed room")
    named: dict[str, Any] = {
        "color": content.get("color"),
        "normal": content.get("normal"),
        "semantic": content.get(label),
        "instance": content.get("instance_gt"),
    }
    cloud = as_cloud(file, content["coord"], **named)
    if not len(cloud):
        raise UserError(f"{file}: has no point")
    if cloud.semantic is not None:
        check_labels(cloud.semantic, classes, str(file))
    return cloud
