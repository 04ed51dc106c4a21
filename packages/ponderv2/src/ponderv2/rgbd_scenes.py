"""Scenes of colour and depth images with poses, whatever their folder looks like (ours).

A scene whose depth cannot be metres is refused, with the unit that would make a room of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.depth_units import MILLIMETRES, check_median
from ponderv2.frame_files import check_labels, read_color, read_depth, read_labels
from ponderv2.leveling import level_up, upright_of_cameras
from ponderv2.point_files import read_cloud
from ponderv2.scenes import UP, Array, BadFrame, ChosenViews, PointCloud, Scene, View, check_indices
from ponderv2.view_fusion import fuse_views

# Shapes: H x W pixels.

_LOOKED_AT = 5  # views that a scene's unit and level are judged by
Decode = Callable[[Array], tuple[NDArray[np.int64], NDArray[np.int64] | None]]
"""From a label image to class numbers and, if it has them, object numbers, (H, W) each, -1 ignored"""


@dataclass(frozen=True)
class FrameFiles:
    """Where one view lies.

    Attributes:
        name: unique in its scene.
        color: file.
        depth: file of 16-bit or float pixels, or `.npy`.
        camera_to_world: (4, 4) float64, sound.
        intrinsics: (3, 3) float64, of the depth image.
        label: file, or None.
    """

    name: str
    color: Path
    depth: Path
    camera_to_world: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    label: Path | None = None


class RgbdScene(Scene):
    """A scene whose views lie in image files, and whose cloud lies in a file or is fused from the views.

    Args:
        name: of the scene.
        dataset: of the scene.
        find: gives the frames with sound poses; called once, when they are first asked for.
        depth_scale: units of the depth images a metre.
        said: whether the user named that unit.
        up: of the world; None finds it from some views when it is first asked for.
        classes: names of the class numbers.
        decode: for label images; None leaves them aside.
        cloud_file: its cloud; None fuses the views.
        step: when fusing, every so many pixels in each direction are taken; see `view_fusion.fuse_views`.
        spacing: when fusing, metres of a cell that gets one point; None keeps all.
        skipped: see `Scene`.
        remarks: see `Scene`.
    """

    def __init__(
        self,
        name: str,
        dataset: str,
        find: Callable[[], Sequence[FrameFiles]],
        *,
        depth_scale: float = MILLIMETRES,
        said: bool = False,
        up: tuple[float, float, float] | None = UP,
        classes: tuple[str, ...] | None = None,
        decode: Decode | None = None,
        cloud_file: Path | None = None,
        step: int | None = None,
        spacing: float | None = 0.01,
        skipped: "Counter[str] | None" = None,
        remarks: list[str] | None = None,
    ) -> None:
        super().__init__(name, dataset, skipped=skipped, remarks=remarks)
        self._find, self.depth_scale, self.said = find, depth_scale, said
        self.classes, self.decode, self.cloud_file = classes, decode, cloud_file
        self._given_up = up
        self.step, self.spacing = step, spacing

    @cached_property
    def frames(self) -> tuple[FrameFiles, ...]:
        """The frames with sound poses."""
        return tuple(self._find())

    @property
    def up(self) -> tuple[float, float, float]:
        """As given, else the level of what some views see."""
        if self._given_up is None:
            self._given_up = self._level()
        return self._given_up

    @up.setter
    def up(self, up: tuple[float, float, float]) -> None:
        self._given_up = up

    @property
    def fused(self) -> bool:
        """Where no file brings the cloud."""
        return self.cloud_file is None

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the frames."""
        return tuple(frame.name for frame in self.frames)

    def view(self, index: int) -> View:
        """Reads three files at most; the first time some other depth images, too, for the unit."""
        self.check_unit()
        return self._view(self.frames[index])[0]

    def cloud(self) -> PointCloud:
        """That of the file, or of all views together; kept once it is made."""
        return self._cloud

    def with_views(self, indices: Iterable[int]) -> Scene:
        """A cloud that is fused comes from the chosen views alone."""
        if self.cloud_file is not None:
            return ChosenViews(self, indices)
        chosen = check_indices(indices, len(self.frames), self.name)
        scene = RgbdScene(
            self.name, self.dataset, lambda: [self.frames[index] for index in chosen],
            depth_scale=self.depth_scale, said=self.said, up=self.up, classes=self.classes,
            decode=self.decode, step=self.step, spacing=self.spacing, skipped=self.skipped,
            remarks=self.remarks,
        )  # fmt: skip
        scene.kept = self.kept
        return scene

    def check_unit(self) -> None:
        """Refuse depth that no room has.

        Raises:
            UserError: the median over some views is implausible; the text names the unit that is suspected.
        """
        check_median(self._median, self.depth_scale, said=self.said, name=self.name)

    def _level(self) -> tuple[float, float, float]:
        rough = upright_of_cameras([frame.camera_to_world for frame in self.frames])
        normals = fuse_views(self._sound(self._some(), []), spacing=None).normal
        assert normals is not None
        x, y, z = level_up(normals, rough).tolist()
        return x, y, z

    def _some(self) -> list[FrameFiles]:
        """Some frames, evenly chosen."""
        count = len(self.frames)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).round().astype(int))
        return [self.frames[index] for index in chosen]

    def _sound(
        self, frames: Iterable[FrameFiles], faults: list[BadFrame]
    ) -> Iterator[tuple[View, NDArray[np.int64] | None]]:
        """The views of frames that can be used; the faults of the others."""
        for frame in frames:
            try:
                yield self._view(frame)
            except BadFrame as fault:
                self.leave_out(fault)
                faults.append(fault)

    @cached_property
    def _median(self) -> float | None:
        """Metres over some views, evenly chosen; None if none of them has depth."""
        found = []
        for frame in self._some():
            try:
                depth = read_depth(frame.depth, self.depth_scale)
            except BadFrame:
                continue
            found.append(depth[depth > 0])
        return float(np.median(np.concatenate(found))) if found else None

    @cached_property
    def _cloud(self) -> PointCloud:
        if self.cloud_file is not None:
            cloud = read_cloud(self.cloud_file)
            if cloud.semantic is not None and self.classes is not None:
                check_labels(cloud.semantic, self.classes, str(self.cloud_file))
            return cloud
        self.check_unit()

        faults: list[BadFrame] = []
        cloud = fuse_views(self._sound(self.frames, faults), step=self.step, spacing=self.spacing)
        if not len(cloud):
            why = f"; the first: {faults[0]}" if faults else ""
            raise UserError(f"scene {self.name}: none of its {len(self.frames)} views gives a point{why}")
        return cloud

    def _view(self, frame: FrameFiles) -> tuple[View, NDArray[np.int64] | None]:
        depth = read_depth(frame.depth, self.depth_scale)
        color = read_color(frame.color, depth.shape)
        label = instance = None
        if frame.label is not None and self.decode is not None:
            label, instance = self.decode(read_labels(frame.label, depth.shape))
            if self.classes is not None:
                check_labels(label, self.classes, str(frame.label))
        view = View(frame.name, color, depth, label, frame.intrinsics, frame.camera_to_world)
        return view, instance
