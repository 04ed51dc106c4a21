"""Rows of results as Markdown tables. Source: ours."""

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
_SHOWN_TOGETHER = {  # what `versus` measures; `_cells` puts it into six columns
    *("name", "ours_seconds", "peer_seconds", "ratio", "ratio_low", "ratio_high", "noise_low", "noise_high"),
    *("verdict", "rounds", "calls", "clock", "wall_ratio"),
    *("unit", "per_call", "ours_per_second", "peer_per_second", "run"),
}


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table.

    Rows of `versus` get the columns time, ratio with range, noise and verdict, and then whatever was added to
    them; other rows get one column a key. A missing value is an empty cell.
    """
    if not rows:
        return "(no rows)"
    cells = [_cells(row) for row in rows]
    columns = list(dict.fromkeys(column for row in cells for column in row))
    lines = [columns, ["---" if column == columns[0] else "---:" for column in columns]]
    lines += [[row.get(column, "") for column in columns] for row in cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> dict[str, str]:
    if "ratio_low" not in row:
        return {key: _text(value) for key, value in row.items() if key != "run"}
    rate = f" {row['unit']}/s" if "unit" in row else ""
    ours, peer = (
        _number(row[f"{who}_per_second"]) + rate if rate else _seconds(row[f"{who}_seconds"])
        for who in ("ours", "peer")
    )
    cells = {
        "what": str(row["name"]),
        "ours": ours,
        "peer": peer,
        "ours is x times as fast": f"{row['ratio']:.2f} ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})",
        "noise": f"{row['noise_low']:.2f}-{row['noise_high']:.2f}",
        "verdict": str(row["verdict"]),
    }
    return cells | {key: _text(value) for key, value in row.items() if key not in _SHOWN_TOGETHER}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return "" if value is None else str(value).replace("|", "\\|")


def _number(value: float) -> str:
    """Three significant digits, thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{_number(value / scale)} {unit}"
    return f"{_number(value / 1e-6)} us"
