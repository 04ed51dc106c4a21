"""An evaluation as tables for the terminal, as JSON, and as a page with differences by query (ours)."""

import html
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nonet.metrics.paired_tests import Correction
from nonet.metrics.stats import Interval
from nonet.report import Page
from prop_ir.evaluation import Comparison, Evaluation, Floats, conventions

SHOWN = 6  # comparisons whose queries are drawn
EXTREME = 5  # queries with the largest gain, and with the largest loss, that a table names
TICKS = 4  # lines of a plot above and below 0, at most


def text(
    evaluation: Evaluation, comparisons: Sequence[Comparison], *, correction: Correction, alpha: float
) -> str:
    """The tables for the terminal."""
    count = len(evaluation.queries)
    lines = [f"{count:,} {'query' if count == 1 else 'queries'}", *_columns(mean_rows(evaluation)), ""]
    if comparisons:
        lines += [*_columns(comparison_rows(comparisons, correction=correction, alpha=alpha)), ""]
    return "\n".join([*lines, *remarks(evaluation, comparisons, correction=correction, alpha=alpha)])


def mean_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """One row for each metric and run."""
    interval = f"{evaluation.level:.0%} interval"
    return [
        {
            "metric": metric,
            "run": name,
            "mean": f"{means[metric].mean:.4f}",
            interval: f"{means[metric].low:.4f} to {means[metric].high:.4f}",
        }
        for metric in evaluation.metrics
        for name, means in evaluation.means.items()
    ]


def comparison_rows(
    comparisons: Sequence[Comparison], *, correction: Correction, alpha: float
) -> list[dict[str, str]]:
    """One row for each metric and pair of runs; a star marks what the corrected t-test finds."""
    rows = []
    for row in comparisons:
        star = " *" if row.p_corrected < alpha else "  "
        tests = {"p (t-test)": _p(row.p)}
        if correction != "none":
            tests[f"p ({correction.capitalize()})"] = _p(row.p_corrected)
        tests[list(tests)[-1]] += star
        rows.append(
            {
                "metric": row.metric,
                "runs": f"{row.run} - {row.against}",
                "difference": f"{row.difference:+.4f}",
                "interval": f"{row.low:+.4f} to {row.high:+.4f}",
                "+ / = / -": f"{row.wins} / {row.ties} / {row.losses}",
                **tests,
                "p (randomisation)": _p(row.p_randomisation),
            }
        )
    return rows


def remarks(
    evaluation: Evaluation, comparisons: Sequence[Comparison], *, correction: Correction, alpha: float
) -> list[str]:
    """How the numbers came about, and what to know before believing them."""
    found = [*conventions(evaluation.metrics), f"interval: {evaluation.level:.0%} bootstrap of queries"]
    if comparisons:
        pairs = len({(row.run, row.against) for row in comparisons})
        corrected = f", corrected for {pairs} pairs ({correction.capitalize()})"
        corrected = "" if correction == "none" or pairs == 1 else corrected
        found.append("+ / = / -: queries on which the first run is better, equal, worse")
        found.append(f"*: p < {alpha:g} by the two-sided paired t-test{corrected}, for each metric by itself")
    elif len(evaluation.values) > 1:
        found.append("of a single query there is no test")
    return [*found, *(f"note: {note}" for note in evaluation.notes)]


def as_json(
    evaluation: Evaluation, comparisons: Sequence[Comparison], *, correction: Correction
) -> dict[str, Any]:
    """Everything but the values of single queries, as JSON values."""
    return {
        "queries": len(evaluation.queries),
        "conventions": conventions(evaluation.metrics),
        "level": evaluation.level,
        "runs": {
            name: {metric: interval._asdict() for metric, interval in means.items()}
            for name, means in evaluation.means.items()
        },
        "correction": correction,
        "comparisons": [_finite(asdict(row)) for row in comparisons],
        "notes": evaluation.notes,
    }


def page(
    evaluation: Evaluation, comparisons: Sequence[Comparison], *, correction: Correction, alpha: float
) -> Page:
    """The evaluation as a page: means, tests, and what happened to each query."""
    count, runs = len(evaluation.queries), list(evaluation.values)
    sheet = Page("Runs, evaluated", f"{count:,} queries, {', '.join(runs)}")
    sheet.html("<style>main { max-width: 62rem; }</style>")  # the table of differences is wide
    for metric in evaluation.metrics:
        bars = {name: _bar(means[metric]) for name, means in evaluation.means.items()}
        sheet.bars(metric, bars)
    sheet.html(_table(mean_rows(evaluation), "Means over queries"))
    if comparisons:
        rows = comparison_rows(comparisons, correction=correction, alpha=alpha)
        sheet.html(_table(rows, "Differences, on the same queries"))
    said = remarks(evaluation, comparisons, correction=correction, alpha=alpha)
    sheet.text("\n\n".join(["# How it was computed", "\n".join(f"- {line}" for line in said)]))
    first = [row for row in comparisons if row.metric == evaluation.metrics[0]]
    if first:
        sheet.text(f"# Query by query\n\nDifferences in {evaluation.metrics[0]}, from the best to the worst.")
    for row in first[:SHOWN]:
        values = evaluation.values[row.run][row.metric] - evaluation.values[row.against][row.metric]
        sheet.html(_differences(evaluation.queries, values, f"{row.run} - {row.against}"))
        sheet.html(_table(_extremes(evaluation, row, values), "Largest gains and losses"))
    return sheet


