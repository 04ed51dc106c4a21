"""Drawn shapes: strokes against points along them, and what is random."""

import numpy as np

from nonet.vision_language import drawn_shapes
from nonet.vision_language.drawn_shapes import CELL, SHAPES, fragments, shapes


def test_a_pixel_is_as_bright_as_it_is_near_to_a_stroke():
    random = np.random.default_rng(0)
    starts, ends = random.uniform(0, 15, (2, 4, 3, 2))
    pen = np.column_stack([random.uniform(0.8, 2, 4), random.uniform(0.3, 1, 4)])
    drawn = drawn_shapes._strokes(starts, ends, pen)
    along = np.linspace(0, 1, 2001)[:, None]
    for cell in range(4):
        points = np.concatenate([a + along * (b - a) for a, b in zip(starts[cell], ends[cell], strict=True)])
        for row in range(0, CELL, 3):
            for column in range(CELL):
                distance = np.hypot(*(points - (column, row)).T).min()
                expected = min(max(pen[cell, 0] - distance, 0), 1) * pen[cell, 1]
                assert abs(drawn[cell, row, column] - expected) < 0.01


def test_shapes_lie_in_their_cells_and_differ_within_a_kind():
    kinds = np.arange(len(SHAPES)).repeat(6).reshape(-1, 3)
    drawn = shapes(kinds, np.random.default_rng(0))
    assert drawn.shape == (*kinds.shape, CELL, CELL)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn.max((-1, -2)) > 0.4).all()
    flat = drawn.reshape(len(SHAPES), 6, -1)
    assert all(not np.array_equal(own[0], own[1]) for own in flat)
    again = shapes(kinds, np.random.default_rng(0))
    assert np.array_equal(drawn, again)


def test_a_mean_picture_of_its_kind_is_the_nearest_for_most_shapes():
    """Kinds can be told apart at all: by the nearest of the kinds' mean pictures far more than by chance."""
    kinds = np.tile(np.arange(len(SHAPES)), 200).reshape(-1, 1)
    drawn = shapes(kinds, np.random.default_rng(1)).reshape(len(kinds), -1)
    means = np.stack([drawn[:1000][kinds[:1000, 0] == kind].mean(0) for kind in range(len(SHAPES))])
    rest = drawn[1000:] - drawn[1000:].mean(1, keepdims=True)
    nearest = (rest @ (means - means.mean(1, keepdims=True)).T / np.linalg.norm(means, axis=1)).argmax(1)
    assert (nearest == kinds[1000:, 0]).mean() > 0.5  # chance is 0.1


def test_fragments_are_fainter_clutter_in_every_cell():
    made = fragments(5, 7, np.random.default_rng(0))
    assert made.shape == (5, 7, CELL, CELL)
    assert 0 < made.mean() < shapes(np.zeros((50, 1), np.int64), np.random.default_rng(0)).mean()
    assert (made.reshape(35, -1).max(1) > 0.3).all()
