"""Made-up rooms with exact depth, colours, labels, objects and poses, for tests and the demo (ours).

A room is a floor and four walls, open above, with boxes, cylinders and spheres that stand on the floor. Views
are cast ray by ray in closed form, the cloud is drawn from the visible surfaces, and the distance to the
nearest surface is known everywhere in the room. The colour of a place does not depend on who looks at it. All
is a function of the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator
from nonet.errors import UserError
from ponderv2.cameras import directions, look_at, pinhole
from ponderv2.read_options import ReadOptions
from ponderv2.scenes import IGNORED, Array, PointCloud, Scene, SceneList, View
from ponderv2.solids import Box, Cylinder, Room, Solid, Sphere

# Shapes: P rays or points, S surfaces: floor, walls, then the solids.

CLASSES = ("floor", "wall", "box", "cylinder", "sphere")
DATASET = "synthetic"
SIZE = (64, 48)
"""of a view, pixels"""
FIELD_OF_VIEW = 75.0
"""degrees, horizontal"""
POINTS = 20_000
"""of a cloud"""
SKY = (135, 175, 220)
"""the colour of what is not there"""

_LIGHT = np.array([0.35, 0.2, 0.92])
_CLEARANCE = 0.3  # metres between a camera and any surface, at least


class MadeUpScene(Scene):
    """A made-up room as a scene.

    Args:
        name: of the scene.
        room: its shape.
        colors: (S, 3) 0..255 of floor, wall and each solid.
        poses: camera-to-world matrices.
        size: (width, height) of a view in pixels.
        points: of the cloud.
        seed: of the cloud.
    """

    def __init__(
        self,
        name: str,
        room: Room,
        *,
        colors: Array,
        poses: Sequence[NDArray[np.float64]],
        size: tuple[int, int] = SIZE,
        points: int = POINTS,
        seed: int = 0,
    ) -> None:
        super().__init__(name, DATASET)
        self.classes = CLASSES
        self.room, self.poses, self.size = room, list(poses), size
        self.intrinsics = pinhole(*size, FIELD_OF_VIEW)
        self._colors, self._points, self._seed = np.asarray(colors, np.float64), points, seed

    @property
    def view_names(self) -> tuple[str, ...]:
        """`000000`, `000001`, ..."""
        return tuple(f"{number:06d}" for number in range(len(self.poses)))

    def view(self, index: int) -> View:
        """The view, cast anew each time: some milliseconds for 64 x 48 pixels."""
        return self.seen_from(self.poses[index], name=self.view_names[index])

    def seen_from(
        self,
        pose: NDArray[np.float64],
        intrinsics: NDArray[np.float64] | None = None,
        size: tuple[int, int] | None = None,
        *,
        name: str = "view",
    ) -> View:
        """What a camera anywhere in the room sees, exactly.

        Args:
            pose: (4, 4) camera-to-world.
            intrinsics: (3, 3) pixels; by default those of the scene's views.
            size: (width, height) pixels, likewise.
            name: of the view.
        """
        width, height = size or self.size
        camera = self.intrinsics if intrinsics is None else intrinsics
        v, u = np.divmod(np.arange(width * height), width)
        empty = np.zeros((height, width), np.float32)
        view = View(name, np.zeros((height, width, 3), np.uint8), empty, None, camera, pose)
        steps = directions(view, u, v)
        depth, surface, normal = self.room.cast(pose[:3, 3], steps)
        hit = surface >= 0
        color = np.tile(np.array(SKY, np.float64), (len(depth), 1))
        color[hit] = self.shade(pose[:3, 3] + steps[hit] * depth[hit, None], normal[hit], surface[hit])
        label = np.where(hit, self.room.labels[surface], IGNORED)
        return View(
            name,
            color.round().astype(np.uint8).reshape(height, width, 3),
            np.where(hit, depth, 0).astype(np.float32).reshape(height, width),
            label.reshape(height, width),
            camera,
            pose,
        )

    def shade(self, points: Array, normals: Array, surface: Array) -> NDArray[np.float64]:
        """(P, 3) colours 0..255 of places on surfaces: the surface's own, a soft pattern, and fixed light."""
        pattern = np.sin(points * (2 * np.pi / 0.9)).sum(1) / 3
        light = 0.65 + 0.35 * np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
        return np.clip(self._colors[surface] * ((0.85 + 0.15 * pattern) * light)[:, None], 0, 255)

    def cloud(self) -> PointCloud:
        """Points on all surfaces that a camera could see, equally dense, the same each time."""
        return self._cloud

    @cached_property
    def _cloud(self) -> PointCloud:
        random = generator(self._seed, "made-up cloud", self.name)
        points, normals, surface = self.room.sample(self._points, random)
        return PointCloud(
            coord=points.astype(np.float32),
            color=self.shade(points, normals, surface).astype(np.float32),
            normal=normals.astype(np.float32),
            semantic=self.room.labels[surface],
            instance=np.where(surface >= 2, surface - 2, IGNORED),
        )

    def sdf(self, points: Array) -> NDArray[np.float64]:
        """(P,) metres to the nearest surface, positive in free space; exact within the room."""
        return self.room.sdf(points)