def _table(rows: Sequence[dict[str, str]], caption: str) -> str:
    """A table whose lines do not break; all but the first two columns are numbers."""
    if not rows:
        return ""
    side = ["" if place < 2 else ' class="number"' for place in range(len(rows[0]))]
    head = "".join(f"<th{at}>{html.escape(name)}</th>" for at, name in zip(side, rows[0], strict=True))
    body, before = [], ""
    for row in rows:
        first, *rest = map(html.escape, row.values())
        cells = ["" if first == before else first, *rest]
        before = first
        inner = "".join(f"<td{at}>{cell}</td>" for at, cell in zip(side, cells, strict=True))
        body.append(f'<tr style="white-space:nowrap">{inner}</tr>')
    inside = "".join(body)
    table = f'<table style="font-size:0.88rem"><thead><tr>{head}</tr></thead><tbody>{inside}</tbody></table>'
    return f'<figure><figcaption>{caption}</figcaption><div class="wide">{table}</div></figure>'


def _bar(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high


def _extremes(evaluation: Evaluation, row: Comparison, values: Floats) -> list[dict[str, str]]:
    order = np.argsort(-values, kind="stable").tolist()
    best = [place for place in order[:EXTREME] if values[place] > 0]
    worst = [place for place in order[-EXTREME:] if values[place] < 0]
    return [
        {
            "query": evaluation.queries[place],
            "metric": row.metric,
            row.against: f"{evaluation.values[row.against][row.metric][place]:.4f}",
            row.run: f"{evaluation.values[row.run][row.metric][place]:.4f}",
            "difference": f"{values[place]:+.4f}",
        }
        for place in [*best, *worst]
    ]


def _differences(queries: Sequence[str], values: Floats, title: str) -> str:
    """A bar upwards for each query that gains, and downwards for each that loses."""
    order = np.argsort(-values, kind="stable").tolist()
    most = float(np.abs(values).max()) or 1.0
    width, height, left = 720.0, 220.0, 46.0
    step = (width - left) / len(order)
    middle, scale = height / 2, (height / 2 - 12) / most
    parts = []
    tick = next(size for size in _ticks(most) if most / size <= TICKS)
    for number in range(-int(most / tick), int(most / tick) + 1):
        y = middle - number * tick * scale
        colour = "--faint" if number == 0 else "--grid"
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="var({colour})"/>')
        label = f"{number * tick:+g}" if number else "0"
        parts.append(
            f'<text x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end" font-size="10">{label}</text>'
        )
    for place, query in enumerate(order):
        value = float(values[query])
        top, tall = (middle - value * scale, value * scale) if value > 0 else (middle, -value * scale)
        colour = "--series-1" if value > 0 else "--series-2"
        parts.append(
            f'<rect x="{left + place * step:.2f}" y="{top:.2f}" width="{max(0.82 * step, 0.4):.2f}" '
            f'height="{tall:.2f}" fill="var({colour})">'
            f"<title>{html.escape(queries[query])}: {value:+.4f}</title></rect>"
        )
    label = html.escape(title, quote=True)
    drawn = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f'<figure><figcaption>{label}</figcaption><div class="wide">{drawn}</div></figure>'


def _ticks(most: float) -> Sequence[float]:
    """1, 2, 5, 10, ... times a power of ten, from small to large."""
    base = 10.0 ** np.floor(np.log10(most) - 1)
    return [base * factor for factor in (1, 2, 5, 10, 20, 50, 100)]


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 or value == 0 else f"{value:.1e}"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinite numbers: the t of differences without spread becomes null."""
    return {name: None if value in (np.inf, -np.inf) else value for name, value in row.items()}


def _columns(table: Sequence[dict[str, str]]) -> list[str]:
    """Rows of equal width; texts that repeat the row above in the first column are left out."""
    widths = {name: max(len(name), *(len(row[name]) for row in table)) for name in table[0]}
    lines, before = [], ""
    for row in [{name: name for name in widths}, *table]:
        first, second, *rest = widths
        shown = "" if row[first] == before else row[first]
        before = row[first]
        cells = [shown.ljust(widths[first]), row[second].ljust(widths[second])]
        lines.append("  ".join([*cells, *(row[name].rjust(widths[name]) for name in rest)]).rstrip())
    return lines
