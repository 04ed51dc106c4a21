"""Pairs made ready for training: checked, thinned, written as lines or shards, with an account (ours)."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nonet.data.batching import generator
from nonet.data.caption_noise import WrongCaption
from nonet.data.image_text_pairs import PairTable
from nonet.data.images import EXTENSIONS
from nonet.data.web_shards import ShardWriter
from nonet.errors import UserError
from nonet.files import replacing
from nonet.vision_language.pair_data import TextBatch

_ENDINGS = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp", b"RI": ".webp"}
_COUNTED = 10_000  # captions that are cut into word pieces at once


def some_of(table: PairTable, share: float, seed: int) -> PairTable:
    """A share of the images, in their order; with the same seed a smaller one is part of a larger one.

    Args:
        table: the pairs.
        share: above 0, up to 1; all items of an image stay or go.
        seed: which ones.

    Raises:
        UserError: not a share, or nothing would stay.
    """
    if not 0 < share <= 1:
        raise UserError(f"a share of {share} of the images; it is above 0 and at most 1")
    images = np.unique(table.numbers)
    count = int(share * len(images))
    if not count:
        raise UserError(f"a share of {share} of {len(images)} images is none")
    chosen = generator(seed, "share of the images").permutation(images)[:count]
    return table.take(np.flatnonzero(np.isin(table.numbers, chosen)))


def write_pairs(table: PairTable, path: Path) -> None:
    """Write JSON lines of image (absolute path), captions and image id; images have files of their own.

    Raises:
        UserError: an image lies in a shard.
    """
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        for item in range(len(table)):
            image = table.path(item)
            if image is None:
                raise UserError(f"{table.names[item]}: lies in a shard; write shards")
            record: dict[str, Any] = {"image": os.path.abspath(image), "caption": table.captions_of(item)}
            file.write(json.dumps(record | {"image_id": table.ids[item]}, ensure_ascii=False) + "\n")


def write_shards(
    table: PairTable, folder: Path, samples: int, done: Callable[[int], None] = lambda count: None
) -> list[Path]:
    """Write tar shards with the images' files as they are.

    Args:
        table: the pairs.
        folder: made if it is missing.
        samples: in a shard, at most.
        done: called with 1 after each.

    Returns:
        The shards.

    Raises:
        UserError: an image cannot be read, or the folder has shards.
    """
    writer = ShardWriter(folder, samples=samples)
    for item in range(len(table)):
        data = table.data(item)
        writer.add(data, _ending(table.names[item], data), tuple(table.captions_of(item)), table.ids[item])
        done(1)
    writer.close()
    return writer.written


def write_wrong_captions(found: Iterable[WrongCaption], path: Path) -> None:
    """Write what was replaced as JSON lines: place, caption (its number), was, now."""
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        for entry in found:
            file.write(json.dumps(entry._asdict(), ensure_ascii=False) + "\n")


def word_piece_counts(captions: Iterable[str], tokenizer: Any, max_length: int) -> dict[str, float]:
    """How long captions are in word pieces.

    Args:
        captions: texts.
        tokenizer: of transformers.
        max_length: word pieces of a text with both of its ends.

    Returns:
        captions, mean and longest (word pieces without ends), cut_off (captions too long), unknown (share of
        the pieces that stand for what the tokenizer does not know).
    """
    texts = TextBatch(tokenizer, max_length)
    lengths: list[int] = []
    unknown = 0
    held: list[str] = []

    def count() -> int:
        rows = texts.pieces(held)
        lengths.extend(map(len, rows))
        held.clear()
        return sum(row.count(tokenizer.unk_token_id) for row in rows)

    for caption in captions:
        held.append(caption)
        if len(held) == _COUNTED:
            unknown += count()
    unknown += count()
    total = sum(lengths)
    return {
        "captions": len(lengths),
        "mean": round(total / max(len(lengths), 1), 3),
        "longest": max(lengths, default=0),
        "cut_off": sum(length > max_length - 2 for length in lengths),
        "unknown": round(unknown / max(total, 1), 6),
    }


def _ending(name: str, data: bytes) -> str:
    """The ending of an image's file, from its name or its first bytes."""
    ending = Path(name).suffix.lower()
    return ending if ending in EXTENSIONS else _ENDINGS.get(data[:2], ".png")
