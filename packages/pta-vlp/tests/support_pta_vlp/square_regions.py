"""Pictures of two coloured squares, with captions and boxes, and options of a tiny training on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "yellow": (230, 220, 40)}
SIDE = 48

MODEL = {
    "vit": "", "vit_width": 32, "vit_depth": 3, "vit_heads": 2, "patch": 8, "image": SIDE, "text": "",
    "vocabulary": 200, "text_width": 32, "text_heads": 2, "text_hidden": 64, "positions": 32,
    "text_layers": 1, "fusion_layers": 1, "decoder_layers": 1, "embed": 16, "vit_attention_dropout": 0.0,
    "dropout": 0.0,
}  # fmt: skip
"""architecture, as the option `model` takes it: 6 x 6 patches, 3 blocks"""


def write_squares(folder: Path, count: int = 24) -> dict[str, Path]:
    """Write `count` pictures, `pairs.jsonl` and `regions.jsonl`; their paths by name."""
    from PIL import Image

    random = np.random.default_rng(0)
    names = list(COLOURS)
    pairs, regions = [], []
    for number in range(count):
        first, second = names[number % 4], names[(number // 4 + 1) % 4]
        pixels = random.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
        boxes = []
        for colour, left in ((first, 0), (second, 24)):
            x, y = left + int(random.integers(9)), int(random.integers(33))
            pixels[y : y + 16, x : x + 16] = COLOURS[colour]
            boxes.append({"bb": [x, y, 16, 16], "caption": colour})
        Image.fromarray(pixels).save(folder / f"{number}.png")
        caption = f"a {first} square and a {second} one, number {number}"
        pairs.append({"image": f"{number}.png", "caption": [caption, f"{first} beside {second}"]})
        regions.append({"image": f"{number}.png", "elems": boxes})
    found = {}
    for name, rows in (("pairs", pairs), ("regions", regions)):
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


def config(folder: Path, **options: Any) -> Path:
    """A YAML file of options for `pretrain`: tiny, one pass of batches of 6 unless told otherwise."""
    import yaml

    values: dict[str, Any] = {
        "model": MODEL, "pretrained": False, "batch": 6, "epochs": 1, "val_size": 0,
        "select": {"block": 0}, "itc": {"queue": 16}, "pta": {"regions_batch": 6},
        "rates": {"lr": 1e-3, "lr_visual": 5e-4, "warmup": 1, "warmup_unit": 1},
        "trainer": {"accelerator": "cpu", "log_every": 1, "checkpoint_every": 2, "clip": 1.0},
    }  # fmt: skip
    for name, value in options.items():
        values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
