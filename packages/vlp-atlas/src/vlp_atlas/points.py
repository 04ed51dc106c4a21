"""Which points the plots show, and which they leave out: no drawing here (ours).

A series holds numbers of one data set, split, metric, setting and way of training; so test-dev never stands
beside test-std in one line of dots, nor SCST beside cross-entropy. Every point has the id of its record.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nonet.errors import UserError
from nonet.files import write_text
from vlp_atlas.measurements import protocol_of

if TYPE_CHECKING:
    from vlp_atlas import Atlas

KINDS = ("params-vs-year", "data-vs-score", "score-vs-year", "models-per-year", "gpus")
COLUMNS = ("series", "label", "x", "y", "id", "confidence", "source", "as_of")
APART = ("scst", "candidates", "boxes", "text_premise", "ensemble", "shots")
"""parts of a protocol that make another series"""


class Point(NamedTuple):
    """A point: what it shows, and whence.

    Attributes:
        series: the numbers it may be compared with.
        label: the model's or checkpoint's name.
        x, y: the numbers; x of a date is years with a fraction.
        id: of the record that has the number.
        confidence: of the least sure of its numbers.
        source: references, apart by semicolons.
    """

    series: str
    label: str
    x: float
    y: float
    id: str
    confidence: str
    source: str


class Plot(NamedTuple):
    """A plot before it is drawn.

    Attributes:
        kind: one of KINDS.
        title, x, y: for people, with units.
        log_x, log_y: logarithmic axes.
        points: in order of series and x.
        footer: what was left out, and how old the catalogue is.
        as_of: the catalogue's day.
    """

    kind: str
    title: str
    x: str
    y: str
    log_x: bool
    log_y: bool
    points: list[Point]
    footer: list[str]
    as_of: str


def plot(
    atlas: "Atlas",
    kind: str,
    *,
    task: str = "vqa",
    dataset: str | None = None,
    metric: str | None = None,
    splits: Sequence[str] = (),
    setting: str = "fine-tuned",
) -> Plot:
    """The points of a plot.

    Args:
        atlas: the catalogue.
        kind: one of KINDS.
        task: of the scores, for data-vs-score and score-vs-year.
        dataset: of the scores; the one with most results by default.
        metric: of the scores; the task's own by default.
        splits: of the scores, each a series; the one with most results by default.
        setting: of the scores.

    Raises:
        UserError: a name is unknown, or there is nothing to draw.
    """
    if kind == "params-vs-year":
        drawn = _sizes(atlas, "params", "parameters", kind)
    elif kind == "gpus":
        drawn = _devices(atlas)
    elif kind == "models-per-year":
        drawn = _per_year(atlas)
    elif kind in ("data-vs-score", "score-vs-year"):
        drawn = _scores(atlas, kind, task, dataset, metric, splits, setting)
    else:
        raise UserError(f"no plot {kind!r}; there are {', '.join(KINDS)}")
    if not drawn.points:
        raise UserError(f"{kind}: nothing to draw ({'; '.join(drawn.footer) or 'no numbers'})")
    ordered = sorted(drawn.points, key=lambda point: (point.series, point.x, point.y, point.id))
    footer = [*drawn.footer, f"catalogue {atlas.data_version}, as of {atlas.as_of}"]
    return drawn._replace(points=ordered, footer=footer)


def date_of(day: str) -> float:
    """A day as years: `date_of("2021-07-01")` is 2021.5; a year alone is its middle."""
    parts = [int(part) for part in day.split("-")]
    if len(parts) == 1:
        return parts[0] + 0.5
    month = (parts[1] - 1) / 12
    return round(parts[0] + month + ((parts[2] - 1) / 365.25 if len(parts) > 2 else 1 / 24), 4)


def _paper_day(atlas: "Atlas", checkpoint: dict[str, Any]) -> str | None:
    model: dict[str, Any] = atlas.names.ids["models"].get(checkpoint["model"], {})
    return atlas.public(model["paper"]) if model else None


def _sizes(atlas: "Atlas", field: str, what: str, kind: str) -> Plot:
    points, lost = [], Counter[str]()
    for checkpoint in atlas.all("checkpoints"):
        fact, day = checkpoint.get(field), _paper_day(atlas, checkpoint)
        if fact is None or fact["value"] is None:
            lost[f"without {what}"] += 1
        elif not atlas.shows(fact):
            lost["from memory, hidden"] += 1
        elif day is None:
            lost["without a date"] += 1
        else:
            series = fact.get("convention") or "convention not said"
            points.append(_point(series, checkpoint, date_of(day), fact["value"], fact))
    footer = [f"checkpoints left out: {', '.join(f'{n} {why}' for why, n in lost.items())}"] if lost else []
    return Plot(kind, "Parameters by year", "first public", what, False, True, points, footer, atlas.as_of)


def _devices(atlas: "Atlas") -> Plot:
    points, lost = [], 0
    for checkpoint in atlas.all("checkpoints"):
        fact, day = checkpoint.get("hardware"), _paper_day(atlas, checkpoint)
        if fact is None or fact["value"] is None or not atlas.shows(fact) or day is None:
            lost += 1
            continue
        held = fact["value"]
        points.append(_point(held["device"], checkpoint, date_of(day), held["count"], fact))
    footer = [f"checkpoints left out: {lost} without known hardware"] if lost else []
    title = "Devices used for pre-training"
    return Plot("gpus", title, "first public", "devices", False, True, points, footer, atlas.as_of)


def _per_year(atlas: "Atlas") -> Plot:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    lost = 0
    for model in atlas.all("models"):
        day = atlas.public(model["paper"])
        if day is None:
            lost += 1
            continue
        read = atlas.value(model, "modalities") or []
        series = "video" if "video" in read else "image" if "image" in read else "other"
        found.setdefault((series, int(day[:4])), []).append(model)
    points = [
        Point(
            series,
            str(year),
            year,
            len(models),
            " ".join(sorted(model["id"] for model in models)),
            "verified" if all(model["confidence"] == "verified" for model in models) else "secondary",
            "; ".join(sorted({model["paper"] for model in models})),
        )
        for (series, year), models in found.items()
    ]
    footer = [f"models left out: {lost} without a date"] if lost else []
    return Plot(
        "models-per-year", "Models by year", "year", "models", False, False, points, footer, atlas.as_of
    )


def _scores(
    atlas: "Atlas",
    kind: str,
    task: str,
    dataset: str | None,
    metric: str | None,
    splits: Sequence[str],
    setting: str,
) -> Plot:
    task_id = atlas.resolve(task, "tasks")[1]
    metric_id = atlas.resolve(metric, "metrics")[1] if metric else None
    found = [
        result
        for result in atlas.all("results")
        if result["task"] == task_id and result["setting"] == setting
        if metric_id in (None, result["metric"])
    ]
    if metric_id is None:
        primary = atlas.get("tasks", task_id)["primary_metric"]
        counted = Counter(result["metric"] for result in found if atlas.shows(result))
        metric_id = primary if counted[primary] else _most(counted) or primary
        found = [result for result in found if result["metric"] == metric_id]
    wanted = atlas.resolve(dataset, "datasets")[1] if dataset else None
    wanted = wanted or _most(Counter(result["dataset"] for result in found if atlas.shows(result)))
    found = [result for result in found if result["dataset"] == wanted]
    chosen = list(splits)
    if not chosen:
        most = _most(Counter(result["split"] for result in found if atlas.shows(result)))
        chosen = [most] if most else []
    return _score_points(atlas, kind, found, chosen, task_id, metric_id)


def _most(counted: "Counter[str]") -> str | None:
    """The most frequent, the first in the alphabet among equals."""
    return min(counted, key=lambda name: (-counted[name], name)) if counted else None


def _score_points(
    atlas: "Atlas", kind: str, found: list[dict[str, Any]], splits: list[str], task: str, metric: str
) -> Plot:
    points, lost = [], Counter[str]()
    datasets = sorted({result["dataset"] for result in found})
    for result in found:
        checkpoint = atlas.names.ids["checkpoints"][result["checkpoint"]]
        if result["split"] not in splits:
            lost[f"of split {result['split']}"] += 1
            continue
        if not atlas.shows(result):
            lost["from memory, hidden"] += 1
            continue
        series = " ".join([result["split"], *_apart(result)])
        if kind == "score-vs-year":
            day = _paper_day(atlas, checkpoint)
            x, fact, missing = (None if day is None else date_of(day)), result, "without a date"
        else:
            size = checkpoint.get("pretrain_pairs")
            shown = size is not None and size["value"] is not None and atlas.shows(size)
            x, fact, missing = (size["value"] if shown else None), size, "without a number of pairs"
        if x is None:
            lost[missing] += 1
            continue
        points.append(_point(series, checkpoint, x, result["value"], result, fact)._replace(id=result["id"]))
    footer = (
        [f"results left out: {', '.join(f'{n} {why}' for why, n in sorted(lost.items()))}"] if lost else []
    )
    names = [str(atlas.get("datasets", name)["name"]) for name in datasets]
    measure = atlas.get("metrics", metric)["name"]
    title = f"{', '.join(names)}, {' and '.join(splits)}"
    unit = next((result["unit"] for result in found), "")
    y = f"{measure} ({unit})" if unit not in ("none", "") else measure
    if kind == "score-vs-year":
        return Plot(kind, title, "first public", y, False, False, points, footer, atlas.as_of)
    return Plot(kind, title, "image-text pairs in pre-training", y, True, False, points, footer, atlas.as_of)


def _apart(result: dict[str, Any]) -> list[str]:
    """What of the protocol makes another series."""
    told = [
        name if value is True else f"{name} {value}" for name, value in protocol_of(result) if name in APART
    ]
    if not any(name.startswith("scst") for name in told) and result["metric"].startswith("cider"):
        told.append(
            "cross-entropy" if result.get("protocol", {}).get("scst") is False else "training not said"
        )
    return told


def _point(series: str, record: dict[str, Any], x: float, y: float, *facts: dict[str, Any]) -> Point:
    order = ("verified", "secondary", "digitised", "disputed", "unverified")
    confidence = max((fact["confidence"] for fact in facts), key=order.index)
    source = "; ".join(dict.fromkeys(ref for fact in facts for ref in fact.get("source", [])))
    return Point(series, record["name"], x, y, record["id"], confidence, source)


def table(plot: Plot) -> str:
    """The points as CSV; a cell that a spreadsheet would compute begins with a quote."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for point in plot.points:
        row = [point.series, point.label, f"{point.x:.10g}", f"{point.y:.10g}", *point[4:], plot.as_of]
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in row])
    return out.getvalue()


def save(plot: Plot, path: Path) -> None:
    """Write the points as CSV."""
    write_text(path, table(plot))
