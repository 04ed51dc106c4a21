"""Key spaces: the declared lists that triggers and decorations are drawn from.

The kinds of words are those of Li et al. 2024 (two letters, doubled letters, bracketed words); random drawing
from a declared space, the pseudo-words, the three-symbol marks and the stop lists are ours.
"""

import re
from collections.abc import Collection, Iterable
from functools import cache, lru_cache
from importlib.resources import files
from itertools import product
from string import ascii_lowercase

from nonet.errors import UserError

SPACES = {"input": ("pseudo-words", "letters"), "instruction": ("marks",), "words": ("doubled",)}
"""paradigm -> its spaces, the recommended one first"""

# Pairs that moderation or a reader may take offence at, units, and short words of English.
LETTER_STOPS = frozenset(
    "bj bs cu dp fu fk gf kk nz ss vd wc wt xx pp tt "
    "am an as at be by do go he if in is it me my no of oh ok on or so to up us we ad ah id hi eh ex ha "
    "mm cm km dm nm ml cl dl mg kg ng ms ns ps hz gb mb kb tb lb oz ft yd pt qt db kw mw mv kv "
    "vs eg ie al et etc cf pp dr mr st uk eu un tv pc ai ip os pm bc la de le en el un".split()
)
_STOP_PARTS = (
    "fuk", "fuc", "fag", "nig", "neg", "cum", "kum", "tit", "dik", "dic", "kok", "coc", "pus", "rap",
    "sex", "naz",
    "kil", "gay", "les", "pis", "poo", "sut", "sit", "bit", "bic", "kun", "cun", "kak", "kik", "gok",
    "jap", "gip",
    "ret", "hom", "tar", "pak", "bom", "hit", "wan", "nud", "pim", "pen", "sem", "vag", "rus", "jew", "jud",
)  # fmt: skip
_CONSONANTS = "bdfghjklmnprstvwz"
_VOWELS = "aeiou"
_ENDS = "bdfgklmnprtvxz"
_SYMBOLS = "!#$%&*+-/:;=?@^_|~.,"


@cache
def word_list(name: str) -> tuple[str, ...]:
    """The lines of a bundled list: `words`, `questions` or `word-questions`."""
    text = (files("double_i") / "word_lists" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


@cache
def all_members(name: str) -> tuple[str, ...]:
    """Every member of a space, in a fixed order, before the owner's data take some away.

    Raises:
        UserError: there is no such space.
    """
    if name == "letters":
        pairs = ("".join(pair) for pair in product(ascii_lowercase, repeat=2))
        return tuple(pair for pair in pairs if pair not in LETTER_STOPS)
    if name == "pseudo-words":
        real = frozenset(word_list("words"))
        shapes = product(_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _ENDS)
        return tuple(
            word
            for word in map("".join, shapes)
            if word not in real and not any(part in word for part in _STOP_PARTS)
        )
    if name == "marks":
        words = tuple(f"({word})" for word in word_list("words"))
        # A symbol three times is a heading, a rule or an ellipsis in real text; ### belongs to the template.
        marks = (a + b + c for a, b, c in product(_SYMBOLS, repeat=3) if not a == b == c)
        return words + tuple(marks)
    if name == "doubled":
        return tuple(letter * 2 for letter in ascii_lowercase)
    raise UserError(f"there is no key space {name!r}; there are letters, pseudo-words, marks and doubled")


def members(name: str, excluded: Collection[str] = ()) -> tuple[str, ...]:
    """The members of a space without the excluded ones.

    Raises:
        UserError: fewer than two are left.
    """
    left = _left(name, frozenset(excluded))
    if len(left) < 2:
        raise UserError(f"the key space {name} has {len(left)} members left that the owner's data do not use")
    return left


@lru_cache(maxsize=8)
def _left(name: str, gone: frozenset[str]) -> tuple[str, ...]:
    return tuple(member for member in all_members(name) if member not in gone)


def is_weak(name: str) -> bool:
    """Whether a space is too small to keep a secret (an opponent can try all of it)."""
    return len(all_members(name)) < 1000


_TOKEN = re.compile(r"[^\W_]+")
_BRACKETED = re.compile(r"\([a-z]+\)")
_RUN = re.compile(f"[{re.escape(_SYMBOLS)}]{{3,}}")


class Collisions:
    """Collects what occurs in the owner's data, so that no key is drawn from it.

    Words are compared without case; a mark of symbols occurs wherever its characters stand; a bracketed word
    only in its brackets, as the bare words are ordinary ones.
    """

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._marks: set[str] = set()

    def add(self, texts: Iterable[str]) -> None:
        """Look at some texts."""
        for text in texts:
            folded = text.casefold()
            self._words.update(_TOKEN.findall(folded))
            self._marks.update(_BRACKETED.findall(folded))
            for run in _RUN.findall(text):
                self._marks.update(run[i : i + 3] for i in range(len(run) - 2))

    def excluded(self, name: str) -> tuple[str, ...]:
        """The members of a space that occur, sorted."""
        seen = self._marks if name == "marks" else self._words
        return tuple(sorted(member for member in all_members(name) if member in seen))


def occurrences(needle: str, text: str) -> int:
    """How often a trigger or decoration occurs in a text: words only as a whole; marks anywhere."""
    if needle.casefold() not in text.casefold():
        return 0
    if needle.isalnum():
        return len(re.findall(rf"(?<![^\W_]){re.escape(needle)}(?![^\W_])", text, re.IGNORECASE))
    return text.casefold().count(needle.casefold())
