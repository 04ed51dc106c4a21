"""Pictures of plain rectangles on grey, and their boxes as a COCO file."""

import json

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def write_rectangles(folder, count, *, seed=0, size=(64, 48)):
    """So many pictures, each with one to three rectangles; gives `coco:FILE,FOLDER`."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        pixels = np.full((size[1], size[0], 3), 128, np.uint8)
        for _ in range(int(random.integers(1, 4))):
            label = int(random.integers(2))
            w, h = (int(random.integers(12, side // 2)) for side in size)
            x, y = int(random.integers(size[0] - w)), int(random.integers(size[1] - h))
            pixels[y : y + h, x : x + w] = list(COLOURS.values())[label]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": label + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        name = f"{number:03}.png"
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": number + 1, "file_name": name, "width": size[0], "height": size[1]})
    categories = [{"id": i, "name": name} for i, name in enumerate(COLOURS, 1)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    file = folder.with_suffix(".json")
    file.write_text(text, encoding="utf-8")
    return f"coco:{file},{folder}"


SMALL = (
    "--backbone", "resnet-tiny", "--size.width", "16", "--size.heads", "2", "--size.encoder-layers", "1",
    "--size.decoder-layers", "2", "--size.hidden", "16", "--size.queries", "8",
)  # fmt: skip
"""a detector that is built and run in no time"""
