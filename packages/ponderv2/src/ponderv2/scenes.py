"""What every reader gives: a scene with a point cloud and posed RGB-D views, read when asked for (ours).

Units are metres. A pose is camera-to-world; a camera looks along +z, x to the right and y down. A pixel
(u, v) counts to the right and down, whole numbers are pixel centres. Depth is planar (along z), 0 where there
is none.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

# Shapes: N points of a cloud; H x W pixels of a view.

Array = NDArray[Any]

IGNORED = -1
"""as a label: not counted, neither in a loss nor in a measure"""
UP = (0.0, 0.0, 1.0)
"""where a world's z axis points unless its scene says something else"""


class BadFrame(UserError):
    """A view that cannot be used. `reason` is a short phrase, the same for all views with that fault."""

    def __init__(self, reason: str, place: str, detail: str = "") -> None:
        super().__init__(f"{place}: {detail or reason}")
        self.reason = reason


@dataclass(frozen=True)
class PointCloud:
    """Points with what is known of them. What a data set does not have is None, never zeros.

    Attributes:
        coord: (N, 3) float32 metres.
        color: (N, 3) float32 in 0..255, red, green, blue.
        normal: (N, 3) float32 of length 1, or zeros where none could be found.
        strength: (N, 1) float32 in 0..1, a LiDAR's reflectance.
        semantic: (N,) int64 class numbers, -1 ignored.
        instance: (N,) int64 object numbers, -1 for points of no object.
    """

    coord: NDArray[np.float32]
    color: NDArray[np.float32] | None = None
    normal: NDArray[np.float32] | None = None
    strength: NDArray[np.float32] | None = None
    semantic: NDArray[np.int64] | None = None
    instance: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for name, (shape, dtype) in _CLOUD.items():
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != (len(self.coord), *shape) or value.dtype != dtype:
                wanted = f"{(len(self.coord), *shape)} {dtype.__name__}"
                raise ValueError(f"{name} is {value.shape} {value.dtype}, and must be {wanted}")

    def __len__(self) -> int:
        return len(self.coord)

    def take(self, index: Array) -> "PointCloud":
        """Some of the points, by number or by a mask of (N,) bool."""
        named: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: None if value is None else value[index] for name, value in named.items()
        }
        return PointCloud(**chosen)

    def features(self, names: Sequence[str], *, place: str = "cloud") -> NDArray[np.float32]:
        """(N, F) float32, the named channels side by side, as a backbone takes them; colours become -1..1.

        Args:
            names: of `CHANNELS`.
            place: names the cloud in an error.

        Raises:
            UserError: the cloud does not have one of them. Zeros are never put in its place.
        """
        have = ", ".join(channel for channel in CHANNELS if getattr(self, channel) is not None)
        if not names or set(names) - set(CHANNELS):
            raise UserError(f"channels {list(names)}: name some of {', '.join(CHANNELS)}")
        columns = []
        for name in names:
            if (values := getattr(self, name)) is None:
                advice = f"name channels that it has ({have})"
                if name == "normal":
                    advice = f"estimate normals with --normals estimate, or train on others of its {have}"
                raise UserError(f"{place}: has no {name}; {advice}")
            columns.append(values / np.float32(127.5) - 1 if name == "color" else values)
        return np.concatenate(columns, 1, dtype=np.float32)


CHANNELS = {"coord": 3, "color": 3, "normal": 3, "strength": 1}
"""what a backbone may take, with the columns of each"""

_CLOUD: dict[str, tuple[tuple[int, ...], Any]] = {
    **{name: ((columns,), np.float32) for name, columns in CHANNELS.items()},
    "semantic": ((), np.int64),
    "instance": ((), np.int64),
}


@dataclass(frozen=True)
class View:
    """One posed RGB-D image.

    Attributes:
        name: unique in its scene.
        color: (H, W, 3) uint8.
        depth: (H, W) float32 metres along the optical axis, 0 = none.
        label: (H, W) int64 class numbers, -1 ignored; or None.
        intrinsics: (3, 3) float64, pixels.
        camera_to_world: (4, 4) float64. As read it is rigid. An augmentation S makes it S times that, hence a
            similarity, perhaps mirrored; depth and intrinsics stay as they are, in the camera's own metres.
    """

    name: str
    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    label: NDArray[np.int64] | None
    intrinsics: NDArray[np.float64]
    camera_to_world: NDArray[np.float64]

    def moved(self, world: Array) -> "View":
        """The same view after the world went through `world`, a (4, 4) similarity: E becomes E S^-1."""
        return replace(self, camera_to_world=np.asarray(world, np.float64) @ self.camera_to_world)


