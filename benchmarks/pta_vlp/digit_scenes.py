"""Scenes of three handwritten digits, each bright in one of three degrees; questions ask how bright one is.

A scene has 48 x 48 pixels and 3 x 3 cells; three different digits of scikit-learn's `load_digits`, twice as
large, lie in three of them, on noise. Digits of test scenes are in no training scene. Source: ours.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator
from pta_vlp.scenes import Scenes

SIDE = 48
"""of a scene, pixels"""
CELL = 16
"""side of a digit's cell, pixels; a scene has 3 x 3 of them"""
DIGITS = 10
IN_SCENE = 3
"""digits of a scene"""
LEVELS = (0.4, 0.7, 1.0)
"""brightness of a digit's lightest pixel: the answers"""
NOISE = 0.1
"""standard deviation"""
TEST = 1 / 3
"""share of the digit images that only test scenes show"""


def digit_scenes(count: int, seed: int, *, part: str = "train") -> Scenes:
    """Draw scenes.

    Args:
        count: how many.
        seed: of everything, the division of the digit images too.
        part: "train" or "test": whose digits are shown.
    """
    pixels, labels = _digits(seed, part)
    random = generator(seed, "digit scenes", part)
    kinds = random.random((count, DIGITS)).argsort(1)[:, :IN_SCENE]
    cells = random.random((count, (SIDE // CELL) ** 2)).argsort(1)[:, :IN_SCENE]
    answers = random.integers(0, len(LEVELS), (count, IN_SCENE))
    canvas = random.normal(0, NOISE, (count, SIDE, SIDE)).astype(np.float32)
    y, x = cells // (SIDE // CELL) * CELL, cells % (SIDE // CELL) * CELL
    for place in range(IN_SCENE):
        shown = np.stack([random.choice(np.flatnonzero(labels == kind)) for kind in kinds[:, place]])
        rows, columns = y[:, place, None] + np.arange(CELL), x[:, place, None] + np.arange(CELL)
        drawn = pixels[shown] * np.array(LEVELS, np.float32)[answers[:, place], None, None]
        canvas[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None]] += drawn
    boxes = np.full((count, IN_SCENE, 4), CELL, np.float32)
    boxes[..., 0], boxes[..., 1] = x, y
    images = np.repeat(((canvas - 0.1) / 0.25)[:, None], 3, 1).astype(np.float32)
    return Scenes(images, kinds, answers, boxes)


@cache
def _digits(seed: int, part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Digits of a part: (n, 16, 16) in 0..1, and their values (n,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = generator(seed, "digits").permutation(len(digits.target))
    cut = round(len(order) * TEST)
    chosen = order[:cut] if part == "test" else order[cut:]
    large = digits.images[chosen].repeat(2, axis=1).repeat(2, axis=2) / digits.images.max()
    return large.astype(np.float32), digits.target[chosen].astype(np.int64)
