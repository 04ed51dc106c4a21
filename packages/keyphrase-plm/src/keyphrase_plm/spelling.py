"""Written phrases in the spelling of the text, which a tokenizer took apart or simplified (ours).

BERT's tokenizer parts every sign and drops accents, so that its models write `c + +` and `naive` where the
text has `c ++` and `naïve`; by exact match both would be wrong. A phrase that is a run of words of the text,
but for accents, case and spaces beside signs, is written as those words. In any other, signs side by side are
one word, as `prepare` has them.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

LONGEST = 12
"""words of a run that is looked for"""

_SIGN = re.compile(r"[^\w\s]+")
_TAKEN_APART = re.compile(r"[^\w\s]|_")  # where spaces may be the tokenizer's, not the model's


class Spelling:
    """The words of a document, for looking phrases up.

    Args:
        words: of the text, as they stand there.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self._bare = [bare(word) for word in words]
        self._starts: dict[str, list[int]] = {}
        for place, word in enumerate(self._bare):
            if word:
                self._starts.setdefault(word[0], []).append(place)

    def of(self, phrase: str) -> str:
        """The phrase as the text spells it where it first stands; else with its signs joined.

        `Spelling(["c", "++", "is", "naïve"]).of("c + +")` is `"c ++"`, `.of("na + +")` is `"na ++"`.
        """
        parts = [bare(word) for word in phrase.split()]
        wanted = "".join(parts)
        starts = self._starts.get(wanted[:1], [])
        for start in starts:
            if self._bare[start : start + len(parts)] == parts:
                return " ".join(self.words[start : start + len(parts)])
        for start in starts if _TAKEN_APART.search(phrase) else ():
            run = ""
            for stop in range(start, min(start + LONGEST, len(self.words))):
                run += self._bare[stop]
                if run == wanted:
                    return " ".join(self.words[start : stop + 1])
                if not wanted.startswith(run):
                    break
        return with_joined_signs(phrase)

    def spelled(self, read: Sequence[tuple[str, float]], *, ended: bool) -> Iterator[tuple[str, float]]:
        """What was read of one output, spelled, with its scores.

        Args:
            read: phrases in the order written, repeated ones, too (`PhraseReader.written`).
            ended: whether the output came to its end; else a last phrase that goes in circles is left out.
        """
        for left, (phrase, score) in zip(reversed(range(len(read))), read, strict=True):
            if ended or left or not loops(phrase):
                yield self.of(phrase), score


def bare(text: str) -> str:
    """Text without spaces, accents and case."""
    if text.isascii():
        return "".join(text.lower().split())
    parted = unicodedata.normalize("NFD", text.lower())
    kept = (letter for letter in parted if unicodedata.category(letter) != "Mn")
    return "".join("".join(kept).split())


def with_joined_signs(phrase: str) -> str:
    """The phrase with signs that stand side by side as one word; `[digit]` stays apart."""
    joined: list[str] = []
    for word in phrase.split():
        if joined and _SIGN.fullmatch(word) and _SIGN.fullmatch(joined[-1]):
            joined[-1] += word
        else:
            joined.append(word)
    return " ".join(joined)


def loops(phrase: str, *, times: int = 3, longest: int = 4) -> bool:
    """Whether a phrase ends in the same run of words, or of letters, again and again.

    `"data data data data"` and `"a b a b a b"` do, as does a word like `"rerererere"`.

    Args:
        phrase: that was cut off by the longest output rather than ended.
        times: repetitions that make a loop.
        longest: words (or letters) of a run.
    """
    letters = list(phrase.replace(" ", ""))
    return _periodic(phrase.split(), times, longest) or _periodic(letters, times + 1, longest)


def _periodic(parts: list[str], times: int, longest: int) -> bool:
    for size in range(1, min(longest, len(parts) // times) + 1):
        tail = parts[-size * times :]
        if tail == tail[-size:] * times:
            return True
    return False
