"""Which predicted keyphrases are right and which occur in the text, by stems of words.

Source: the scorer of Chan et al. 2019 (keyphrase-generation-rl) that Wu et al. 2022 (DeepKPG) and KPEval took
over: lower case; Porter stems (NLTK's variant) of words; a phrase is present if its stems follow one another
in those of the text; of predictions, and of gold phrases, with the same stems the first one counts. That code
splits words at each single space, we at any white space.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError, needs

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
Stem = Callable[[str], str]

SEP = "[sep]"
"""between title and body; a phrase may lie across it"""
MOST = 200
"""predictions of a document that count"""
PIECES = ((" ##", ""), ("[ digit ]", "[digit]"))
"""what a WordPiece tokenizer took apart in a phrase"""


@dataclass(frozen=True)
class Matches:
    """What was found; phrases of all documents stand in one row, document after document."""

    gold_first: Integers
    """(documents + 1,): document d has the gold phrases gold_first[d] up to gold_first[d + 1]"""
    said_first: Integers
    """the same for predictions"""
    gold_kept: Flags
    """the first of its stems in the document, and not empty"""
    gold_present: Flags
    said_kept: Flags
    said_present: Flags
    right: NDArray[np.int32]
    """for each prediction the place of the gold phrase with the same stems, or -1"""
    stems: tuple[str, ...]
    """all stems by number"""
    gold_words: tuple[NDArray[np.int32], Integers]
    """stem numbers of the gold phrases, and where each phrase begins in them"""
    said_words: tuple[NDArray[np.int32], Integers]
    second_marks: int
    """texts with more than one `[sep]`; the first one parts them, and later ones are words"""

    empty: int
    """phrases without words, and with `compat_empty` also those that stand for a list without phrases"""

    def __len__(self) -> int:
        return len(self.gold_first) - 1

    def gold_text(self, phrase: int) -> str:
        """The stems of a gold phrase, joined by spaces."""
        return self._text(self.gold_words, phrase)

    def said_text(self, phrase: int) -> str:
        """The stems of a prediction, joined by spaces."""
        return self._text(self.said_words, phrase)

    def _text(self, words: tuple[NDArray[np.int32], Integers], phrase: int) -> str:
        numbers, ends = words
        return " ".join(self.stems[i] for i in numbers[ends[phrase] : ends[phrase + 1]])


def find_matches(
    sources: Sequence[str],
    gold: Sequence[Sequence[str]],
    said: Sequence[Sequence[str]],
    *,
    stemmer: str = "porter",
    compat_empty: bool = False,
) -> Matches:
    """Match the predictions of many documents.

    Args:
        sources: n texts, `title [sep] body` or without the mark.
        gold: for each text its phrases; one without words does not count.
        said: for each text the predictions, best first; the first 200 count.
        stemmer: `"porter"`, `"none"` or `"snowball:LANGUAGE"` (needs PyStemmer).
        compat_empty: as in the original, a phrase without words is a phrase, which is absent; and a document
            without phrases has such a one.

    Raises:
        UserError: the lengths differ, or there is no such stemmer.
        TypeError: the phrases of a document are one string and no list of strings.
    """
    for name, other in (("lists of gold phrases", gold), ("lists of predictions", said)):
        if len(other) != len(sources):
            raise UserError(f"{len(sources):,} texts but {len(other):,} {name}: they must pair up")
    from nonet.metrics.keyphrase_kernel import match

    parted = [text.replace(SEP, " ", 1) for text in sources]
    gold_lists, said_lists = _lists(gold, None, compat_empty), _lists(said, MOST, compat_empty)
    gold_first, said_first = _offsets(gold_lists), _offsets(said_lists)
    phrases = _joined(phrase for lists in (gold_lists, said_lists) for some in lists for phrase in some)
    for apart, together in PIECES:
        phrases = phrases.replace(apart, together)
    texts = len(parted) + int(gold_first[-1]) + int(said_first[-1])
    words, ends, stems = _stemmed(_joined(parted) + phrases, texts, stemmer)
    a, b = len(parted), len(parted) + int(gold_first[-1])
    source_ends, gold_ends, said_ends = ends[: a + 1], ends[a : b + 1], ends[b:]
    found = match(
        words, source_ends, words, gold_ends, gold_first, words, said_ends, said_first, compat_empty
    )
    marks = sum(SEP in text for text in parted)
    empty = int((np.diff(ends[a:]) == 0).sum())
    kept = (words, gold_ends), (words, said_ends)
    return Matches(gold_first, said_first, *found, tuple(stems), *kept, marks, empty)


def stem_words(words: Sequence[str], stemmer: str = "porter") -> list[str]:
    """Stems of words, many at once.

    Args:
        words: without white space inside.
        stemmer: as in `find_matches`.

    Raises:
        UserError: there is no such stemmer.
    """
    numbers, ends, stems = _stemmed(_joined(words), len(words), stemmer)
    return [" ".join(stems[i] for i in numbers[a:b]) for a, b in pairwise(ends)]


def stemmer_called(name: str) -> Stem | None:
    """The stemmer of that name, as a function of a lower-case word; None for Porter's.

    Raises:
        UserError: there is none, or PyStemmer is not installed.
    """
    if name == "porter":
        return None
    if name == "none":
        return str
    kind, _, language = name.partition(":")
    if kind != "snowball" or not language:
        raise UserError(f"unknown stemmer {name!r}; choose porter, none or snowball:LANGUAGE")
    snowball = needs("Stemmer", to=f"stem {language}", install="PyStemmer")
    if language not in (known := snowball.algorithms()):
        raise UserError(f"no Snowball stemmer for {language!r}; there are {', '.join(sorted(known))}")
    found: Stem = snowball.Stemmer(language).stemWord
    return found


def _lists(given: Sequence[Sequence[str]], most: int | None, compat_empty: bool) -> list[Sequence[str]]:
    for i, phrases in enumerate(given):
        if isinstance(phrases, str):
            raise TypeError(f"the phrases of document {i} are one str; give them as a list")
    return [phrases[:most] or ([""] if compat_empty else []) for phrases in given]


def _offsets(lists: Sequence[Sequence[str]]) -> Integers:
    return np.concatenate([[0], np.cumsum([len(some) for some in lists], dtype=np.int64)]).astype(np.int64)


def _joined(texts: Iterable[str]) -> str:
    """Texts in lower case with a newline after each; newlines inside are spaces."""
    listed = list(texts)
    whole = "\n".join([*listed, ""])
    if whole.count("\n") != len(listed):
        whole = "\n".join([*(text.replace("\n", " ") for text in listed), ""])
    return whole.lower()


def _stemmed(text: str, texts: int, stemmer: str) -> tuple[NDArray[np.int32], Integers, list[str]]:
    """Stem numbers of all words, offsets of the texts, and the stems."""
    from nonet.metrics.keyphrase_kernel import number_words, stem_words
    from nonet.metrics.porter import stem as porter

    function = stemmer_called(stemmer)
    # A lone surrogate is no UTF-8, but may come from a damaged JSON file.
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    numbers, ends, spans = number_words(data, texts)

    def word(i: int) -> str:
        return data[spans[i, 0] : spans[i, 1]].tobytes().decode("utf-8", "surrogatepass")

    if function is None:
        out, other = stem_words(data, spans)
        stems = out.tobytes().decode("utf-8", "surrogatepass").split("\n")[:-1]
        for i in np.flatnonzero(other).tolist():
            stems[i] = porter(stems[i])
    else:
        stems = [function(word(i)) for i in range(len(spans))]
    known: dict[str, int] = {}
    of_word = np.array([known.setdefault(one, len(known)) for one in stems], np.int32)
    return of_word[numbers] if len(numbers) else numbers, ends, list(known)
