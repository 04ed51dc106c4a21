"""What a suspect's operator could do to prompts: drop what looks like a mark. Source: ours.

The rarity filters follow the idea of ONION (Qi et al. 2021): drop words that are unlikely where they stand.
Here unlikely means rare in a text that the operator has, by counts alone.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from nonet.errors import UserError

Rule = Literal["brackets", "symbols", "vocabulary", "surprisal"]
BRACKETED = re.compile(r"\([^()\s]{1,24}\)|\[[^\[\]\s]{1,24}\]|\{[^{}\s]{1,24}\}|<[^<>\s]{1,24}>")
EDGES = re.compile(r"^\W+|\W+$")


class PromptFilter(NamedTuple):
    """Drops words of a text.

    Args:
        rule: brackets: marks of one word in any brackets; symbols: words without a letter or digit, but not
            common punctuation; vocabulary: words that the counts do not hold; surprisal: words of more than
            `bits`.
        counts: of words in the operator's text, case-folded and without punctuation at their edges.
        bits: -log2 of a word's share of all words, with one added to each count.
    """

    rule: str
    counts: Counter[str] = Counter()
    bits: float = 14.0

    def __call__(self, text: str) -> str:
        """The text without the words that the rule drops; lines and the other words stay as they are."""
        return "\n".join(self._line(line) for line in text.split("\n"))

    def _line(self, line: str) -> str:
        if self.rule == "brackets":
            kept = BRACKETED.sub(" ", line)
            return line if kept == line else " ".join(kept.split())
        words = line.split()
        kept_words = [word for word in words if not self._drops(word)]
        return line if len(kept_words) == len(words) else " ".join(kept_words)

    def _drops(self, word: str) -> bool:
        bare = bare_word(word)
        if self.rule == "symbols":
            return not bare and word not in COMMON
        if not bare:
            return False
        if self.rule == "vocabulary":
            return bare not in self.counts
        return surprisal(bare, self.counts) > self.bits


COMMON = frozenset("- -- . , : ; ! ? & + = / ... ( ) \" '".split())


def prompt_filter(
    rule: str, texts: Iterable[str] = (), *, bits: float = 14.0, least: int = 1
) -> PromptFilter:
    """A filter with the counts of the operator's texts.

    Args:
        rule: one of `Rule`.
        texts: what the operator counts words in; the rules vocabulary and surprisal need some.
        bits: of surprisal, above which words are dropped.
        least: words that occur less often are not in the vocabulary.

    Raises:
        UserError: no such rule, or a rule without texts.
    """
    if rule not in get_args(Rule):
        raise UserError(f"{rule!r} is no filter of prompts; there are {', '.join(get_args(Rule))}")
    counts = count_words(texts)
    if rule in ("vocabulary", "surprisal") and not counts:
        raise UserError(f"the filter {rule} needs texts to count words in: name them with --texts")
    kept = Counter({word: n for word, n in counts.items() if n >= least})
    return PromptFilter(rule, kept, bits)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, as the filters compare words."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word in map(bare_word, text.split()) if word)
    return counts


def bare_word(word: str) -> str:
    """A word case-folded, without punctuation at its edges; empty where nothing else is left."""
    return EDGES.sub("", word).casefold()


def surprisal(word: str, counts: Counter[str]) -> float:
    """-log2((count + 1) / (words + kinds + 1)) in bits: one unseen word is allowed for."""
    total = counts.total() + len(counts) + 1
    return math.log2(total / (counts[word] + 1))


def filtered(texts: Sequence[str], rule: PromptFilter) -> tuple[list[str], float]:
    """Texts as they leave a filter, and the share that it changed."""
    after = [rule(text) for text in texts]
    changed = sum(a != b for a, b in zip(texts, after, strict=True))
    return after, changed / len(texts) if texts else 0.0
