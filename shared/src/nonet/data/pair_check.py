"""What is wrong with the images of a table of pairs: files that do not decode, and equal ones (ours)."""

import hashlib
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.image_text_pairs import PairTable
from nonet.data.packed_texts import PackedTexts
from nonet.data.parallel import ordered_map
from nonet.errors import UserError
from nonet.progress import progress

How = Literal["decode", "exists", "none"]

_CHUNK = 32  # images that a process is handed at once


class ImageCheck(NamedTuple):
    """What was found.

    Attributes:
        readable: (N,) bool, of the items of the table.
        problems: a line for each image that is not.
        digests: of each item's file, 16 bytes in hexadecimal; empty where it was not read.
    """

    readable: NDArray[np.bool_]
    problems: list[str]
    digests: list[str]


def check_images(table: PairTable, how: How = "decode", *, workers: int = 0) -> ImageCheck:
    """Look at every image.

    Args:
        table: the pairs.
        how: decode it; only see that its file exists; or take it as it is.
        workers: processes; 0 does it in this one.
    """
    if how == "none":
        return ImageCheck(np.ones(len(table), np.bool_), [], [""] * len(table))
    look = _Look(table, how)
    readable = np.zeros(len(table), np.bool_)
    problems: list[str] = []
    digests: list[str] = []
    found = ordered_map(look, range(len(table)), workers=workers, chunk=_CHUNK)
    for item, (digest, problem) in enumerate(
        progress(found, total=len(table), label="checking", unit="images")
    ):
        readable[item] = not problem
        digests.append(digest)
        if problem:
            problems.append(f"{table.places[item]}: {problem}")
    return ImageCheck(readable, list(dict.fromkeys(problems)), digests)


def merge_same_files(table: PairTable, digests: list[str]) -> tuple[PairTable, int]:
    """A table in which files of equal bytes are one image.

    Args:
        table: the pairs.
        digests: as of `check_images`.

    Returns:
        The table, and how many images became another.
    """
    first: dict[str, int] = {}
    target = {int(number): int(number) for number in table.numbers}
    for item, digest in enumerate(digests):
        number = int(table.numbers[item])
        if digest:
            target[number] = min(target[number], first.setdefault(digest, target[number]))
    merged = np.array([target[int(number)] for number in table.numbers], np.int64)
    changed = len(np.unique(table.numbers)) - len(np.unique(merged))
    id_of = {int(table.numbers[item]): table.ids[item] for item in reversed(range(len(table)))}
    ids = PackedTexts(id_of[int(number)] for number in merged)
    return replace(table, numbers=merged, ids=ids), changed


class _Look:
    """One image: its digest, and what is wrong with it."""

    def __init__(self, table: PairTable, how: How) -> None:
        self.table, self.how = table, how

    def __call__(self, item: int) -> tuple[str, str]:
        try:
            if self.how == "exists":
                path = self.table.path(item)
                return "", "" if path is None or path.is_file() else f"{path}: no such file"
            digest = hashlib.blake2b(self.table.data(item), digest_size=16).hexdigest()
            self.table.open(item)
        except UserError as error:
            return "", str(error)
        return digest, ""
