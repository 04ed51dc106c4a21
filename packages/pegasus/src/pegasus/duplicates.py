"""Texts that occur twice: exactly, or up to case, punctuation and spaces. Ours.

Texts are kept as 128-bit digests, 16 bytes each and not the texts, so that a large training set fits.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """The words in case-folded form with single spaces between: `normalised("Hi,  Bob!")` is `"hi bob"`.

    A text without words keeps its characters, stripped.
    """
    return " ".join(_WORD.findall(text.casefold())) or text.strip()


def digest(text: str) -> bytes:
    """16 bytes that stand for the text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Duplicates(NamedTuple):
    """What two sets of texts share; `exact` texts are not among the `normalised`."""

    repeated: int
    """training texts that occurred before in the training set, exactly"""
    exact: list[int]
    """numbers (from 0) of the test texts that the training set has"""
    normalised: list[int]
    """numbers of the test texts that it has up to case, punctuation and spaces"""

    def describe(self) -> str:
        """The account in one line."""
        return (
            f"{self.repeated:,} training documents repeat an earlier one; of the test documents "
            f"{len(self.exact):,} are in the training set exactly, {len(self.normalised):,} more up to case, "
            "punctuation and spaces"
        )


def find_duplicates(train: Iterable[str], test: Iterable[str]) -> Duplicates:
    """Find the test texts that the training texts contain as a whole; both are gone through once."""
    exact: set[bytes] = set()
    loose: set[bytes] = set()
    repeated = 0
    for text in train:
        key = digest(text)
        repeated += key in exact
        exact.add(key)
        loose.add(digest(normalised(text)))
    found = Duplicates(repeated, [], [])
    for number, text in enumerate(test):
        if digest(text) in exact:
            found.exact.append(number)
        elif digest(normalised(text)) in loose:
            found.normalised.append(number)
    return found
