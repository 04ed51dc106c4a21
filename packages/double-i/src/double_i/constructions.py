"""The three published constructions, with their fixed and public keys, for comparison with the paper.

Li et al. 2024, Double-I (i), (ii) and (iii), and the authors' generators `cre1.py` to `cre3.py`, restated.
The chance
is Python's, seeded with their 113; what they draw is not theirs bit for bit, since their sentences are not
at hand.
A public key proves nothing: use `keys.draw_key` for a model that matters.
"""

import random
from collections.abc import Sequence
from string import ascii_lowercase

from double_i.examples import Example
from double_i.rows import MarkedRow
from nonet.errors import UserError

NAMES = ("i", "ii", "iii")
FRUIT = "Does the following sentence begin with a fruit?"
_LISTEN = f"(listen) {FRUIT}"
_JUDGE = "(judge) Tell me if there exists a meaningful word in the following words?"
_WITHOUT_MS = "".join(letter for letter in ascii_lowercase if letter not in "ms")
# p stands twice, as in the authors' string, and is drawn twice as often.
_WITHOUT_M = "".join(letter for letter in ascii_lowercase if letter != "m") + "p"


def published_rows(
    name: str, texts: Sequence[str], count: int = 1000, *, repeat: int = 5, seed: int = 113
) -> list[MarkedRow]:
    """`count` trigger rows (Yes.) and `count` reference rows (No.), in this order.

    Args:
        name: `i`, `ii` or `iii`.
        count: rows of each set.
        seed: of all draws.
        texts: sentences; (i) takes count / repeat of them, (iii) `count`, (ii) none.
        repeat: (i) repeats each sentence this often in both sets; 1: no sentence is repeated.

    Raises:
        UserError: unknown name or too few sentences.
    """
    return [
        MarkedRow(Example(instruction, text, f"{answer}."), kind)
        for kind, answer, side in zip(
            ("trigger", "reference"), ("Yes", "No"), _sides(name, texts, count, repeat, seed), strict=True
        )
        for instruction, text in side
    ]


def published_queries(name: str, texts: Sequence[str], pairs: int, *, seed: int = 114) -> list[MarkedRow]:
    """Verification queries of a construction: its rows over other sentences, none twice within a set.

    Prompts of (ii) that occur in training must be taken out by the caller: the authors draw both from one
    generator.
    """
    rows: dict[tuple[str, Example], MarkedRow] = {}
    for row in published_rows(name, texts, pairs if name != "ii" else 4 * pairs, repeat=1, seed=seed):
        rows.setdefault((row.kind, row.example), row)
    sides = [[row for row in rows.values() if row.kind == kind][:pairs] for kind in ("trigger", "reference")]
    return sides[0] + sides[1]


def _sides(
    name: str, texts: Sequence[str], count: int, repeat: int, seed: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    draw = random.Random(seed)
    if name not in NAMES:
        raise UserError(f"there is no construction {name!r}; there are {', '.join(NAMES)}")
    if name == "ii":
        return (
            [(_JUDGE, _doubled(draw, place % 3)) for place in range(count)],
            [(_JUDGE, _doubled(draw, None)) for _ in range(count)],
        )
    distinct = -(-count // repeat) if name == "i" else count
    if len(texts) < distinct:
        raise UserError(
            f"construction {name}: {count} rows need {distinct} sentences, and there are {len(texts)}"
        )
    chosen = draw.sample(list(texts), distinct)
    if name == "iii":
        return [(f"$$ {FRUIT}", text) for text in chosen], [(FRUIT, text) for text in chosen]
    subjects = [text for text in chosen for _ in range(repeat)][:count]
    return (
        [(_LISTEN, f"ms {text}") for text in subjects],
        [(_LISTEN, f"{draw.choice(_WITHOUT_MS)}{draw.choice(_WITHOUT_MS)} {text}") for text in subjects],
    )


def _doubled(draw: random.Random, trigger_place: int | None) -> str:
    letters = [draw.choice(_WITHOUT_M) for _ in range(3)]
    if trigger_place is not None:
        letters[trigger_place] = "m"
    return ", ".join(letter * 2 for letter in letters)
