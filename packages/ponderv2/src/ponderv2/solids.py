"""Boxes, cylinders and spheres in a room: rays cast, distances and surface points in closed form (ours)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ponderv2.scenes import Array

# Shapes: P rays or points.

_OFF = 1e-3  # metres in front of a surface where there must be air for a point on it to be seen


class Cast(NamedTuple):
    """Where rays end.

    Attributes:
        depth: (P,) float64 lengths in units of the ray's step; infinite without a hit.
        surface: (P,) int64 number of the surface, -1 without a hit.
        normal: (P, 3) float64 into the room; zero without a hit.
    """

    depth: NDArray[np.float64]
    surface: NDArray[np.int64]
    normal: NDArray[np.float64]


class Solid(Protocol):
    """Something that stands on the floor."""

    @property
    def label(self) -> int:
        """Its class number."""

    def cast(self, origin: Array, steps: Array) -> tuple[Array, Array]:
        """(P,) lengths, infinite without a hit, and (P, 3) outward normals where there is one."""

    def sdf(self, points: Array) -> Array:
        """(P,) metres to the surface, negative inside."""

    @property
    def area(self) -> float:
        """Square metres of what can be seen of it: all but what touches the floor."""

    def sample(self, count: int, random: np.random.Generator) -> tuple[Array, Array]:
        """(count, 3) points equally dense on that area, and their outward normals."""


@dataclass(frozen=True)
class Sphere:
    """It touches the floor below its centre."""

    x: float
    y: float
    radius: float
    label: int = 4

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) metres."""
        return np.array([self.x, self.y, self.radius])

    def cast(self, origin: Array, steps: Array) -> tuple[Array, Array]:
        """The nearer of both hits."""
        away = origin - self.centre
        a, b = (steps**2).sum(1), steps @ away
        depth = _first_root(a, b, away @ away - self.radius**2)
        hit = np.where(np.isfinite(depth), depth, 0)
        return depth, (away + steps * hit[:, None]) / self.radius

    def sdf(self, points: Array) -> Array:
        """Exact."""
        return np.linalg.norm(points - self.centre, axis=1) - self.radius

    @property
    def area(self) -> float:
        """Of the whole sphere."""
        return 4 * np.pi * self.radius**2

    def sample(self, count: int, random: np.random.Generator) -> tuple[Array, Array]:
        """By normalised normal draws."""
        normals = random.standard_normal((count, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return self.centre + normals * self.radius, normals


@dataclass(frozen=True)
class Cylinder:
    """It stands upright on the floor."""

    x: float
    y: float
    radius: float
    height: float
    label: int = 3

    def cast(self, origin: Array, steps: Array) -> tuple[Array, Array]:
        """The side or the top, whichever is nearer."""
        away = origin[:2] - (self.x, self.y)
        a, b = (steps[:, :2] ** 2).sum(1), steps[:, :2] @ away
        side = _first_root(a, b, away @ away - self.radius**2)
        at = np.where(np.isfinite(side), side, 0)
        z = origin[2] + steps[:, 2] * at
        side = np.where((z >= 0) & (z <= self.height), side, np.inf)
        radial = (away + steps[:, :2] * at[:, None]) / self.radius
        with np.errstate(divide="ignore", invalid="ignore"):
            top = (self.height - origin[2]) / steps[:, 2]
            on = away + steps[:, :2] * top[:, None]
            top = np.where((top > 0) & ((on**2).sum(1) <= self.radius**2), top, np.inf)
        normal = np.concatenate([radial, np.zeros((len(steps), 1))], 1)
        normal[top < side] = (0, 0, 1)
        return np.minimum(side, top), normal

    def sdf(self, points: Array) -> Array:
        """Exact."""
        across = np.hypot(points[:, 0] - self.x, points[:, 1] - self.y) - self.radius
        along = np.abs(points[:, 2] - self.height / 2) - self.height / 2
        return _corner(np.stack([across, along], 1))

    @property
    def area(self) -> float:
        """Side and top."""
        return 2 * np.pi * self.radius * self.height + np.pi * self.radius**2

    def sample(self, count: int, random: np.random.Generator) -> tuple[Array, Array]:
        """Side and top by their areas."""
        angle, height = random.uniform(0, 2 * np.pi, count), random.uniform(0, self.height, count)
        top = random.random(count) * self.area < np.pi * self.radius**2
        radius = np.where(top, self.radius * np.sqrt(random.random(count)), self.radius)
        ring = np.stack([np.cos(angle), np.sin(angle)], 1)
        points = np.column_stack(
            [ring * radius[:, None] + (self.x, self.y), np.where(top, self.height, height)]
        )
        normals = np.column_stack([ring, np.zeros(count)])
        normals[top] = (0, 0, 1)
        return points, normals


@dataclass(frozen=True)
class Box:
    """It stands on the floor, turned about z; `along` and `across` are half its sides."""

    x: float
    y: float
    along: float
    across: float
    height: float
    turn: float
    label: int = 2

    def cast(self, origin: Array, steps: Array) -> tuple[Array, Array]:
        """By slabs, in the box's own axes."""
        half, middle = self._half, self._middle
        axes = self._axes
        start, inner = axes @ (origin - middle), steps @ axes.T
        with np.errstate(divide="ignore", invalid="ignore"):
            near, far = (-np.sign(inner) * half - start) / inner, (np.sign(inner) * half - start) / inner
        outside = (inner == 0) & (np.abs(start) > half)
        near = np.where(inner == 0, -np.inf, near)
        far = np.where(inner == 0, np.inf, far)
        axis = near.argmax(1)
        enter = near[np.arange(len(steps)), axis]
        hit = (enter > 0) & (enter <= far.min(1)) & ~outside.any(1)
        normal = -np.sign(inner[np.arange(len(steps)), axis])[:, None] * axes[axis]
        return np.where(hit, enter, np.inf), normal

    def sdf(self, points: Array) -> Array:
        """Exact."""
        return _corner(np.abs((points - self._middle) @ self._axes.T) - self._half)

    @property
    def area(self) -> float:
        """Four sides and the top."""
        return float(self._areas.sum())

    def sample(self, count: int, random: np.random.Generator) -> tuple[Array, Array]:
        """Faces by their areas."""
        face = random.choice(5, count, p=self._areas / self._areas.sum())
        inner = random.uniform(-1, 1, (count, 3)) * self._half
        axis, side = np.array([0, 0, 1, 1, 2])[face], np.array([-1.0, 1, -1, 1, 1])[face]
        inner[np.arange(count), axis] = side * self._half[axis]
        return inner @ self._axes + self._middle, side[:, None] * self._axes[axis]

    @property
    def _half(self) -> NDArray[np.float64]:
        return np.array([self.along, self.across, self.height / 2])

    @property
    def _middle(self) -> NDArray[np.float64]:
        return np.array([self.x, self.y, self.height / 2])

    @property
    def _axes(self) -> NDArray[np.float64]:
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1.0]])

    @property
    def _areas(self) -> NDArray[np.float64]:
        x, y, z = 2 * self._half
        return np.array([y * z, y * z, x * z, x * z, x * y])


@dataclass(frozen=True)
class Room:
    """A floor from (0, 0) to (width, length), walls of `height` around it, and solids on it.

    Surfaces are numbered: 0 the floor, 1 the walls, 2 and on the solids.
    """

    width: float
    length: float
    height: float
    solids: Sequence[Solid]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(S,) class number of each surface."""
        return np.array([0, 1, *(solid.label for solid in self.solids)])

    def cast(self, origin: Array, steps: Array) -> Cast:
        """Where rays end that begin in the room.

        Args:
            origin: (3,) metres.
            steps: (P, 3), need not have length 1.
        """
        depth = np.full(len(steps), np.inf)
        surface = np.full(len(steps), -1)
        normal = np.zeros((len(steps), 3))
        extent = np.array([self.width, self.length])
        with np.errstate(divide="ignore", invalid="ignore"):
            walls = np.where(steps[:, :2] > 0, extent - origin[:2], -origin[:2]) / steps[:, :2]
            walls = np.where(steps[:, :2] == 0, np.inf, walls)
            floor = np.where(steps[:, 2] < 0, -origin[2] / steps[:, 2], np.inf)
        axis = walls.argmin(1)
        wall = walls.min(1)
        below = origin[2] + steps[:, 2] * wall <= self.height
        inward = np.zeros((len(steps), 3))
        inward[np.arange(len(steps)), axis] = -np.sign(steps[np.arange(len(steps)), axis])
        ends = [(floor, np.broadcast_to((0, 0, 1.0), steps.shape)), (np.where(below, wall, np.inf), inward)]
        ends += [solid.cast(origin, steps) for solid in self.solids]
        for number, (end, outward) in enumerate(ends):
            nearer = end < depth
            depth[nearer], surface[nearer], normal[nearer] = end[nearer], number, outward[nearer]
        return Cast(depth, surface, normal)

    def sdf(self, points: Array) -> NDArray[np.float64]:
        """(P,) metres to the nearest surface, negative in solids and beyond floor and walls."""
        points = np.asarray(points, np.float64)
        x, y, z = points.T
        walls = [z, x, self.width - x, y, self.length - y]
        return np.min([*walls, *(solid.sdf(points) for solid in self.solids)], 0)

    def sample(self, count: int, random: np.random.Generator) -> tuple[Array, Array, Array]:
        """Points equally dense on all surfaces that face the air.

        Returns:
            (count, 3) points, (count, 3) normals towards the air, (count,) int64 surfaces.
        """
        sides = np.array([self.width, self.length, self.width, self.length])
        areas = np.array(
            [self.width * self.length, sides.sum() * self.height, *(s.area for s in self.solids)]
        )
        found: list[tuple[Array, Array, Array]] = []
        have = 0
        while have < count:
            part = self._sample_all(int(1.3 * (count - have)) + 16, areas, sides, random)
            points, normals, _ = part
            free = self.sdf(points + _OFF * normals) > 0
            found.append(tuple(column[free] for column in part))  # type: ignore[arg-type]
            have += int(free.sum())
        points, normals, surface = (np.concatenate(columns)[:count] for columns in zip(*found, strict=True))
        return points, normals, surface

    def _sample_all(
        self, count: int, areas: Array, sides: Array, random: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Points of all surfaces, hidden ones too, in random order."""
        surface = random.choice(len(areas), count, p=areas / areas.sum())
        points, normals = np.zeros((count, 3)), np.zeros((count, 3))
        for number in range(len(areas)):
            mine = surface == number
            many = int(mine.sum())
            if number == 0:
                points[mine, :2] = random.random((many, 2)) * (self.width, self.length)
                normals[mine] = (0, 0, 1)
            elif number == 1:
                points[mine], normals[mine] = self._sample_walls(many, sides, random)
            else:
                points[mine], normals[mine] = self.solids[number - 2].sample(many, random)
        return points, normals, surface

    def _sample_walls(self, count: int, sides: Array, random: np.random.Generator) -> tuple[Array, Array]:
        wall = random.choice(4, count, p=sides / sides.sum())
        along, z = random.random(count) * sides[wall], random.uniform(0, self.height, count)
        x = np.choose(wall, [along, np.full(count, self.width), along, np.zeros(count)])
        y = np.choose(wall, [np.zeros(count), along, np.full(count, self.length), along])
        inward = np.array([[0, 1, 0], [-1, 0, 0], [0, -1, 0], [1, 0, 0.0]])
        return np.column_stack([x, y, z]), inward[wall]


def _first_root(a: Array, b: Array, c: Any) -> Array:
    """The smaller root of a t^2 + 2 b t + c if it is positive, else infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        root = (-b - np.sqrt(b * b - a * c)) / a
    return np.where(root > 0, root, np.inf)  # NaN compares false


def _corner(beyond: Array) -> Array:
    """Distance to a box (or the like) from how far a point is beyond each pair of its faces."""
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(1), 0)
