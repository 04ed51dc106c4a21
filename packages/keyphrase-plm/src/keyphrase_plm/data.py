"""Documents as rows to train on: encoded once, drawn from by (epoch, index); nested subsets (ours)."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keyphrase_plm.documents import Document
from keyphrase_plm.subsets import chosen, place
from keyphrase_plm.text_rows import TextRows
from nonet.data.batching import generator
from nonet.errors import UserError

if TYPE_CHECKING:
    from keyphrase_plm.families import Family, Row

Item = tuple[int, int]  # epoch, index


class Examples:
    """Rows as a data set; an item is asked for by (epoch, index) and depends on these and the seed alone.

    Args:
        rows: encoded documents or pieces of text; each has `size`, its pieces in and out.
        draw: a row and random numbers to what the model sees, as `Family.example`.
        seed: of the draws.
        fixed: draw as in epoch 0 in every epoch: for validation.
    """

    def __init__(
        self,
        rows: "Sequence[Row]",
        draw: "Callable[[Row, np.random.Generator], Row]",
        *,
        seed: int,
        fixed: bool = False,
    ) -> None:
        self.rows, self.draw, self.seed, self.fixed = rows, draw, seed, fixed

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """(n, 2) int64: pieces in and out of each row, for batching."""
        if isinstance(self.rows, TextRows):  # many rows may be there, and none needs to be read
            return self.rows.lengths
        return np.array([row["size"] for row in self.rows], np.int64).reshape(len(self.rows), -1)

    def __getitem__(self, item: Item) -> "Row":
        epoch, index = item
        key = "held out" if self.fixed else "example"
        random = generator(self.seed, key, 0 if self.fixed else epoch, index)
        return {**self.draw(self.rows[index], random), "id": index}


class WithIds:
    """A collate function whose batch also says which rows it was made of, for messages about bad losses.

    Args:
        collate: rows to a batch, as `Family.collate`.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """`batch`, what the family makes of the rows, and `ids` (B,) int64."""
        import torch

        plain = [{name: value for name, value in row.items() if name != "id"} for row in rows]
        return {"batch": self.collate(plain), "ids": torch.tensor([row["id"] for row in rows])}


class Encoded(NamedTuple):
    """Documents as rows, with what is to be said about them."""

    rows: "list[Row]"
    documents: list[Document]
    notes: list[str]


def encode_documents(family: "Family", documents: Iterable[Document], *, side: str) -> Encoded:
    """Encode documents with their gold phrases; those without text are left out and counted.

    Args:
        family: whose `encode` is used.
        documents: of `layouts.read_documents`.
        side: `train` or `val`, for the notes.

    Raises:
        UserError: no document has text.
    """
    rows, kept, empty, cut, lost, bare = [], [], 0, 0, 0, 0
    for document in documents:
        if not document.title.strip() and not document.body.strip():
            empty += 1
            continue
        row = family.encode(document, gold=True)
        cut += int(row.get("cut", 0)) > 0
        lost += int(row.get("lost", 0))
        bare += not document.present and not document.absent
        rows.append(row)
        kept.append(document)
    if not rows:
        raise UserError(f"{side}: no documents with text ({empty:,} empty ones)")
    gold = sum(len(document.present) + len(document.absent) for document in kept)
    notes = [f"{side}: {len(rows):,} documents, {gold:,} gold phrases"]
    if empty:
        notes.append(f"{side}: {empty:,} documents without text left out")
    if bare:
        notes.append(f"{side}: {bare:,} documents without any gold phrase")
    if cut:
        what = f"; {lost:,} gold phrases lie beyond the cut" if lost else ""
        notes.append(f"{side}: {cut:,} documents ({cut / len(rows):.1%}) longer than the longest input{what}")
    return Encoded(rows, kept, notes)


def subset(
    keys: Sequence[str], *, size: int | None = None, fraction: float | None = None, seed: int = 0
) -> list[int]:
    """Which documents a training subset has; those of `prepare` for the same seed, and smaller ones nest.

    Args:
        keys: ids of the documents.
        size: how many to take; None: all, or `fraction` of them.
        fraction: share to take, in (0, 1].
        seed: of the order that the subset is the beginning of.

    Returns:
        Their numbers, ascending.

    Raises:
        UserError: more than there are, or both a size and a fraction.
    """
    if size is not None and fraction is not None:
        raise UserError("train_size and train_fraction exclude each other: give one")
    if fraction is not None:
        size = max(1, round(fraction * len(keys)))
    if size is None:
        return list(range(len(keys)))
    if size > len(keys):
        raise UserError(f"train_size is {size:,}, but there are {len(keys):,} documents")
    return sorted(chosen([place(key, seed) for key in keys], size))
