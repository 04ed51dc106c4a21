"""A tiny image-text model, images in files and a tokenizer, for the tests of tasks."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.pair_config import TINY, PairConfig
from nonet.vision_language.pair_model import PairModel

WORDS = "red green blue dog cat bird tree house car boat small large old new left right".split()

SMALL = dataclasses.replace(
    TINY, vit_width=32, vit_depth=2, vit_heads=2, text_width=32, text_heads=2, text_hidden=64, embed=16,
    vocabulary=128, vit_attention_dropout=0.0, dropout=0.0,
)  # fmt: skip


def tokenizer() -> Any:
    """Word pieces of `WORDS`, digits and a few more."""
    return train_tokenizer([" ".join([*WORDS, "yes no what is the of a and", "0123456789"])] * 2, 128)


def model(config: PairConfig = SMALL, *, spread: float = 1.0) -> PairModel:
    """A model with random weights, large enough that answers differ."""
    torch.manual_seed(0)
    made = PairModel(config)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.mul_(1 + 4 * spread)
    return made.eval()


def images(folder: Path, count: int, size: int = 48) -> list[str]:
    """PNG files of noise; their names."""
    from PIL import Image

    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"image{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(random.integers(256, size=(size, size, 3), dtype=np.uint8)).save(folder / name)
    return names


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def sentence(number: int, words: int = 4) -> str:
    """A text of several words, another one for each number."""
    random = np.random.default_rng(number)
    return " ".join(random.choice(WORDS, words, replace=False))
