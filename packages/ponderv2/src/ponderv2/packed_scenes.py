"""Scenes that `ponderv2 prepare` has packed: raw arrays in mapped files, of which a view costs one copy
(ours).

    packed.json                  classes, scenes with their folders, what was left out and why
    SCENE/scene.json             views with their cameras; where each one's arrays lie
    SCENE/cloud.safetensors      the cloud
    SCENE/held.safetensors       the cloud without held-out views, where clouds are fused from views
    SCENE/views-000.safetensors  colour, depth and labels of some 64 views

Depth is stored as 16-bit whole numbers where these give back every value, else as float32: what is read is
what was packed, to the bit.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.safetensors_file import map_tensors
from nonet.errors import UserError
from nonet.training.weight_files import read_object
from ponderv2.normals import as_read
from ponderv2.read_options import ReadOptions
from ponderv2.scenes import UP, ChosenViews, PointCloud, Scene, SceneList, View, check_indices
from ponderv2.view_fusion import fuse_views
from ponderv2.view_split import held_numbers

FORMAT = 1
MAPPED = 128
"""files of a data set that a process has mapped at once; each holds a descriptor, of which a process has
1,024 as a rule"""
INDEX = "packed.json"
SCENE = "scene.json"
CLOUD, HELD = "cloud.safetensors", "held.safetensors"


class MappedFiles:
    """The arrays of files, of which those that were used last stay mapped.

    Args:
        most: files.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._files: OrderedDict[Path, dict[str, NDArray[Any]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Mapped files stay in this process."""
        return {"most": self.most, "_files": OrderedDict()}

    def read(self, path: Path) -> dict[str, NDArray[Any]]:
        """Read-only views into a file, by name; a file stays mapped as long as one of them is held."""
        if path not in self._files:
            while len(self._files) >= self.most:
                self._files.popitem(last=False)
            self._files[path] = map_tensors(path)
        self._files.move_to_end(path)
        return self._files[path]


class PackedScene(Scene):
    """A scene of a packed folder.

    Args:
        folder: of the scene.
        entry: its line of packed.json.
        files: maps them; shared by the scenes of a data set.
        classes: names of the class numbers.
        skipped: see `Scene`.
        remarks: see `Scene`.
    """

    def __init__(
        self,
        folder: Path,
        entry: Mapping[str, Any],
        files: MappedFiles,
        *,
        classes: tuple[str, ...] | None = None,
        skipped: "Counter[str] | None" = None,
        remarks: list[str] | None = None,
    ) -> None:
        super().__init__(str(entry["name"]), str(entry["dataset"]), skipped=skipped, remarks=remarks)
        self.folder, self.files, self.classes = folder, files, classes
        self.up = tuple(entry.get("up", UP))  # type: ignore[assignment]

    @cached_property
    def note(self) -> dict[str, Any]:
        """The content of scene.json."""
        return read_object(self.folder / SCENE)

    @property
    def fused(self) -> bool:
        """As that of the scene that was packed."""
        return bool(self.note["fused"])

    @property
    def checked(self) -> bool:
        """Packing reads every view, and its reader refuses labels out of range."""
        return True

    @property
    def step(self) -> int | None:
        """Of the fusion, see `view_fusion.fuse_views`; who packs anew asks for it."""
        return None if self.note["step"] is None else int(self.note["step"])

    @property
    def spacing(self) -> float | None:
        """Metres of a cell of the fusion, likewise."""
        return None if self.note["spacing"] is None else float(self.note["spacing"])

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the packed views."""
        return tuple(view["name"] for view in self.note["views"])

    def cloud(self) -> PointCloud:
        """The packed cloud."""
        return self.read_cloud(CLOUD)

    def read_cloud(self, name: str) -> PointCloud:
        """One of the packed clouds."""
        found = self.files.read(self.folder / name)
        return PointCloud(**{channel: np.array(values) for channel, values in found.items()})

    def view(self, index: int) -> View:
        """Copies one view's arrays."""
        entry = self.note["views"][index]
        arrays, key = self.files.read(self.folder / entry["file"]), f"{entry['number']:06d}"
        depth = arrays[f"{key}.depth"]
        if depth.dtype.kind == "u":
            depth = (depth / np.float32(entry["depth_scale"])).astype(np.float32)
        label = arrays.get(f"{key}.label")
        return View(
            entry["name"],
            np.array(arrays[f"{key}.color"]),
            np.array(depth),
            None if label is None else label.astype(np.int64),
            np.array(entry["intrinsics"], np.float64),
            np.array(entry["camera_to_world"], np.float64),
        )

    def with_views(self, indices: Iterable[int]) -> Scene:
        """A cloud that was fused from views comes from the chosen ones alone."""
        if not self.fused:
            return ChosenViews(self, indices)
        return _FusedPart(self, check_indices(indices, len(self.view_names), self.name))


class _FusedPart(ChosenViews):
    """Some views of a packed scene, and the cloud that these alone give."""

    scene: PackedScene

    @property
    def fused(self) -> bool:
        """Its cloud is that of these views."""
        return True

    @property
    def step(self) -> int | None:
        """The scene's."""
        return self.scene.step

    @property
    def spacing(self) -> float | None:
        """The scene's."""
        return self.scene.spacing

    def cloud(self) -> PointCloud:
        """Packed, if these are the views that are not held out; else fused anew, and kept."""
        return self._cloud

    def with_views(self, indices: Iterable[int]) -> Scene:
        """Some of these views."""
        chosen = check_indices(indices, len(self.indices), self.name)
        return _FusedPart(self.scene, [self.indices[index] for index in chosen])

    @cached_property
    def _cloud(self) -> PointCloud:
        count = len(self.scene.view_names)
        held = set(held_numbers(count, self.scene.note["hold_out"]))
        if held and set(self.indices) == set(range(count)) - held:
            return self.scene.read_cloud(HELD)
        views = ((self.scene.view(index), None) for index in self.indices)
        return fuse_views(views, step=self.step, spacing=self.spacing)


def fused_anew(scenes: Iterable[Scene], every: int) -> str | None:
    """A line where a run holds out other views than packing reckoned with, so that clouds are fused anew.

    Args:
        scenes: that are learned from, before views are held out.
        every: every so-many-th view is held out, see `view_split.held_numbers`.

    Returns:
        None where each cloud is packed as it is needed.
    """
    packed: Counter[int] = Counter()
    for scene in map(as_read, scenes):
        if isinstance(scene, PackedScene) and scene.fused:
            count, other = len(scene.view_names), int(scene.note["hold_out"])
            held = held_numbers(count, every)
            if held and held != held_numbers(count, other):
                packed[other] += 1
    if not packed:
        return None
    settings = " or ".join(map(str, sorted(packed)))
    return (
        f"{packed.total():,} scenes were packed with hold-out {settings}, and this run has {every}: their "
        f"clouds are fused anew; prepare with --hold-out {every}, or give --hold-out {settings} here, to "
        "spare that"
    )


def open_packed(path: Path, split: str | None = None, options: ReadOptions | None = None) -> SceneList:
    """The scenes of a folder that `ponderv2 prepare` wrote.

    Args:
        path: the folder.
        split: must be None: a folder holds what was packed into it.
        options: none, or the usual ones: packing settled what they say.

    Raises:
        UserError: not such a folder, one of a later version, or a split or an option of reading is asked for.
    """
    if split is not None:
        raise UserError(f"packed:{path}: packed data have no splits: leave {split!r} out")
    for name in ("depth_scale", "up", "frame_step"):
        if options is not None and getattr(options, name) != getattr(ReadOptions(), name):
            raise UserError(
                f"packed:{path}: {name} is settled when data are packed: give it to `ponderv2 prepare`, and "
                "leave it out here"
            )
    if not (path / INDEX).is_file():
        raise UserError(f"{path}: no {INDEX} in it; `ponderv2 prepare --data ... --out {path}` makes it")
    found = read_object(path / INDEX)
    if found.get("format") != FORMAT:
        raise UserError(f"{path / INDEX}: format is {found.get('format')!r}, this version reads {FORMAT}")
    classes = {name: tuple(names) for name, names in found["classes"].items()}
    skipped: Counter[str] = Counter()
    remarks: list[str] = []
    files = MappedFiles(MAPPED)
    scenes = [
        PackedScene(
            path / entry["folder"], entry, files, classes=classes.get(entry["dataset"]), skipped=skipped,
            remarks=remarks,
        )
        for entry in found["scenes"]
    ]  # fmt: skip
    return SceneList(scenes, class_names=classes, skipped=skipped, remarks=remarks)
