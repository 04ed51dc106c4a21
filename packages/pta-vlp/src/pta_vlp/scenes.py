"""Made-up pictures of coloured shapes among clutter, with questions and boxes, for the demo (ours).

A scene has three different shapes of ten, each in a cell of its own and in one of three colours, turned,
shifted and thinned at random, on noise, with coloured fragments of strokes in the other cells. A question
names a shape; the answer is its colour. Whoever cannot tell the shapes apart can only guess among the colours
that are there. Everything is a function of the seed.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator
from nonet.vision_language.drawn_shapes import CELL, SHAPES, fragments, shapes

# Shapes: n scenes of M = 3 things.

SIDE = 64
"""of a scene, pixels: 4 x 4 cells"""
IN_SCENE = 3
"""shapes of a scene"""
COLOURS = {"red": (1.0, 0.25, 0.2), "green": (0.2, 0.9, 0.3), "blue": (0.3, 0.45, 1.0)}
"""the answers, with their red, green and blue in 0..1"""
NOISE = 0.12
"""standard deviation of the light"""
MEAN, DEVIATION = 0.05, 0.2
"""of the light, about: taken off, and divided by"""


class Scenes(NamedTuple):
    """Scenes in arrays, with a question for each thing in them.

    Attributes:
        images: (n, 3, S, S) float32, about 0 with deviation about 1.
        kinds: (n, M) int64, what each thing is: the question's word. No two of a scene are alike.
        answers: (n, M) int64, the quality that is asked for.
        boxes: (n, M, 4) float32 xywh pixels.
    """

    images: NDArray[np.float32]
    kinds: NDArray[np.int64]
    answers: NDArray[np.int64]
    boxes: NDArray[np.float32]


def make_scenes(count: int, seed: int, *, part: str = "train") -> Scenes:
    """Draw scenes.

    Args:
        count: how many.
        seed: of everything.
        part: names a stream of its own: scenes of other parts are others.
    """
    random = generator(seed, "coloured scenes", part)
    kinds = random.random((count, len(SHAPES))).argsort(1)[:, :IN_SCENE]
    answers = random.integers(0, len(COLOURS), (count, IN_SCENE))
    cells = random.random((count, (SIDE // CELL) ** 2)).argsort(1)
    clutter = random.integers(0, len(COLOURS), (count, cells.shape[1] - IN_SCENE))
    drawn = np.concatenate([shapes(kinds, random), fragments(count, clutter.shape[1], random)], 1)
    colours = np.array(list(COLOURS.values()), np.float32)[np.concatenate([answers, clutter], 1)]
    y, x = cells // (SIDE // CELL) * CELL, cells % (SIDE // CELL) * CELL
    canvas = np.zeros((count, 3, SIDE, SIDE), np.float32)
    every, channels = np.arange(count)[:, None, None, None], np.arange(3)[None, :, None, None]
    for place in range(cells.shape[1]):
        rows = (y[:, place, None] + np.arange(CELL))[:, None, :, None]
        columns = (x[:, place, None] + np.arange(CELL))[:, None, None, :]
        canvas[every, channels, rows, columns] = drawn[:, place, None] * colours[:, place, :, None, None]
    canvas += random.normal(0, NOISE, canvas.shape).astype(np.float32)
    boxes = np.full((count, IN_SCENE, 4), CELL, np.float32)
    boxes[..., 0], boxes[..., 1] = x[:, :IN_SCENE], y[:, :IN_SCENE]
    return Scenes(((canvas - MEAN) / DEVIATION).astype(np.float32), kinds, answers, boxes)


def as_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images as a scene has them to (n, 3, 64, 64) red, green and blue."""
    return (np.clip(images * DEVIATION + MEAN, 0, 1) * 255).round().astype(np.uint8)


def question(kind: int) -> str:
    """What is asked about a kind of shape."""
    return f"what colour is the {list(SHAPES)[kind]}"


def write_scenes(folder: Path | str, count: int = 100, seed: int = 0, *, part: str = "train") -> Path:
    """Write pictures, and pairs, regions and questions (.jsonl) as `pta-vlp` reads them; the folder."""
    from PIL import Image

    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    scenes = make_scenes(count, seed, part=part)
    names, colours = list(SHAPES), list(COLOURS)
    pairs: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for number, pixels in enumerate(as_pixels(scenes.images)):
        image = f"images/{number}.png"
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / image)
        kinds, answers = scenes.kinds[number].tolist(), [colours[each] for each in scenes.answers[number]]
        phrases = [f"a {colour} {names[kind]}" for colour, kind in zip(answers, kinds, strict=True)]
        pairs.append({"image": image, "caption": " and ".join(phrases)})
        boxes = scenes.boxes[number].tolist()
        elements = [
            {"bb": box, "caption": [phrase, f"the {names[kind]}"]}
            for box, phrase, kind in zip(boxes, phrases, kinds, strict=True)
        ]
        regions.append({"image": image, "elems": elements})
        questions += [
            {"question_id": IN_SCENE * number + place, "question": question(kind), "answer": [answer] * 10,
             "image": image}
            for place, (kind, answer) in enumerate(zip(kinds, answers, strict=True))
        ]  # fmt: skip
    for name, rows in (("pairs", pairs), ("regions", regions), ("questions", questions)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder
