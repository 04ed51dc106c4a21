"""Shapes of a few strokes, turned, shifted and thinned at random: what made-up scenes consist of (ours)."""

import numpy as np
from numpy.typing import NDArray

# Shapes: n scenes, m things in each, cells of 16 x 16 pixels.

_TURN = np.linspace(0, 2 * np.pi, 13)

SHAPES: dict[str, list[list[tuple[float, float]]]] = {
    "ring": [[(float(np.cos(a)), float(np.sin(a))) for a in _TURN]],
    "square": [[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9), (-0.9, -0.9)]],
    "triangle": [[(0, -1), (1, 0.9), (-1, 0.9), (0, -1)]],
    "bar": [[(0, -1), (0, 1)]],
    "plus": [[(0, -1), (0, 1)], [(-1, 0), (1, 0)]],
    "cross": [[(-0.9, -0.9), (0.9, 0.9)], [(0.9, -0.9), (-0.9, 0.9)]],
    "tee": [[(-1, -0.9), (1, -0.9)], [(0, -0.9), (0, 1)]],
    "corner": [[(-0.7, -1), (-0.7, 0.9), (0.9, 0.9)]],
    "zigzag": [[(-0.9, -0.9), (0.9, -0.9), (-0.9, 0.9), (0.9, 0.9)]],
    "wedge": [[(-0.9, -0.9), (0, 0.9), (0.9, -0.9)]],
}
"""strokes of each kind, (x, y) in -1..1"""

CELL = 16
"""side of a shape's cell, pixels"""


def shapes(
    kinds: NDArray[np.int64], random: np.random.Generator, *, alike: bool = False
) -> NDArray[np.float32]:
    """Shapes, each in a cell of its own.

    Args:
        kinds: (n, m), numbers in `SHAPES`.
        random: of turns, sizes, slants and places.
        alike: these vary half as much, about as the digits of one writer do.

    Returns:
        (n, m, 16, 16) in 0..1.
    """
    turned, sizes, slanted, moved = (0.15, (5.0, 6.2), 0.15, 1) if alike else (0.35, (3.8, 5.6), 0.25, 1.5)
    flat = kinds.ravel()
    count = len(flat)
    angle, size = random.uniform(-turned, turned, count), random.uniform(*sizes, count)
    slant, ones = random.uniform(-slanted, slanted, count), np.ones(count)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    turn = turn @ np.stack([ones, slant, 0 * ones, ones], 1).reshape(-1, 2, 2) * size[:, None, None]
    middle = (CELL - 1) / 2 + random.uniform(-moved, moved, (count, 1, 2))
    pen = _pen(count, random)
    drawn = np.zeros((count, CELL, CELL), np.float32)
    for kind, lines in enumerate(SHAPES.values()):
        mine = np.flatnonzero(flat == kind)
        starts = np.array([point for line in lines for point in line[:-1]])
        ends = np.array([point for line in lines for point in line[1:]])
        places = [points @ turn[mine].mT + middle[mine] for points in (starts, ends)]
        drawn[mine] = _strokes(places[0], places[1], pen[mine])
    return drawn.reshape(*kinds.shape, CELL, CELL)


def fragments(count: int, cells: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Two short strokes anywhere in each cell, for clutter: (count, cells, 16, 16) in 0..1."""
    starts = random.uniform(1, CELL - 2, (count * cells, 2, 2))
    ends = starts + random.uniform(-6, 6, starts.shape)
    return _strokes(starts, ends, _pen(len(starts), random)).reshape(count, cells, CELL, CELL)


def _pen(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Half the thickness in pixels, and brightness: (count, 2)."""
    return random.uniform((1.1, 0.6), (1.7, 1.0), (count, 2))


def _strokes(
    starts: NDArray[np.float64], ends: NDArray[np.float64], pen: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Lines from starts to ends (n, m, 2), as (x, y), to cells (n, 16, 16)."""
    rows, columns = np.mgrid[:CELL, :CELL].astype(np.float32)
    distance = np.full((len(starts), CELL, CELL), np.inf, np.float32)
    for line in range(starts.shape[1]):
        (x, y), (right, down) = (
            each[:, line].astype(np.float32).T[..., None, None] for each in (starts, ends - starts)
        )
        across, up = columns - x, rows - y
        share = np.clip((across * right + up * down) / np.maximum(right**2 + down**2, 1e-9), 0, 1)
        distance = np.minimum(distance, np.hypot(across - share * right, up - share * down))
    thick, bright = pen.astype(np.float32).T[..., None, None]
    drawn: NDArray[np.float32] = np.clip(thick - distance, 0, 1) * bright
    return drawn
