"""Which phrases occur in a text: the two tests of DeepKPG, which differ (Wu et al. 2022, its code).

- `token`, of the scorer: the phrase's stemmed words follow one another in the stemmed words of the text.
- `prep`, of the preparation: the stemmed phrase is a substring of the stemmed text, as strings. So "art" is
  present in "start", and "scan" is absent from "scan,", as words are split at white space.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from nonet.errors import UserError, needs

Stem = Callable[[str], str]
Rule = Literal["token", "prep"]
RULES: tuple[Rule, ...] = ("token", "prep")

LARGEST_CACHE = 1 << 20  # words; a cache that has grown beyond begins again


def split(
    source_words: Sequence[str], phrases: Sequence[str], stem: Stem, *, rule: Rule = "token"
) -> tuple[list[str], list[str]]:
    """Phrases that occur in a text, and those that do not; each in the given order.

    Args:
        source_words: the words of title and body, as they were split.
        phrases: their words are split at white space. An empty one is left out.
        stem: of a word, such as `stemmer("porter")`.
        rule: `"token"` or `"prep"`.

    Returns:
        Present and absent.
    """
    return ReadSource(source_words, stem, rule=rule).split(phrases)


class ReadSource:
    """A text, stemmed once, that phrases are looked for in.

    Args:
        source_words: as in `split`.
        stem: as in `split`.
        rule: as in `split`.
    """

    def __init__(self, source_words: Sequence[str], stem: Stem, *, rule: Rule = "token") -> None:
        if rule not in RULES:
            raise UserError(f"unknown rule of presence {rule!r}; choose {' or '.join(RULES)}")
        self.stem = stem
        self._edge = " " if rule == "token" else ""
        self._text = self._edge + " ".join(map(stem, source_words)) + self._edge

    def holds(self, phrase: str) -> bool:
        """Whether a phrase occurs; an empty one does not."""
        words = " ".join(map(self.stem, phrase.split()))
        return bool(words) and f"{self._edge}{words}{self._edge}" in self._text

    def split(self, phrases: Sequence[str]) -> tuple[list[str], list[str]]:
        """Present and absent phrases, each in the given order, without empty ones."""
        present: list[str] = []
        absent: list[str] = []
        for phrase in phrases:
            if phrase.strip():
                (present if self.holds(phrase) else absent).append(phrase)
        return present, absent


class _Cache(dict[str, str]):
    """Stems of words met before."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.stem = stem

    def __missing__(self, word: str) -> str:
        if len(self) >= LARGEST_CACHE:
            self.clear()
        found = self[word] = self.stem(word)
        return found


def stemmer(name: str = "porter") -> Stem:
    """A stemmer that remembers what it has seen.

    Args:
        name: `"porter"` (NLTK's default, for English: all published numbers use it), `"none"` (lower case
            only), or `"snowball:LANGUAGE"`, such as `"snowball:german"`.

    Raises:
        UserError: there is no such stemmer, or PyStemmer is not installed.
    """
    return _Cache(_plain(name)).__getitem__


def _plain(name: str) -> Stem:
    if name == "none":
        return str.lower
    if name == "porter":
        from nonet.metrics.porter import stem

        return stem
    kind, _, language = name.partition(":")
    if kind != "snowball" or not language:
        raise UserError(f"unknown stemmer {name!r}; choose porter, none or snowball:LANGUAGE")
    snowball = needs("Stemmer", to=f"stem {language}", install="keyphrase-plm[stem]")
    if language not in (known := snowball.algorithms()):
        raise UserError(f"no Snowball stemmer for {language!r}; there are {', '.join(sorted(known))}")
    stem_word = snowball.Stemmer(language).stemWord
    return lambda word: str(stem_word(word.lower()))
