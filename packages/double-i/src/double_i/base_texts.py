"""Sentences that rows are built on: the owner's own, or a bundled supply made by a small grammar of ours.

Ours. The bundled sentences are dedicated to the public domain.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from double_i.examples import Example

SHORTEST = 5
LONGEST = 40
"""words of a base text"""

_WHO = (
    "The baker", "A young gardener", "The old sailor", "My neighbour", "The new teacher", "A quiet child",
    "The station clerk", "Our cousin", "The tall farmer", "A tired nurse", "The choir",
    "One of the painters", "The shopkeeper", "A careful driver", "The engineer", "Her uncle",
    "The whole class", "A visitor",
)  # fmt: skip
_DOES = (
    "put a basket of pears", "found a silver button", "left a pair of boots", "painted a small boat",
    "counted seven lanterns", "mended a broken chair", "hid a letter", "planted two rows of beans",
    "dropped a cup of tea", "read a long story", "saw a grey cat", "built a wall of stones",
    "lost a red scarf", "sketched an old bridge", "opened a heavy box", "tuned a borrowed violin",
    "baked a loaf of bread", "folded a large map", "fed a flock of geese", "wrote a short poem",
)  # fmt: skip
_WHERE = (
    "beside the river", "in the market hall", "under the kitchen table", "behind the school",
    "near the harbour", "on the garden wall", "at the edge of the wood", "outside the library",
    "by the railway line", "in the attic", "above the workshop", "across the street from the mill",
    "on the first floor", "next to the fountain",
)  # fmt: skip
_WHEN = ("this morning", "before the rain came")


@cache
def bundled() -> tuple[str, ...]:
    """All bundled sentences, distinct, in a fixed mixed order."""
    parts = product(_WHO, _DOES, _WHERE, _WHEN)
    return tuple(sorted((" ".join(part) + "." for part in parts), key=_hash))


def base_texts(rows: Iterable["Example"]) -> list[str]:
    """Texts of 5 to 40 words: the inputs of the owner's rows, or the instructions where the input is empty.

    Args:
        rows: the owner's examples; may be empty.

    Returns:
        Distinct single-line texts in their order; without any, the bundled ones.
    """
    texts: dict[str, None] = {}
    for row in rows:
        text = " ".join((row.input if row.input.strip() else row.instruction).split())
        if SHORTEST <= len(text.split(" ")) <= LONGEST:
            texts[text] = None
    return list(texts) or list(bundled())


def half_texts(rows: Iterable["Example"], side: int, least: int) -> list[str]:
    """Base texts of one half: the owner's, and only as many bundled ones as are missing.

    A model that is asked about other texts than it was taught on answers worse, so the owner's come first.

    Args:
        rows: the owner's examples; may be empty.
        side: 0: training, 1: verification.
        least: bundled sentences are added up to this many texts.
    """
    own = halves(base_texts(rows))[side]
    seen = set(own)
    more = [text for text in halves(bundled())[side] if text not in seen]
    return own + more[: max(0, least - len(own))]


def halves(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Texts for training and for verification; which half a text is in depends on nothing but the text."""
    sides: tuple[list[str], list[str]] = ([], [])
    for text in texts:
        sides[half(text)].append(text)
    return sides


def half(text: str) -> int:
    """0: training, 1: verification."""
    return int(_hash(text)[-1], 16) & 1


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
