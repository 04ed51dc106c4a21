"""YAKE: words scored by case, place, frequency, context and spread, and phrases by their words.

Source: Campos et al. 2020, "YAKE! Keyword extraction from single documents using multiple local features",
Information Sciences 509, equations 1 to 7, with what the authors' program (yake 0.7) does where it departs
from
them: a final s is cut from words of more than three letters, words of fewer than three letters count as stop
words, contexts have one word on each side, and a stop word inside a phrase counts by how often it stands
between its neighbours. Small scores are good ones.
"""

import math
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_PUNCTUATION = frozenset(string.punctuation)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SKIPPED = frozenset("du")  # numbers, and words of letters with digits or much punctuation


class Phrase(NamedTuple):
    """A candidate of YAKE.

    Attributes:
        text: in lower case.
        score: small is good; it can be negative where stop words stand inside.
        times: how often it occurs.
    """

    text: str
    score: float
    times: int


def yake_phrases(
    sentences: Sequence[Sequence[str]], stop_words: frozenset[str] | set[str], *, longest: int = 3
) -> list[Phrase]:
    """The candidates of a text with their scores, in the order in which they first end.

    Args:
        sentences: tokens as written, punctuation among them, which ends a block.
        stop_words: in lower case.
        longest: words of a phrase.

    Source: `DataCore` of yake 0.7 with a window of one word; equal to its scores up to rounding.
    """
    text = _Text(stop_words)
    for number, sentence in enumerate(sentences):
        text.add(sentence, number, longest)
    return text.phrases(len(sentences))


def kind_of(word: str, place: int) -> str:
    """What a word is: d a number, u unusual, a an acronym, n a name (a capital inside a sentence), else p."""
    plain = word.replace(",", "")
    if plain.isdigit() or plain.replace(".", "", 1).isdigit():
        return "d"
    digits = any(character.isdigit() for character in word)
    letters = any(character.isalpha() for character in word)
    if digits == letters or sum(character in _PUNCTUATION for character in word) > 1:
        return "u"
    if word.isupper():
        return "a"
    if len(word) > 1 and word[0].isupper() and place and sum(map(str.isupper, word)) == 1:
        return "n"
    return "p"


class _Text:
    """Counts over the words of a text, and the candidates in it."""

    def __init__(self, stop_words: frozenset[str] | set[str]) -> None:
        self.stop_words = stop_words
        self.ids: dict[str, int] = {}
        self.is_stop: list[bool] = []
        self.count: list[int] = []
        self.acronyms: list[int] = []
        self.names: list[int] = []
        self.sentences: list[list[int]] = []  # ascending, each once
        self.pairs: Counter[tuple[int, int]] = Counter()
        self.candidates: dict[str, tuple[list[int], list[bool]]] = {}  # words; count and validity below
        self.counts: Counter[str] = Counter()

    def add(self, sentence: Sequence[str], number: int, longest: int) -> None:
        """Count one sentence."""
        block: list[tuple[str, int, bool]] = []  # word, id, whether it is skipped
        for place, word in enumerate(sentence):
            if all(character in _PUNCTUATION for character in word):
                block = []
                continue
            kind = kind_of(word, place)
            term = self._id(word.lower())
            self.count[term] += 1
            self.acronyms[term] += kind == "a"
            self.names[term] += kind == "n"
            if not self.sentences[term] or self.sentences[term][-1] != number:
                self.sentences[term].append(number)
            skipped = kind in _SKIPPED
            if block and not skipped and not block[-1][2]:
                self.pairs[block[-1][1], term] += 1
            block.append((word.lower(), term, skipped))
            for size in range(1, min(longest, len(block)) + 1):
                part = block[-size:]
                text = " ".join(each[0] for each in part)
                usual = not any(each[2] for each in part)
                if text not in self.candidates:
                    self.candidates[text] = ([each[1] for each in part], [usual])
                elif usual:
                    self.candidates[text][1][0] = True
                self.counts[text] += 1

    def _id(self, word: str) -> int:
        single = word[:-1] if word.endswith("s") and len(word) > 3 else word
        if single not in self.ids:
            self.ids[single] = len(self.ids)
            short = len(single.translate(_NO_PUNCTUATION)) < 3
            self.is_stop.append(short or word in self.stop_words or single in self.stop_words)
            for counts in (self.count, self.acronyms, self.names):
                counts.append(0)
            self.sentences.append([])
        return self.ids[single]

    def word_scores(self, sentences: int) -> list[float]:
        """S(t) of equation 6, for each word."""
        usual = [count for count, stop in zip(self.count, self.is_stop, strict=True) if not stop]
        if not usual:
            return [0.0] * len(self.count)
        mean = sum(usual) / len(usual)
        deviation = math.sqrt(sum((count - mean) ** 2 for count in usual) / len(usual))
        most = max(self.count)
        different_left, different_right = [0] * len(self.count), [0] * len(self.count)
        all_left, all_right = [0] * len(self.count), [0] * len(self.count)
        for (left, right), count in self.pairs.items():
            different_right[left] += 1
            all_right[left] += count
            different_left[right] += 1
            all_left[right] += count
        scores = []
        for term, count in enumerate(self.count):
            before = different_left[term] / all_left[term] if all_left[term] else 0.0
            after = different_right[term] / all_right[term] if all_right[term] else 0.0
            relatedness = 1 + (before + after) * count / most
            case = max(self.acronyms[term], self.names[term]) / (1 + math.log(count))
            position = math.log(math.log(3 + _median(self.sentences[term])))
            frequency = count / (mean + deviation)
            spread = len(self.sentences[term]) / sentences
            scores.append(position * relatedness / (case + (frequency + spread) / relatedness))
        return scores

    def phrases(self, sentences: int) -> list[Phrase]:
        """Every candidate that begins and ends with a word that counts (equation 7)."""
        scores = self.word_scores(sentences)
        found = []
        for text, (terms, usual) in self.candidates.items():
            if usual[0] and not self.is_stop[terms[0]] and not self.is_stop[terms[-1]]:
                total: float = 0
                product: float = 1
                for place, term in enumerate(terms):
                    if self.is_stop[term]:
                        before, after = terms[place - 1], terms[place + 1]
                        rarity = 1 - (
                            self.pairs[before, term] / self.count[before]
                            * self.pairs[term, after] / self.count[after]
                        )  # fmt: skip
                        total, product = total - rarity, product * (1 + rarity)
                    else:
                        total, product = total + scores[term], product * scores[term]
                count = self.counts[text]
                found.append(Phrase(text, product / ((total + 1) * count), count))
        return found


def _median(values: Sequence[int]) -> float:
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
