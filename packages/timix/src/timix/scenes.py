"""Made-up pictures of a few shapes among clutter, with captions and boxes, for demo and experiments (ours).

A scene has three of ten shapes, each in a cell of its own, turned, shifted and thinned at random, and in
three other cells fragments of strokes; noise lies on everything. Its caption names the shapes in any order.
Some captions may be wrong: drawn for a scene that is not there. Everything is a function of the seed.
"""

import json
from itertools import combinations_with_replacement
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator
from nonet.vision_language.drawn_shapes import CELL, SHAPES, fragments, shapes

# Shapes: n scenes, 3 shapes each, K = 10 kinds.

SIDE = 48
"""of a scene, pixels"""
CELLS = (SIDE // CELL) ** 2
"""of a scene, 3 x 3"""
FRAGMENTS = 3
"""cells with fragments in a scene; the others are empty"""
NOISE = 0.05
"""deviation of what is added to each pixel, where 1 is white"""
IN_SCENE = 3
"""shapes of a scene"""
FIRST_WORD = 3
"""number of the first shape's word; before it are padding, [CLS] and [SEP]"""

ALL = list(combinations_with_replacement(range(len(SHAPES)), IN_SCENE))
"""every caption there can be, whatever its order: 220"""


class Scenes(NamedTuple):
    """Scenes in arrays.

    Attributes:
        images: (n, 3, 48, 48) float32, about 0 with deviation about 1.
        kinds: (n, 3) int64, the shapes that are there.
        told: (n, 3) int64, the shapes that the caption names, in its order.
        boxes: (n, 3, 4) float32 xywh pixels, of `kinds`.
        wrong: (n,) bool, the caption is that of another scene.
    """

    images: NDArray[np.float32]
    kinds: NDArray[np.int64]
    told: NDArray[np.int64]
    boxes: NDArray[np.float32]
    wrong: NDArray[np.bool_]


def make_scenes(count: int, seed: int, *, part: str = "train", wrong: float = 0.0) -> Scenes:
    """Draw scenes.

    Args:
        count: how many.
        seed: of everything.
        part: names a stream of its own: scenes of other parts are others.
        wrong: share of the captions that are drawn at random, 0..1.
    """
    random = generator(seed, "scenes", part)
    kinds = random.integers(0, len(SHAPES), (count, IN_SCENE))
    cells = random.random((count, CELLS)).argsort(1)
    contents = np.concatenate([shapes(kinds, random, alike=True), fragments(count, FRAGMENTS, random)], 1)
    return compose(kinds, contents, cells, random, wrong=wrong)


def compose(
    kinds: NDArray[np.int64], contents: NDArray[np.float32], cells: NDArray[np.int64],
    random: np.random.Generator, *, wrong: float = 0.0,
) -> Scenes:  # fmt: skip
    """Put scenes together: contents into cells, noise over them, captions beside them.

    Args:
        kinds: (n, 3) in 0..9, of the first three contents.
        contents: (n, m, 16, 16) in 0..1, m at most 9.
        cells: (n, 9), an order of the cells, which are numbered row by row: content i is in the i-th one.
        random: what is left to chance.
        wrong: share of the captions that are drawn at random, 0..1.
    """
    count = len(kinds)
    y, x = cells // 3 * CELL, cells % 3 * CELL
    boxes = np.full((count, IN_SCENE, 4), CELL, np.float32)
    boxes[..., 0], boxes[..., 1] = x[:, :IN_SCENE], y[:, :IN_SCENE]
    canvas = np.zeros((count, SIDE, SIDE), np.float32)
    for place in range(contents.shape[1]):
        rows, columns = y[:, place, None] + np.arange(CELL), x[:, place, None] + np.arange(CELL)
        canvas[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None]] = contents[:, place]
    canvas += random.normal(0, NOISE, canvas.shape).astype(np.float32)
    told = random.permuted(kinds, axis=1)
    bad = np.zeros(count, np.bool_)
    bad[random.permutation(count)[: round(wrong * count)]] = True
    told[bad] = random.integers(0, len(SHAPES), (int(bad.sum()), IN_SCENE))
    images = np.repeat(((canvas - 0.2) / 0.35)[:, None], 3, 1).astype(np.float32)
    return Scenes(images, kinds, told, boxes, bad)


def words(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kinds (n, m) to word numbers (n, m + 1), [CLS] in front."""
    return np.concatenate([np.ones_like(kinds[:, :1]), kinds + FIRST_WORD], 1)


def numbers(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kinds (n, 3) in any order to the number (n,) of their caption in `ALL`."""
    places = {each: place for place, each in enumerate(ALL)}
    return np.array([places[tuple(each)] for each in np.sort(kinds, 1).tolist()], np.int64)


def caption(kinds: NDArray[np.int64]) -> str:
    """Kinds (3,) to a sentence."""
    return " and ".join(f"a {list(SHAPES)[kind]}" for kind in kinds)


def as_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images as a scene has them to (n, 3, 48, 48) grey values."""
    return (np.clip(images * 0.35 + 0.2, 0, 1) * 255).round().astype(np.uint8)


def write_scenes(folder: Path | str, count: int = 100, seed: int = 0, *, wrong: float = 0.0) -> Path:
    """Write pictures, `pairs.jsonl` and `regions.jsonl`, as `timix pretrain` reads them; the folder."""
    from PIL import Image

    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    scenes = make_scenes(count, seed, wrong=wrong)
    names = list(SHAPES)
    pairs, regions = [], []
    for number, pixels in enumerate(as_pixels(scenes.images)):
        image = f"images/{number}.png"
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / image)
        pairs.append({"image": image, "caption": caption(scenes.told[number])})
        found = zip(scenes.boxes[number].tolist(), scenes.kinds[number], strict=True)
        regions.append(
            {"image": image, "elems": [{"bb": box, "caption": f"a {names[kind]}"} for box, kind in found]}
        )
    for name, rows in (("pairs", pairs), ("regions", regions)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder
