"""Which documents of a training set are used: none twice, none of the test sets, and nested random subsets.

Ours. The original draws subsets of different sizes from one running generator, so that a small one is no
part of a larger one. Here each document's place in a random order follows from its id and the seed alone: the
first N of that order are the subset of size N, whatever the order of the file.
"""

import hashlib
import re
from collections.abc import Iterable

from keyphrase_plm.documents import Document

_WORD = re.compile(r"\w+")


def digest(document: Document) -> bytes:
    """16 bytes that stand for the text up to case, punctuation and spaces; every number is the same word."""
    words = (
        "digit" if word.isdecimal() else word
        for word in _WORD.findall(f"{document.title} {document.body}".casefold())
    )
    return hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest()


class Sieve:
    """Documents that were met before, in this file or in the test files.

    Args:
        tests: documents that may not come in; those without text do not count.
        duplicates: whether a document that came before in the same file is left out.
    """

    def __init__(self, tests: Iterable[Document] = (), *, duplicates: bool = False) -> None:
        self._tests = {digest(document) for document in tests if document.title or document.body}
        self._seen: set[bytes] | None = set() if duplicates else None

    def reason(self, document: Document) -> str:
        """Why a document is left out: `"in a test file"`, `"came before"`, or `""` for one that stays."""
        if not self._tests and self._seen is None:
            return ""
        key = digest(document)
        if key in self._tests:
            return "in a test file"
        if self._seen is not None and (document.title or document.body):
            if key in self._seen:
                return "came before"
            self._seen.add(key)
        return ""


def place(key: str, seed: int) -> bytes:
    """A document's place in the random order of `seed`: 16 bytes, to be compared with those of others.

    Args:
        key: the document's id.
        seed: of the order.
    """
    return hashlib.blake2b(f"{seed} {key}".encode(), digest_size=16).digest()


def chosen(places: list[bytes], size: int) -> set[int]:
    """The numbers of the `size` documents that come first in the random order."""
    return set(sorted(range(len(places)), key=lambda number: places[number])[:size])
