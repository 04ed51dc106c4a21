"""When the first word of a growing answer is known, and how a word may be spelt. Source: ours."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from double_i.answers import fold


def decided(text: str, known: Iterable[str]) -> bool:
    """Whether nothing that follows a text can change how its first word parses.

    Args:
        text: the beginning of an answer.
        known: the words that count, as `known_words` gives them.
    """
    # a cut character is shown as U+FFFD, and what it will be is open
    text = fold(text.rstrip("\ufffd"))
    start = next((place for place, sign in enumerate(text) if sign.isalpha()), None)
    if start is None:
        return False
    end = start
    while end < len(text) and (text[end].isalpha() or unicodedata.category(text[end])[0] == "M"):
        end += 1
    word = text[start:end]
    return end < len(text) or not any(other.startswith(word) for other in known)


def known_words(words: Any = None) -> frozenset[str]:
    """The words that count in the form that `decided` compares: decomposed and case-folded.

    Args:
        words: None (yes and no), or an object or mapping that holds strings and collections of strings.
    """
    if words is None:
        words = ("yes", "no")
    return frozenset(fold(word) for word in _strings(words))


def spellings(word: str) -> list[str]:
    """How a model may begin a word: capital or small, with a space or without."""
    forms = dict.fromkeys((word, word.lower(), word.capitalize(), word.upper()))
    return [space + form for space in ("", " ") for form in forms]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, Iterable):
        for part in value:
            yield from _strings(part)
    elif hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        names = vars(value) if hasattr(value, "__dict__") else value.__slots__
        for name in names:
            yield from _strings(getattr(value, name))
