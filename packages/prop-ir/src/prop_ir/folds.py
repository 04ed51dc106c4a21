"""Folds of queries for cross-validation, and draws of training queries (ours).

Each query's place follows from its id and the seed alone, so that the same queries have the same folds in any
order, and the draw of 10 training queries is part of the draw of 20. LETOR's partitions, which name training,
validation and test queries of each fold, are read as they are.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.files import write_json

NAMES = {
    "train": ("train", "training"),
    "val": ("val", "vali", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Fold:
    """One fold: a model learns from `train` and `val` and is tested on `test`."""

    test: tuple[str, ...]
    train: tuple[str, ...]
    val: tuple[str, ...] | None = None
    """queries that choose the best weights; None: a share of `train` is held out"""

    def __iter__(self) -> Iterator[str]:
        """The queries that are tested in this fold."""
        return iter(self.test)


def shuffled(ids: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Ids in an order that follows from each id, the seed and the purpose."""

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{purpose}\0{seed}\0{name}".encode()).digest()

    return sorted(dict.fromkeys(ids), key=key)


def make_folds(ids: Iterable[str], count: int, seed: int = 0) -> list[Fold]:
    """Folds whose sizes differ by one query at most.

    Args:
        ids: of the queries.
        count: folds, at least 2.
        seed: of the partition.

    Raises:
        UserError: fewer queries than folds, or fewer than 2 folds.
    """
    names = list(dict.fromkeys(ids))
    if count < 2:
        raise UserError(f"{count} folds; cross-validation takes at least 2")
    if len(names) < count:
        raise UserError(f"{len(names)} queries are too few for {count} folds")
    order = shuffled(names, seed, "folds")
    parts = [set(order[place::count]) for place in range(count)]
    return [
        Fold(
            tuple(name for name in names if name in part),
            tuple(name for name in names if name not in part),
        )
        for part in parts
    ]


def draw(ids: Iterable[str], count: int | None, seed: int = 0) -> list[str]:
    """Training queries: a draw of `count` holds every smaller draw of the same seed; None: all of them."""
    names = list(dict.fromkeys(ids))
    if count is None or count >= len(names):
        return names
    kept = set(shuffled(names, seed, "training queries")[:count])
    return [name for name in names if name in kept]


def hold_out(ids: Sequence[str], share: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """Training queries, and those that choose the weights.

    Args:
        ids: all training queries.
        share: of them that are held out, rounded down, 0..1; one query at least stays in training.
        seed: of the draw.
    """
    count = min(math.floor(share * len(ids) + 1e-9), max(len(ids) - 1, 0))
    held = set(shuffled(ids, seed, "held out")[:count])
    return [name for name in ids if name not in held], [name for name in ids if name in held]


def write_folds(path: Path, folds: Sequence[Fold], **facts: Any) -> None:
    """Record folds, with the training and held-out queries of each, and how they came about."""
    rows = [
        {"test": list(fold.test), "train": list(fold.train)}
        | ({} if fold.val is None else {"val": list(fold.val)})
        for fold in folds
    ]
    write_json(path, {**facts, "folds": rows})


def read_folds(path: Path) -> list[Fold]:
    """Folds of a file of `write_folds`, or of a JSON list of such objects or of lists of test queries.

    An object has `test` (or `testing`) and may have `train` and `val`, as LETOR's partitions do; without
    `train` the other folds' test queries are learned from.

    Raises:
        UserError: no such file, another layout, or a query in two test sets or on both sides of a fold.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    rows = found.get("folds") if isinstance(found, dict) else found
    if not isinstance(rows, list) or len(rows) < 2:
        raise UserError(f"{path}: no list of at least two folds")
    parts = [_parts(row, f"{path}: fold {place}") for place, row in enumerate(rows, 1)]
    everything = [name for part in parts for name in part["test"]]
    twice = next((name for name, count in Counter(everything).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: query {twice} is tested in two folds")
    folds = []
    for place, part in enumerate(parts, 1):
        test = set(part["test"])
        train = part.get("train") or [name for name in everything if name not in test]
        shared = test & {*train, *part.get("val", ())}
        if shared:
            raise UserError(f"{path}: fold {place} trains on query {min(shared)} and tests it")
        folds.append(Fold(tuple(part["test"]), tuple(train), tuple(part["val"]) if "val" in part else None))
    return folds


def _parts(row: Any, where: str) -> dict[str, list[str]]:
    """Lists of ids by `train`, `val` and `test`."""
    if isinstance(row, list):
        row = {"test": row}
    if not isinstance(row, dict):
        raise UserError(f"{where}: neither a list of queries nor an object with test, train and val")
    found: dict[str, list[str]] = {}
    for name, known in NAMES.items():
        ids = next((row[other] for other in known if other in row), None)
        if ids is None:
            continue
        if not isinstance(ids, list) or not all(isinstance(entry, str | int) for entry in ids):
            raise UserError(f"{where}: {name} is not a list of query ids")
        found[name] = [str(entry) for entry in ids]
    if not found.get("test"):
        raise UserError(f"{where}: names no test queries")
    return found
