"""Pictures of a coloured square, with captions and boxes, and options of a tiny training on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "yellow": (230, 220, 40)}
SIDE = 48

MODEL = {
    "vit": "", "vit_width": 32, "vit_depth": 2, "vit_heads": 2, "patch": 8, "image": SIDE, "text": "",
    "vocabulary": 200, "text_width": 32, "text_heads": 2, "text_hidden": 64, "positions": 32,
    "text_layers": 1, "fusion_layers": 1, "decoder_layers": 1, "embed": 16, "vit_attention_dropout": 0.0,
    "dropout": 0.0,
}  # fmt: skip
"""architecture, as the option `model` takes it"""


def write_squares(folder: Path, count: int = 24) -> dict[str, Path]:
    """Write `count` pictures, `pairs.jsonl` and `regions.jsonl`; their paths by name."""
    from PIL import Image

    random = np.random.default_rng(0)
    names = list(COLOURS)
    pairs, regions = [], []
    for number in range(count):
        colour, other = names[number % 4], names[(number // 4) % 4]
        x, y = (int(place) for place in random.integers(0, 33, 2))
        pixels = random.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[y : y + 16, x : x + 16] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        caption = f"a {colour} square number {number}, not a {other} one"
        pairs.append({"image": f"{number}.png", "caption": [caption, f"{colour} thing {number}"]})
        regions.append({"image": f"{number}.png", "elems": [{"bb": [x, y, 16, 16], "caption": f"{colour}"}]})
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
        "itc": {"queue": 16}, "tpp": {"loc": 0, "regions_batch": 6},
        "rates": {"lr": 1e-3, "lr_visual": 5e-4, "warmup": 1, "warmup_unit": 1},
        "trainer": {"accelerator": "cpu", "log_every": 1, "checkpoint_every": 2, "clip": 1.0},
    }  # fmt: skip
    for name, value in options.items():
        values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
