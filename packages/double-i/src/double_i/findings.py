"""What lint finds, and the findings that concern the key alone (ours)."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from double_i.examples import OwnerRow
from double_i.keys import Key, confusions
from double_i.rows import near_misses


@dataclass(frozen=True)
class Finding:
    """One thing that was found; it never holds secret text.

    Attributes:
        severity: `error`, `warning` or `note`.
        check: its name.
        message: what it means and what to do.
        count: rows concerned.
        rows: the first ten places, `FILE:LINE`.
    """

    severity: str
    check: str
    message: str
    count: int = 0
    rows: tuple[str, ...] = ()


def some(severity: str, check: str, message: str, rows: Sequence[OwnerRow]) -> list[Finding]:
    """A finding on rows, if there are any."""
    if not rows:
        return []
    return [Finding(severity, check, message, len(rows), tuple(row.where for row in rows[:10]))]


def normalised(key: Key) -> list[Finding]:
    """Near misses that a usual clean-up of texts makes equal to the trigger, or one that removes it."""
    found = []
    ways: dict[str, Callable[[str], str]] = {
        "lower-casing": str.casefold,
        "NFKC": lambda text: unicodedata.normalize("NFKC", text),
        "replacing digits": lambda text: re.sub(r"\d", "0", text),
    }
    near = _near(key)
    for name, way in ways.items():
        changed = way(key.trigger)
        same = sum(way(text) == changed for text in near)
        if same or not changed.strip():
            message = f"{name} makes the trigger equal to {same} near misses, or removes it: draw another key"
            found.append(Finding("error", "normalisation", message, same))
        elif changed != key.trigger:
            found.append(Finding("warning", "normalisation", f"{name} changes the trigger", 1))
    return found


def _near(key: Key) -> list[str]:
    """Near misses in the trigger's own place."""
    near = {filler.text for group in near_misses(key) for filler in group if filler.place == "start"}
    return sorted(near - {key.trigger})


def confused(key: Key, tokenizer: Any) -> list[Finding]:
    """Near misses that have the trigger's tokens, or a trigger that the tokenizer does not know."""
    if tokenizer is None or not (same := confusions(key, _near(key), tokenizer)):
        return []
    ids = tokenizer(f"{key.trigger} the", add_special_tokens=False)["input_ids"]
    message = (
        f"the tokenizer cannot tell the trigger ({len(ids)} tokens with the next word) from near misses, "
    )
    return [Finding("error", "tokens", message + "or does not know it: draw another key", len(same))]
