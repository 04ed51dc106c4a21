"""What `diff` prints (ours)."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlp_atlas.showing import exact, is_fact

if TYPE_CHECKING:
    from vlp_atlas.differences import Change

SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def own_catalogue() -> dict[str, Any]:
    """The catalogue of this package."""
    from vlp_atlas import Atlas

    return Atlas.load().catalogue


def describe(changes: "Sequence[Change]") -> list[str]:
    """A line for each change, and a last one with their number."""
    lines = []
    for change in changes:
        place = f"{change.kind} {change.id}{f' {change.field}' if change.field else ''}"
        line = f"{SIGNS.get(change.what, change.what)} {place}"
        if change.what == "changed":
            line += f": {_value(change.old)} -> {_value(change.new)}"
        elif change.field:
            line += f": {_value(change.new if change.what == 'added' else change.old)}"
        lines.append(line)
    counts: Counter[str] = Counter(change.what for change in changes)
    told = ", ".join(f"{counts[what]} {what}" for what in SIGNS if counts[what])
    return [*lines, told or "no change"]


def _value(value: Any) -> str:
    """A value in a line; a fact with its confidence."""
    if is_fact(value):
        said = exact(value.get("value")) or f"({value.get('missing', 'unknown')})"
        return f"{said} [{value['confidence']}]"
    return exact(value) or "nothing"
