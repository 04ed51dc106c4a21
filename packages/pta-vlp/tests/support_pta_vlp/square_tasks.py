"""A tiny model with a patch detector, and files of every task about images with two coloured squares."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.pair_config import TINY, PairConfig
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector
from pta_vlp.model_folders import save_model
from pta_vlp.select_options import SelectOptions

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "yellow": (230, 220, 40)}
PLACES = {"left": (0, 8), "right": (24, 16)}
SIDE = 24  # of a square, pixels, in images of 48

SMALL = dataclasses.replace(
    TINY, vit_width=32, vit_depth=3, vit_heads=2, text_width=32, text_heads=2, text_hidden=64, embed=16,
    vocabulary=128, vit_attention_dropout=0.0, dropout=0.0,
)  # fmt: skip

SELECT = SelectOptions(block=0, keep=0.5)


def tokenizer() -> Any:
    """Word pieces of these files' words."""
    words = [*COLOURS, *PLACES, "a square on the and of what colour is where both same squares are"]
    return train_tokenizer([" ".join(words)] * 2, 128)


def model(config: PairConfig = SMALL) -> PairModel:
    """A model with random weights, large enough that answers differ."""
    torch.manual_seed(0)
    made = PairModel(config)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.mul_(4)
    return made.eval()


def detector(config: PairConfig = SMALL) -> PatchDetector:
    """A detector with random weights."""
    torch.manual_seed(1)
    return PatchDetector(config.vit_width, text_width=config.text_width).eval()


def save(folder: Path, *, with_detector: bool = True, options: SelectOptions = SELECT) -> Path:
    """A model's folder."""
    part = detector() if with_detector else None
    return save_model(model(), part, tokenizer(), folder, "tiny", options=options)


def lines(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write(folder: Path, count: int = 12, held: int = 4) -> dict[Any, Path]:
    """Images, and files by (task, train or val); the last `held` images are for validation.

    Each image has a question and an expression for either square.
    """
    from PIL import Image

    random = np.random.default_rng(0)
    names = list(COLOURS)
    rows = [(names[i % 4], names[(i // 4 + i + 1) % 4]) for i in range(count)]
    for number, pair in enumerate(rows):
        pixels = random.integers(90, 130, (48, 48, 3), dtype=np.uint8)
        for colour, (x, y) in zip(pair, PLACES.values(), strict=True):
            pixels[y : y + SIDE, x : x + SIDE] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / f"{number}.png")
    found: dict[Any, Path] = {"folder": folder}
    for part, numbers in (("train", range(count - held)), ("val", range(count - held, count))):
        records: dict[str, list[dict[str, Any]]] = {name: [] for name in ("pairs", "vqa", "nlvr2", "boxes")}
        for i in numbers:
            image, (left, right) = f"{i}.png", rows[i]
            caption = f"a {left} square on the left and a {right} square on the right"
            records["pairs"].append({"image": image, "caption": [caption, f"a {left} and a {right} square"]})
            other = numbers[(numbers.index(i) + 1) % len(numbers)]
            records["nlvr2"].append(
                {"images": [image, f"{other}.png"], "sentence": "both left squares are the same colour",
                 "label": str(rows[other][0] == left), "identifier": f"dev-{i}-0-0"}
            )  # fmt: skip
            for side, colour in zip(PLACES, (left, right), strict=True):
                records["vqa"].append(
                    {"question_id": f"{i}{side}", "question": f"what colour is the {side} square",
                     "answer": [colour] * 10, "image": image}
                )  # fmt: skip
                box = [*PLACES[side], SIDE, SIDE]
                records["boxes"].append({"image": image, "text": f"the {side} square", "bbox": box})
        files = {
            "retrieval": "pairs",
            "caption": "pairs",
            "vqa": "vqa",
            "nlvr2": "nlvr2",
            "grounding": "boxes",
        }
        for task, kind in files.items():
            found[task, part] = lines(folder / f"{task}_{part}.jsonl", records[kind])
    return found
