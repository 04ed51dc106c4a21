"""A tiny model and files of every task about images of one colour with a square in a corner."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_model import PairModel

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "yellow": (230, 220, 40)}
PLACES = {"top left": (0, 0), "top right": (24, 0), "bottom left": (0, 24), "bottom right": (24, 24)}
COUNT = 24  # images, of which the last 8 are for validation

SMALL = dataclasses.replace(
    TINY, vit_width=32, vit_depth=2, vit_heads=2, text_width=32, text_heads=2, text_hidden=64, embed=16,
    vocabulary=128, vit_attention_dropout=0.0, dropout=0.0,
)  # fmt: skip


def tokenizer() -> Any:
    """Word pieces of these files' words."""
    words = [*COLOURS, *PLACES, "a square at the of what colour is where both squares are same in image"]
    return train_tokenizer([" ".join(words)] * 2, 128)


def model() -> PairModel:
    """A model with random weights."""
    torch.manual_seed(0)
    return PairModel(SMALL).eval()


def write(folder: Path) -> dict[Any, Path]:
    """Images, and files by (task, train or val); `folder` is where the images are."""
    from PIL import Image

    random = np.random.default_rng(0)
    colours, places = list(COLOURS), list(PLACES)
    rows = [(colours[i % 4], places[(i // 4) % 4]) for i in range(COUNT)]
    for number, (colour, place) in enumerate(rows):
        pixels = random.integers(90, 130, (48, 48, 3), dtype=np.uint8)
        x, y = PLACES[place]
        pixels[y : y + 24, x : x + 24] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / f"{number}.png")
    found: dict[Any, Path] = {"folder": folder}
    for part, numbers in (("train", range(16)), ("val", range(16, COUNT))):
        records: dict[str, list[dict[str, Any]]] = {}
        for i in numbers:
            colour, place = rows[i]
            image, caption = f"{i}.png", f"a {colour} square at the {place} of the image {i % 10}"
            other = numbers[(i + 3) % len(numbers)]
            records.setdefault("pairs", []).append(
                {"image": image, "caption": [caption, f"a {colour} square"]}
            )
            records.setdefault("vqa", []).append(
                {
                    "question_id": i,
                    "question": "what colour is the square",
                    "answer": [colour] * 10,
                    "image": image,
                }
            )
            same = rows[other][0] == colour
            records.setdefault("nlvr2", []).append(
                {"images": [image, f"{other}.png"], "sentence": "both squares are the same colour",
                 "label": str(same), "identifier": f"dev-{i // 2}-{i % 2}-0"}
            )  # fmt: skip
            records.setdefault("grounding", []).append(
                {"image": image, "text": f"the {colour} square", "bbox": [*PLACES[place], 24, 24]}
            )
        for task in ("retrieval", "vqa", "caption", "nlvr2", "grounding"):
            path = folder / f"{task}_{part}.jsonl"
            own = records["pairs" if task in ("retrieval", "caption") else task]
            path.write_text("".join(json.dumps(record) + "\n" for record in own))
            found[task, part] = path
    return found
