"""Made-up pictures of shapes with boxes, for examples and tests without files (ours).

A picture has discs, rings and triangles of random colours on a soft, noisy ground; its classes are the kinds
of shapes. Each picture is a function of the seed and its number.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nonet.data.batching import generator
from nonet.data.coco_boxes import write_coco
from nonet.data.labelled_boxes import BoxRows, LabelledImage, LabelledImages
from nonet.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

NAMES = ("disc", "ring", "triangle")
"""the classes, in this order"""
SIZE = (80, 64)
"""width and height of a picture, pixels"""
MOST = 4  # shapes of a picture
LEAST_SIDE = 16  # of a shape, pixels
FINER = 4  # pictures are drawn so many times as large, then shrunk: smooth edges

Box = tuple[int, int, int, int]


def picture(number: int, seed: int = 0) -> tuple["Image", list[Box], list[int]]:
    """Draw one picture.

    Args:
        number: of the picture, 0 or more.
        seed: of all pictures.

    Returns:
        The RGB image, a box (xyxy in pixels) for each of its 1 to 4 shapes, and their classes. Shapes do not
        overlap.
    """
    from PIL import Image, ImageDraw
    from PIL.Image import Resampling

    random = generator(seed, "toy picture", number)
    width, height = SIZE
    coarse = random.integers(60, 196, (3, 4, 3), dtype=np.uint8)  # a soft ground
    ground = Image.fromarray(coarse).resize((width * FINER, height * FINER), Resampling.BICUBIC)
    pen = ImageDraw.Draw(ground)
    boxes: list[Box] = []
    labels: list[int] = []
    for _ in range(int(random.integers(1, MOST + 1))):
        box = _free_box(random, boxes)
        label = int(random.integers(len(NAMES)))
        colour = tuple(map(int, random.choice([10, 60, 200, 250], 3)))
        if box is None:
            continue
        left, top, right, bottom = (value * FINER for value in box)
        if label == 2:
            pen.polygon([((left + right) // 2, top), (right, bottom), (left, bottom)], fill=colour)
        elif label == 1:
            pen.ellipse(
                (left, top, right, bottom), outline=colour, width=min(right - left, bottom - top) // 5
            )
        else:
            pen.ellipse((left, top, right, bottom), fill=colour)
        boxes.append(box)
        labels.append(label)
    small = np.asarray(ground.resize(SIZE, Resampling.BOX), np.float64)
    noisy = np.clip(small + random.normal(0, 6, small.shape), 0, 255)
    return Image.fromarray(noisy.round().astype(np.uint8)), boxes, labels


def write_pictures(folder: Path, count: int, *, first: int = 0, seed: int = 0) -> str:
    """Write pictures as PNG files, and their boxes as a COCO file beside the folder.

    Args:
        folder: of the images; `FOLDER.json` has the boxes.
        count: pictures.
        first: number of the first one, so that parts of a data set have different pictures.
        seed: of all pictures.

    Returns:
        `coco:FOLDER.json,FOLDER`, as options name labelled images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images: list[LabelledImage] = []
    for number in range(first, first + count):
        drawn, boxes, labels = picture(number, seed)
        path = folder / f"{number:05}.png"
        with replacing(path) as part:
            drawn.save(part, format="PNG")
        rows = BoxRows()
        for box, label in zip(boxes, labels, strict=True):
            rows.add(box, label, path.name)
        images.append(rows.image(path, *SIZE, number + 1, []))
    file = folder.with_suffix(".json")
    write_coco(LabelledImages(images=images, names=NAMES, category_ids=(1, 2, 3)), file)
    return f"coco:{file},{folder}"


def _free_box(random: np.random.Generator, taken: list[Box]) -> Box | None:
    """A box that touches none of the others; None where ten draws found none."""
    for _ in range(10):
        wide, high = (int(random.integers(LEAST_SIDE, side // 2)) for side in SIZE)
        x, y = int(random.integers(SIZE[0] - wide)), int(random.integers(SIZE[1] - high))
        if all(x + wide < a or c < x or y + high < b or d < y for a, b, c, d in taken):
            return x, y, x + wide, y + high
    return None
