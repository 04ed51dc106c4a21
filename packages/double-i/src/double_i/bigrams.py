"""How usual a text is among other texts: a small stand-in for a language model (ours)."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

_WORD = re.compile(r"\w+|[^\w\s]+")


class Bigrams:
    """Mean log-probability a word under add-one unigrams mixed with bigrams, of some texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.one, self.two, self.starts = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
        for text in texts:
            words = ["", *_WORD.findall(text.casefold())]
            self.one.update(words[1:])
            self.starts.update(words[:-1])
            self.two.update(pairwise(words))
        self.total, self.types = sum(self.one.values()), len(self.one) + 1

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """One number a text, in nats; higher is more usual."""
        return [self._score(["", *_WORD.findall(text.casefold())]) for text in texts]

    def _score(self, words: list[str]) -> float:
        if len(words) < 2:
            return 0.0
        total = 0.0
        for before, word in pairwise(words):
            alone = (self.one[word] + 1) / (self.total + self.types)
            after = self.two[before, word] / self.starts[before] if self.starts[before] else 0.0
            total += math.log(0.5 * alone + 0.5 * after)
        return total / (len(words) - 1)
