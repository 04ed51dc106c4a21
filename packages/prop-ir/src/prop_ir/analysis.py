"""Terms of a text as Lucene's default for English finds them: words, without stop words, stemmed.

Lucene's chain (`StandardTokenizer`, `EnglishPossessiveFilter`, lower case, `StopFilter`, `PorterStemFilter`),
which Anserini and Pyserini index with, restated here; source of the word breaks: Unicode Standard Annex 29.
It is the same chain up to emoji, letters beyond the first 65,536 characters, Katakana or Thai that touches
letters of another script, accents on digits, words of more than 255 letters, and capitals whose lower case
has two characters.

`words="plain"` takes the runs of letters, digits and underscores instead, and `stemmer="porter"` is
PyStemmer's Porter: together the usual set-up of bm25s.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import Stemmer

from nonet.errors import UserError

Words = Literal["lucene", "plain"]

STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
"""the 33 words of Lucene's EnglishAnalyzer"""

LUCENE = "lucene"  # Porter's own program, as Lucene has it
NONE = "none"

# Chinese characters and Hiragana: each is a word by itself.
_HAN = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_JOIN_LETTERS = ":\u00b7\u0387\u05f4\u2027\ufe13\ufe55\uff1a"  # MidLetter
_JOIN_DIGITS = (
    ",;\u037e\u0589\u060c\u060d\u066b\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"  # MidNum
)
_JOIN_BOTH = ".'\u2018\u2019\u2024\ufe52\uff07\uff0e"  # MidNumLet and the single quote
_FORMAT = "\u00ad\u200c\u200d\u2060\ufeff"  # belong to the letter before them
_POSSESSIVE = ("'s", "\u2019s", "\uff07s")
_VOWELS = frozenset("aeiou")


class Analyser:
    """Turns texts into terms; the same object for documents and queries.

    Args:
        words: `lucene`, or `plain` for runs of letters, digits and underscores.
        stemmer: `lucene`, `none`, or an algorithm of PyStemmer: `porter`, `english`, `german`, ...
        stop_words: lower-cased words that are left out.

    Attributes:
        find: the words of a lower-cased text without blanks; no word reaches over a blank.
        stem: the term of a lower-cased word.

    Raises:
        UserError: no such stemmer.
    """

    def __init__(
        self, *, words: Words = "lucene", stemmer: str = LUCENE, stop_words: Collection[str] = STOP_WORDS
    ) -> None:
        self.words: Words = words
        self.stemmer = stemmer
        self.stop_words = frozenset(stop_words)
        self.find = _lucene_words if words == "lucene" else re.compile(r"\w+").findall
        self.stem = _stemmer(stemmer)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Analyser":
        """The analyser that `settings` describes."""
        return cls(**settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes this analyser, as JSON values."""
        return {"words": self.words, "stemmer": self.stemmer, "stop_words": sorted(self.stop_words)}

    def __reduce__(self) -> Any:
        return Analyser.of, (self.settings,)

    def terms(self, text: str) -> list[str]:
        """A text's terms, in order: `terms("The dogs' houses")` is `["dog", "hous"]`."""
        words = [word for piece in text.lower().split() for word in self.find(piece)]
        return [self.stem(word) for word in words if word not in self.stop_words]


def read_stop_words(name: str) -> frozenset[str]:
    """Stop words by name or from a file.

    Args:
        name: `english` for the 33 of Lucene, `none`, or a text file with one word a line; what follows a `#`
            is a comment.

    Raises:
        UserError: there is no such file, or it is no text.
    """
    if name == "english":
        return STOP_WORDS
    if name == NONE:
        return frozenset()
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"stop words {name}: no such file; give english, none, or a file of words") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"stop words {name}: cannot be read ({error})") from error
    return frozenset(word for line in lines if (word := line.partition("#")[0].strip().lower()))


def _stemmer(name: str) -> Callable[[str], str]:
    if name == NONE:
        return str
    if name == LUCENE:
        return _porter_program(Stemmer.Stemmer("porter").stemWord)
    if name not in Stemmer.algorithms():
        known = ", ".join([LUCENE, NONE, *Stemmer.algorithms()])
        raise UserError(f"stemmer {name!r} is unknown; there are {known}")
    stem: Callable[[str], str] = Stemmer.Stemmer(name).stemWord
    return stem


def _porter_program(published: Callable[[str], str]) -> Callable[[str], str]:
    """Porter's algorithm as his program has it, from the algorithm as he published it.

    The program, and Lucene with it, leaves words of one or two letters alone, and has two other rules in step
    2 (of measure > 0 both): bli -> ble for abli -> able, and logi -> log. Words with these endings pass the
    published steps 2 to 5 unchanged, so that the program's later steps can be taken afterwards.
    """

    def stem(word: str) -> str:
        if len(word) < 3:
            return word
        found = published(word)
        if found.endswith("bli") and _measure(found[:-3]):
            return published(found[:-1] + "e")
        if found.endswith("logi") and _measure(found[:-4]):
            return found[:-1]
        return found

    return stem


def _measure(stem: str) -> int:
    """Porter's m: how often a consonant follows a vowel."""
    count, before = 0, False
    for place, letter in enumerate(stem):
        vowel = letter in _VOWELS or (letter == "y" and place > 0 and not before)
        count += before and not vowel
        before = vowel
    return count


def _lucene_words(piece: str) -> list[str]:
    """Words of a text without blanks by Unicode's rules, without the possessive 's."""
    if piece.isascii() and piece.isalnum():
        return [piece]
    words = []
    for word in _word_pattern().findall(piece):
        if word[-2:] in _POSSESSIVE:
            word = word[:-2]
        if any(map(str.isalnum, word)):  # underscores alone are no word
            words.append(word)
    return words


@cache
def _word_pattern() -> re.Pattern[str]:
    """Letters, digits and underscores, the marks on them, and a mark of punctuation between two of a kind."""
    attached, joiners, other = [], [], []
    for code in range(0x10000):
        character = chr(code)
        match unicodedata.category(character):
            case "Mn" | "Mc" | "Me":
                attached.append(character)
            case "Pc":
                joiners.append(character)
            case "No":  # superscripts, fractions, ...: \w has them, Unicode's words have not
                other.append(character)
    tail = f"[{_ranges(attached)}{_FORMAT}]"
    outside = f"{_HAN}{_ranges(other)}"
    start, letter = f"[^\\W{outside}]|[{_ranges(joiners)}]", f"[^\\W\\d_{outside}]"
    letters, digits = (f"[{re.escape(some + _JOIN_BOTH)}]" for some in (_JOIN_LETTERS, _JOIN_DIGITS))
    inside = (
        f"{start}|{tail}|(?:(?<={letter})|(?<={tail})){letters}{tail}*(?={letter})"
        f"|(?<=\\d){digits}{tail}*(?=\\d)"
    )
    return re.compile(f"[{_HAN}]{tail}*|(?:{start})(?:{inside})*")


def _ranges(characters: list[str]) -> str:
    """Ascending characters as the inside of a character class."""
    parts: list[list[int]] = []
    for code in map(ord, characters):
        if parts and code == parts[-1][1] + 1:
            parts[-1][1] = code
        else:
            parts.append([code, code])
    return "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in parts)