@dataclass(frozen=True)
class RoomOptions:
    """How rooms are made.

    Attributes:
        side: metres, from and to, of the floor's sides.
        height: metres of the walls.
        solids: how many, from and to.
    """

    side: tuple[float, float] = (3.5, 5.0)
    height: float = 2.4
    solids: tuple[int, int] = (4, 7)


def make_room(
    seed: int,
    *,
    views: int = 8,
    size: tuple[int, int] = SIZE,
    points: int = POINTS,
    options: RoomOptions | None = None,
    name: str | None = None,
) -> MadeUpScene:
    """One room.

    Args:
        seed: of everything.
        views: cameras in it.
        size: (width, height) of a view in pixels.
        points: of its cloud.
        options: of the room's shape.
        name: by default `roomSEED` with four digits.
    """
    options = options or RoomOptions()
    random = generator(seed, "made-up room")
    width, length = random.uniform(*options.side, 2)
    solids = _furniture(width, length, int(random.integers(options.solids[0], options.solids[1] + 1)), random)
    room = Room(float(width), float(length), options.height, solids)
    colors = np.concatenate([random.uniform(110, 190, (2, 3)), _vivid(len(solids), random)])
    return MadeUpScene(
        name or f"room{seed:04d}",
        room,
        colors=colors,
        poses=_poses(room, views, random),
        size=size,
        points=points,
        seed=seed,
    )


def make_rooms(
    count: int,
    *,
    seed: int = 0,
    views: int = 8,
    size: tuple[int, int] = SIZE,
    points: int = POINTS,
    options: RoomOptions | None = None,
) -> SceneList:
    """Several rooms: those of the seeds `seed`, `seed` + 1, and so on; see `make_room`."""
    scenes = [
        make_room(seed + number, views=views, size=size, points=points, options=options)
        for number in range(count)
    ]
    return SceneList(scenes, class_names={DATASET: CLASSES})


def _furniture(width: float, length: float, count: int, random: np.random.Generator) -> list[Solid]:
    """Solids on the floor that do not touch each other or a wall; each kind comes in turn."""
    placed: list[tuple[float, float, float]] = []
    solids: list[Solid] = []
    for number in range(count):
        for _ in range(100):
            radius = random.uniform(0.25, 0.5)
            x, y = random.uniform(radius + 0.05, (width - radius - 0.05, length - radius - 0.05))
            if all(np.hypot(x - other, y - at) > radius + extent + 0.05 for other, at, extent in placed):
                placed.append((x, y, radius))
                break
        else:  # the floor is full
            break
        if number % 3 == 0:
            angle, turn = random.uniform(0.55, 1.0), random.uniform(0, np.pi)
            sides = radius * np.cos(angle), radius * np.sin(angle)  # half of them: the diagonal is the radius
            solids.append(Box(x, y, *sides, random.uniform(0.4, 1.2), turn))
        elif number % 3 == 1:
            solids.append(Cylinder(x, y, radius * 0.8, random.uniform(0.4, 1.2)))
        else:
            solids.append(Sphere(x, y, radius * 0.8))
    return solids


def _vivid(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(count, 3) colours, no two alike: hues apart by the golden ratio."""
    hue = (random.random() + np.arange(count) * 0.618034) % 1
    return 60 + 180 * np.clip(np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)


def _poses(room: Room, count: int, random: np.random.Generator) -> list[NDArray[np.float64]]:
    """Cameras around the middle of the room that look across it, each clear of all surfaces."""
    middle = np.array([room.width / 2, room.length / 2, 0])
    poses = []
    for number in range(count):
        for attempt in range(200):
            angle = 2 * np.pi * (number + random.uniform(-0.3, 0.3)) / count + 0.1 * attempt
            around = np.array([np.cos(angle) * room.width, np.sin(angle) * room.length, 0])
            eye = middle + around * random.uniform(0.25, 0.38) + (0, 0, random.uniform(1.2, 1.8))
            if room.sdf(eye[None])[0] > _CLEARANCE:
                break
        target = middle - around * random.uniform(0, 0.2) + (0, 0, random.uniform(0.2, 0.7))
        poses.append(look_at(eye, target))
    return poses


def open_synthetic(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """Rooms by the words of `synthetic:COUNT[:SEED]`; they need no file.

    Args:
        path: how many.
        split: the first seed; 0 by default.
        options: nothing of it matters.

    Raises:
        UserError: these are no numbers.
    """
    count, seed = str(path), split or "0"
    if not (count.isdigit() and seed.isdigit() and int(count)):
        raise UserError(f"synthetic:{count}:{seed}: give synthetic:COUNT[:SEED] with whole numbers")
    return make_rooms(int(count), seed=int(seed))
