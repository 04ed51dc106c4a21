"""Word pieces of the queries and candidates that are to be scored, and of no other document (ours)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from prop_ir.collections import texts_of
from prop_ir.options import ReadOptions
from prop_ir.pieces import PieceEncoder
from prop_ir.store import Store, is_store

Ids = NDArray[Any]

SHOWN = 5
"""missing documents that a message names"""
WHOLE = 1 << 20
"""pieces of a document when all of it is wanted"""
_AT_ONCE = 1024  # texts that are tokenised together


class StorePieces(Mapping[str, Ids]):
    """The documents of a store by id, read when they are asked for.

    Args:
        store: the store.
        most: pieces of a document.
    """

    def __init__(self, store: Store, most: int) -> None:
        self.store, self.most = store, most

    def __getitem__(self, name: str) -> Ids:
        return self.store.pieces(self.store.number[name])[: self.most]

    def __contains__(self, name: object) -> bool:
        return name in self.store.number

    def __iter__(self) -> Iterator[str]:
        return iter(self.store.ids)

    def __len__(self) -> int:
        return len(self.store)


class Candidates(NamedTuple):
    """Documents by id."""

    pieces: Mapping[str, Ids]
    """id -> pieces without special ones"""
    missing: list[str]
    """ids that the collection lacks, in the order they were asked for"""
    notes: list[str]
    """what there is to say about them"""


def pieces_of(texts: Mapping[str, str], tokenizer: Any, most: int = WHOLE) -> dict[str, Ids]:
    """The first pieces of texts.

    Args:
        texts: id -> text.
        tokenizer: a fast one, of transformers.
        most: pieces of a text.
    """
    encoder, names = PieceEncoder(tokenizer, most), list(texts)
    found: dict[str, Ids] = {}
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        encoded = encoder([texts[name] for name in some])
        parts = np.split(encoded.flat, encoded.offsets[1:-1])
        found |= dict(zip(some, parts, strict=True))
    return found


def candidates_of(
    paths: Sequence[Path | str],
    ids: Iterable[str],
    tokenizer: Any,
    *,
    name: str = "this model",
    most: int = WHOLE,
    read: ReadOptions | None = None,
) -> Candidates:
    """Pieces of some documents, out of a store or tokenised from a collection.

    Args:
        paths: one folder that `prop-ir prepare` made, or the files of a collection.
        ids: of the documents.
        tokenizer: of the model that reads them.
        name: that model, for messages.
        most: pieces that are needed of a document.
        read: how the files are read.

    Raises:
        UserError: the store is of another tokenizer, or none of the documents is there.
    """
    wanted = list(dict.fromkeys(ids))
    notes: list[str] = []
    if len(paths) == 1 and Path(paths[0]).is_dir() and is_store(Path(paths[0])):
        store = Store(paths[0])
        store.check_tokenizer(tokenizer, name)
        found: Mapping[str, Ids] = StorePieces(store, most)
        missing = [document for document in wanted if document not in found]
        rows = [store.number[document] for document in wanted if document in found]
        cut = int((store.piece_counts[rows] == store.max_pieces).sum())
        if most > store.max_pieces and cut:
            notes.append(
                f"{paths[0]}: {cut:,} documents end at the {store.max_pieces} pieces that the store keeps"
            )
    else:
        found = pieces_of(texts_of(paths, set(wanted), read), tokenizer, most)
        missing = [document for document in wanted if document not in found]
    if missing:
        notes.append(_about(missing, len(wanted), paths))
    if wanted and len(missing) == len(wanted):
        raise UserError(notes[-1])
    return Candidates(found, missing, notes)


def _about(missing: Sequence[str], count: int, paths: Sequence[Path | str]) -> str:
    shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    where = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
    return (
        f"{where}: {len(missing):,} of {count:,} candidates are not in it ({shown}): "
        "they keep the first stage's order below the others"
    )


def scored_documents(
    run: Mapping[str, Mapping[str, float]],
    depth: int,
    qrels: Mapping[str, Mapping[str, int]] | None = None,
) -> Iterator[str]:
    """Ids of the documents that are scored: each query's first candidates, and relevant ones if asked for."""
    for ranked in run.values():
        yield from list(ranked)[:depth]
    for query, grades in (qrels or {}).items():
        if query in run:
            yield from (document for document, grade in grades.items() if grade > 0)