class Scene(ABC):
    """One room, table or drive. Nothing is read before it is asked for, and nothing is ever written.

    Attributes:
        name: unique in its data set.
        dataset: the kind of data set, such as `scannet`: what prompted normalisation goes by.
        classes: names of the class numbers, if there are labels.
        kept: (L,) int64 numbers of points that no augmentation may drop, or None: the labelled points of
            limited annotations.
        fused: whether the cloud is made of the scene's views, so that of fewer views (`with_views`) it shows
            less; else it is the scene's own, whatever the views.
        skipped: reasons -> number of frames left out, shared with the `SceneList`. What a data loader's
            worker leaves out is counted in the worker.
        remarks: a line for each of them, shared likewise.
    """

    name: str
    dataset: str
    classes: tuple[str, ...] | None = None
    kept: NDArray[np.int64] | None = None

    def __init__(
        self,
        name: str,
        dataset: str,
        *,
        skipped: "Counter[str] | None" = None,
        remarks: list[str] | None = None,
    ) -> None:
        self.name, self.dataset = name, dataset
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        self.remarks: list[str] = [] if remarks is None else remarks
        self._up = UP

    @property
    def up(self) -> tuple[float, float, float]:
        """Where the world's "up" is, of length 1; +z unless it was set."""
        return self._up

    @up.setter
    def up(self, up: tuple[float, float, float]) -> None:
        self._up = up

    def leave_out(self, fault: BadFrame) -> None:
        """Count a frame that cannot be used, once, and note its file."""
        if (line := str(fault)) not in self.remarks:
            self.skipped[fault.reason] += 1
            self.remarks.append(line)

    @property
    def fused(self) -> bool:
        """Whether the cloud is made of the views; not so unless a reader says it."""
        return False

    @property
    def checked(self) -> bool:
        """Whether all its views were read before, and labels out of range refused, as `prepare` does."""
        return False

    @property
    @abstractmethod
    def view_names(self) -> tuple[str, ...]:
        """The views whose poses are sound, in order. Their depth is checked when a view is read."""

    @abstractmethod
    def cloud(self) -> PointCloud:
        """The point cloud, in the world of the poses.

        Raises:
            UserError: it cannot be read, or has labels out of range.
        """

    @abstractmethod
    def view(self, index: int) -> View:
        """View `view_names[index]`.

        Raises:
            BadFrame: it has no usable depth or colour; read another one.
        """

    def with_views(self, indices: Iterable[int]) -> "Scene":
        """The scene with some of its views only; a cloud that is fused from views is fused from those alone.

        Args:
            indices: numbers into `view_names`.
        """
        return ChosenViews(self, indices)


class ChosenViews(Scene):
    """A scene with some of its views; its own cloud stays whole (see `Scene.with_views`)."""

    def __init__(self, scene: Scene, indices: Iterable[int]) -> None:
        super().__init__(scene.name, scene.dataset, skipped=scene.skipped, remarks=scene.remarks)
        self.scene, self.indices = scene, check_indices(indices, len(scene.view_names), scene.name)
        self.up, self.classes, self.kept = scene.up, scene.classes, scene.kept

    @property
    def checked(self) -> bool:
        """As the scene."""
        return self.scene.checked

    @property
    def view_names(self) -> tuple[str, ...]:
        """The chosen ones, in the order of choice."""
        return tuple(self.scene.view_names[index] for index in self.indices)

    def cloud(self) -> PointCloud:
        """The scene's."""
        return self.scene.cloud()

    def view(self, index: int) -> View:
        """The scene's view of that name."""
        return self.scene.view(self.indices[index])


def check_indices(indices: Iterable[int], count: int, scene: str) -> tuple[int, ...]:
    """Numbers of views as a tuple.

    Raises:
        UserError: one is not below `count`, or there are none.
    """
    chosen = tuple(int(index) for index in indices)
    if not chosen:
        raise UserError(f"scene {scene}: no view is chosen")
    if wrong := [index for index in chosen if not 0 <= index < count]:
        raise UserError(f"scene {scene}: has {count} views, and none with number {wrong[0]}")
    return chosen


class SceneList(Sequence[Scene]):
    """Scenes of one or several data sets, in a fixed order.

    Args:
        scenes: the scenes.
        class_names: of each data set that has labels: data set -> names in the order of class numbers.
        skipped: reason -> frames or scenes that were left out; scenes that share this counter add to it.
        remarks: a line for each of them, with its file; shared likewise.
    """

    def __init__(
        self,
        scenes: Iterable[Scene],
        *,
        class_names: dict[str, tuple[str, ...]] | None = None,
        skipped: "Counter[str] | None" = None,
        remarks: list[str] | None = None,
    ) -> None:
        self._scenes = tuple(scenes)
        self.classes = dict(class_names or {})
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        self.remarks: list[str] = [] if remarks is None else remarks

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes, if all data sets here have the same ones; else None."""
        names = {self.classes.get(dataset) for dataset in self.datasets}
        return names.pop() if len(names) == 1 else None

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that the scenes come from, each once, in order."""
        return tuple(dict.fromkeys(scene.dataset for scene in self))

    @overload
    def __getitem__(self, index: int) -> Scene: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> "Scene | SceneList":
        if isinstance(index, slice):
            return self.of(self._scenes[index])
        return self._scenes[index]

    def __len__(self) -> int:
        return len(self._scenes)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self._scenes)

    def of(self, scenes: Iterable[Scene]) -> Self:
        """A list of other scenes with the same classes and the same counter."""
        return type(self)(scenes, class_names=self.classes, skipped=self.skipped, remarks=self.remarks)
