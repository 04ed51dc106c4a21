"""Raw text for pre-training: read from any text file or documents, encoded once, cut or packed (ours)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nonet.errors import UserError

FIELDS = (("title", "body"), ("title", "abstract"), ("text",), ("abstract",), ("body",), ("document",))
"""fields that are looked for, the first ones that are there"""
SHORTEST = 8
"""pieces of the shortest row: what is left of a text behind the cut is dropped if it is shorter"""


def read_texts(
    paths: Sequence[Path], *, field: str | None = None, lower: bool = True, limit: int | None = None
) -> Iterator[str]:
    """Texts of .txt files (a line each) and of records, with their titles, on one line each.

    Args:
        paths: files of text, JSON lines, JSON, CSV, TSV or Parquet, packed or not, or folders of them.
        field: of records; None: the first known one, see `FIELDS`.
        lower: lower-case, as documents are when keyphrases are learnt.
        limit: texts at most.

    Raises:
        UserError: an unreadable file, or a record without a known field.
    """
    from nonet.data.text import TextReader

    count = 0
    for record in TextReader(list(paths)):
        if limit is not None and count == limit:
            return
        if field is not None:
            parts = [record.text(field, option="--text-field")]
        else:
            names = next((names for names in FIELDS if all(name in record.fields for name in names)), None)
            if names is None:
                there = ", ".join(record.fields) or "none"
                raise UserError(f"{record.where}: no text in the fields {there}: name one with --text-field")
            parts = [record.text(name) for name in names]
        text = " ".join(" ".join(parts).split())
        if text:
            count += 1
            yield text.lower() if lower else text


def encode_texts(
    texts: Iterable[str], tokenizer: Any, *, length: int, pack: bool = False
) -> list[dict[str, Any]]:
    """Rows of ids between the tokenizer's first and last token.

    Args:
        texts: of `read_texts`.
        tokenizer: of transformers, fast.
        length: pieces a row at most, the two ends among them; longer texts make several rows.
        pack: fill rows with text after text, the last token between them.

    Returns:
        Rows with `ids` int32 and `size`, for `Examples`.
    """
    first, *_, last = tokenizer("a")["input_ids"]
    room = length - 2
    rows: list[dict[str, Any]] = []
    held: list[int] = []

    def add(ids: Sequence[int]) -> None:
        row = np.array([first, *ids, last], np.int32)
        rows.append({"ids": row, "size": (len(row), len(row))})

    for ids in _ids(texts, tokenizer):
        if pack:
            held += [last, *ids] if held else ids
            while len(held) >= room:
                add(held[:room])
                held = held[room:]
            continue
        for start in range(0, len(ids), room):
            if start == 0 or len(ids) - start >= SHORTEST:
                add(ids[start : start + room])
    if held:
        add(held)
    return rows


def _ids(texts: Iterable[str], tokenizer: Any) -> Iterator[list[int]]:
    """The pieces of each text, many texts at a time, which is faster."""
    waiting = iter(texts)
    while some := list(islice(waiting, 512)):
        yield from tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]
