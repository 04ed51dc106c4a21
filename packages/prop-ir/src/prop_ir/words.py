"""Words of the document language model: a pattern over lower-cased text, without stop words.

The released code's rule (`prop/preprocessing_data.py`) is the default: runs of the letters a to z, of which
the 475 words of the NLTK and INQUERY lists together are not counted. It has nothing to do with word pieces.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from prop_ir.options import WordOptions

LETTERS = ("[a-zA-Z]+", "[a-z]+", "[A-Za-z]+")
"""patterns whose words in lower-cased text are the runs of ASCII letters"""

_TO_SPACE = bytes(byte if chr(byte).isalpha() and byte < 128 else 32 for byte in range(256))


class CountedWords(NamedTuple):
    """The words of some documents as numbers of their types."""

    types: list[str]
    """the different words, in the order of first appearance"""
    flat: NDArray[np.uint32]
    """(n,) type numbers of all documents, one document after the other"""
    offsets: NDArray[np.int64]
    """(documents + 1,) where each document begins in `flat`"""
    types_after: NDArray[np.int64]
    """(documents,) types seen once a document is read"""


@cache
def stop_words(name: str = "english") -> frozenset[str]:
    """The words that are not counted: `english` has 475, `none` has none."""
    if name == "none":
        return frozenset()
    lines = files("prop_ir").joinpath("stop_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


class Words:
    """Finds a document's words; it can be pickled.

    Args:
        options: pattern, case and stop words; None for the released code's.

    Raises:
        UserError: the pattern is none, has groups, or matches nothing at all.
    """

    def __init__(self, options: WordOptions | None = None) -> None:
        self.options = options = options or WordOptions()
        try:
            self.pattern = re.compile(options.regex)
        except re.error as error:
            raise UserError(f"words.regex {options.regex!r} is no pattern: {error}") from error
        if self.pattern.groups:
            raise UserError(f"words.regex {options.regex!r} has groups; write (?:...) in place of (...)")
        if self.pattern.match(""):
            raise UserError(f"words.regex {options.regex!r} matches the empty word; write + in place of *")
        self._plain = options.regex in LETTERS and options.lower

    def find(self, text: str) -> list[str]:
        """A text's words in order, stop words left out."""
        stop = stop_words(self.options.stop_words)
        return [word for word in self.pattern.findall(self._cased(text)) if word.lower() not in stop]

    def any(self, text: str) -> bool:
        """Whether a text has a word that is no stop word; looks no further than the first one."""
        stop = stop_words(self.options.stop_words)
        return any(found.group().lower() not in stop for found in self.pattern.finditer(self._cased(text)))

    def count(self, texts: Sequence[str]) -> CountedWords:
        """The words of documents as numbers; those of `find`, but a few million a second.

        Args:
            texts: documents.
        """
        numbers: defaultdict[str | bytes, int] = defaultdict(count().__next__)
        found, after = [], np.zeros(len(texts), np.int64)
        for d, text in enumerate(texts):
            words = self._runs(text)
            found.append(np.fromiter(map(numbers.__getitem__, words), np.int64, len(words)))
            after[d] = len(numbers)
        spelt = [word.decode("ascii") if isinstance(word, bytes) else word for word in numbers]
        stop = stop_words(self.options.stop_words)
        kept = np.fromiter((word.lower() not in stop for word in spelt), bool, len(spelt))
        renumbered = np.cumsum(kept) - 1
        parts = [renumbered[words[kept[words]]] for words in found]
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        flat = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        types = [word for word, keep in zip(spelt, kept.tolist(), strict=True) if keep]
        types_after = np.concatenate([[0], renumbered + 1])[after]
        return CountedWords(types, flat.astype(np.uint32), offsets, types_after)

    def _cased(self, text: str) -> str:
        return text.lower() if self.options.lower else text

    def _runs(self, text: str) -> Sequence[str | bytes]:
        """All words; letters alone go by bytes, which takes two thirds of the pattern's time."""
        if self._plain:
            return self._cased(text).encode("utf-8", "replace").translate(_TO_SPACE).split()
        return self.pattern.findall(self._cased(text))
