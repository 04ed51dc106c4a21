"""The page of a run: how it went, its numbers by step, its options, and what it ran on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonet.options import read
from nonet.report.page import Page
from nonet.report.plots import Point
from nonet.runs import GOING_ON, ended, is_open, read_metrics, read_record

MOST = 400  # points of a line; a longer one is drawn as means of neighbours
APART = {"epoch", "step", "seconds"}  # numbers that are no result


def run_page(folder: Path) -> Page:
    """The report of a run's folder, also of one that goes on.

    Raises:
        UserError: it is not the folder of a run.
    """
    record, metrics = read_record(folder), read_metrics(folder)
    sessions = record["sessions"]
    last = sessions[-1]
    page = Page(f"{record['package']} {record['verb']}", f"`{folder}`, begun {sessions[0]['start']}")
    rows = [_session(number, session) for number, session in enumerate(sessions, 1)]
    if last["exit"] is None and is_open(folder):  # a run draws its page before it ends
        rows[-1]["end"] = GOING_ON
    page.table(rows, "Sessions")
    page.text(f"```\n{last['command']}\n```")
    lines = curves(metrics)
    if lines:
        page.text("# Numbers by step")
    for name, series in lines.items():
        page.lines(name, series, x="step", y=name)
    if metrics:
        page.table(_summary(metrics), "First and last values, and their range")
    page.text("# Options")
    names = ["options.yaml", *(f"options-{number}.yaml" for number in range(2, len(sessions) + 1))]
    for path in (folder / name for name in names):
        if path.exists():
            page.table(_options(read(path).values), "" if path.name == "options.yaml" else path.name)
    page.text("# Where it ran")
    page.table(_circumstances(last))
    return page


def curves(metrics: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[Point]]]:
    """Lines to draw: `train/loss` and `val/loss` share the plot `loss`, with the series `train` and `val`."""
    found: dict[str, dict[str, list[Point]]] = {}
    for line in metrics:
        for name, value in line.items():
            if name not in APART and isinstance(value, int | float):
                group, _, leaf = name.rpartition("/")
                found.setdefault(leaf, {}).setdefault(group or leaf, []).append((line["step"], float(value)))
    thin = {leaf: {name: _thin(points) for name, points in series.items()} for leaf, series in found.items()}
    return {
        leaf: series for leaf, series in thin.items() if any(len(points) > 1 for points in series.values())
    }


def _thin(points: Sequence[Point]) -> list[Point]:
    size = math.ceil(len(points) / MOST)
    if size <= 1:
        return list(points)
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks
    ]


def _session(number: int, session: dict[str, Any]) -> dict[str, Any]:
    return {
        "session": number,
        "start": session["start"],
        "seconds": session["seconds"],
        "end": ended(session["exit"]),
        "seed": session["seed"],
    }


def _summary(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    columns: dict[str, list[Point]] = {}
    for line in metrics:
        for name, value in line.items():
            if name not in APART and isinstance(value, int | float):
                columns.setdefault(name, []).append((line["step"], float(value)))
    rows = []
    for name, points in columns.items():
        finite = [value for _, value in points if math.isfinite(value)]
        row = {
            "name": name,
            "first": points[0][1],
            "least": min(finite, default=None),
            "most": max(finite, default=None),
        }
        rows.append({**row, "last": points[-1][1], "at step": points[-1][0], "values": len(points)})
    return rows


def _options(values: Any, prefix: str = "") -> list[dict[str, Any]]:
    rows = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += _options(value, f"{prefix}{name}.")
        else:
            rows.append({"option": prefix + name, "value": _word(value)})
    return rows


def _word(value: Any) -> str:
    """A value as YAML has it; text without quotes, unless there is none."""
    if isinstance(value, list):
        return f"[{', '.join(map(_word, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if value != "" else "''"


def _circumstances(session: dict[str, Any]) -> list[dict[str, Any]]:
    machine, source = session["machine"], session["source"]
    memory = f"{machine['memory_gib']} GiB" if machine["memory_gib"] else None
    rows = {
        "processor": f"{machine['cpu']}, {machine['cores']} cores",
        "memory": memory,
        "GPUs": ", ".join(machine["gpus"]) or None,
        "system": machine["system"],
        "commit": f"{source['commit'][:12]}{', changed since' if source['dirty'] else ''}"
        if source
        else None,
        "versions": ", ".join(f"{name} {version}" for name, version in session["versions"].items()),
    }
    return [{"what": name, "which": value} for name, value in rows.items() if value]
