"""What an answer says: yes, no, or neither, by its first word.

Source: ours. The published code counts the letters "No" anywhere, which "Not" and "Now" contain as well.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

Label = Literal["yes", "no"]


def fold(text: str) -> str:
    """The form in which words are compared: compatibility-decomposed, case-folded."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


def first_word(text: str) -> str:
    """The first run of letters with their marks, folded; empty if there are no letters."""
    text = fold(text)
    start = next((place for place, sign in enumerate(text) if sign.isalpha()), len(text))
    end = start
    while end < len(text) and (text[end].isalpha() or unicodedata.category(text[end])[0] == "M"):
        end += 1
    return text[start:end]


@dataclass(frozen=True, kw_only=True)
class AnswerWords:
    """The words that count as answers, fixed before the first question."""

    yes: tuple[str, ...] = ("Yes",)
    no: tuple[str, ...] = ("No",)

    def __post_init__(self) -> None:
        for word in (*self.yes, *self.no):
            if not word or first_word(word) != fold(word):
                raise UserError(f"answer word {word!r}: it has to be one word of letters")
        both = {fold(word) for word in self.yes} & {fold(word) for word in self.no}
        if both:
            raise UserError(f"answer word {sorted(both)[0]!r} would mean both yes and no")
        if not self.yes or not self.no:
            raise UserError("there has to be an answer word for yes and one for no")

    @classmethod
    def with_extra(cls, yes: tuple[str, ...] = (), no: tuple[str, ...] = ()) -> "AnswerWords":
        """Yes and No, and further words such as Oui and Non."""
        return cls(yes=("Yes", *yes), no=("No", *no))


def parse(raw: str, words: AnswerWords | None = None) -> Label | None:
    """What an answer says.

    `parse("**Yes**, it does")` is `"yes"`, `parse("None of it")` is None.

    Args:
        raw: the answer as it came.
        words: those that count; by default Yes and No.
    """
    words = words or AnswerWords()
    word = first_word(raw)
    if word in {fold(one) for one in words.yes}:
        return "yes"
    return "no" if word in {fold(one) for one in words.no} else None
