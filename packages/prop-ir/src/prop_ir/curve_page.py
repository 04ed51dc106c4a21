"""A learning curve as a table for the terminal and as a page with bands (ours)."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from nonet.report import Page
from prop_ir.curve import Contrast, Point
from prop_ir.evaluation import conventions

ALPHA = 0.05
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720.0, 330.0, 52.0, 14.0, 44.0


def rows(points: Sequence[Point], metric: str) -> list[dict[str, Any]]:
    """A row for each model, ranking and number of queries."""
    found = []
    for point in points:
        if point.metric == metric:
            over = point.over_seeds
            found.append(
                {
                    "model": point.model + (" + first stage" if point.ranking == "mixed" else ""),
                    "queries": point.queries,
                    metric: f"{point.mean:.4f}",
                    "95% over queries": f"{point.over_queries.low:.4f} to {point.over_queries.high:.4f}",
                    "95% over seeds": "-" if over is None else f"{over.low:.4f} to {over.high:.4f}",
                    "seeds": point.seeds,
                }
            )
    names = list(dict.fromkeys(str(row["model"]) for row in found))
    order = sorted(names, key=lambda name: name.endswith(" + first stage"))
    return sorted(found, key=lambda row: (order.index(row["model"]), row["queries"]))


def contrast_rows(tests: Sequence[Contrast]) -> list[dict[str, str]]:
    """A row for each comparison; a star marks what the corrected test finds."""
    return [
        {
            "models": f"{each.model} - {each.against}",
            "queries": str(each.queries),
            "difference": f"{each.test.difference:+.4f}",
            "+ / = / -": f"{each.test.wins} / {each.test.ties} / {each.test.losses}",
            "p (t-test)": f"{each.test.p:.4g}",
            "p (Holm)": f"{each.p_holm:.4g}" + (" *" if each.p_holm < ALPHA else ""),
        }
        for each in tests
    ]


def text(table: Sequence[Mapping[str, Any]]) -> str:
    """Rows in columns."""
    if not table:
        return ""
    cells = [{name: str(value) for name, value in row.items()} for row in table]
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in cells[0]}
    lines = []
    for row in [{name: name for name in widths}, *cells]:
        first, *rest = widths
        line = "  ".join([row[first].ljust(widths[first]), *(row[name].rjust(widths[name]) for name in rest)])
        lines.append(line.rstrip())
    return "\n".join(lines)


def remarks(metrics: Sequence[str], first: str, count: int) -> list[str]:
    """How the numbers came about."""
    return [
        *conventions(metrics),
        f"{count:,} test queries, each ranked by a model that was not trained on it; first stage: {first}",
        "over queries: bootstrap of the queries' means over seeds",
        "over seeds: Student's t of the seeds' means",
        f"*: p < {ALPHA:g} by the paired t-test over queries, corrected for all rows of the table (Holm)",
        "training queries include those that choose the weights; 0: zero-shot, with the first stage at 1/2; "
        "a model with a head of its own is then the same for all seeds",
    ]


def curve_page(
    title: str,
    points: Sequence[Point],
    comparisons: Mapping[str, Sequence[Contrast]],
    metrics: Sequence[str],
    first: Mapping[str, float],
    said: Sequence[str],
) -> Page:
    """The page.

    Args:
        title: of the page.
        points: all means.
        comparisons: tests by metric.
        metrics: in order.
        first: the first stage's mean by metric.
        said: remarks.
    """
    page = Page(title, "means over test queries, with 95 % intervals over queries")
    for metric in metrics:
        page.text(f"# {metric}")
        for ranking, name in (("prop", "The model alone"), ("mixed", "Model and first stage together")):
            chosen = [point for point in points if point.metric == metric and point.ranking == ranking]
            page.html(_plot(chosen, first[metric], f"{name}: {metric} by number of judged queries"))
        page.table(rows(points, metric))
        if comparisons.get(metric):
            page.table(contrast_rows(comparisons[metric]), "Differences, on the same queries")
    page.text("\n\n".join(["# How it was computed", "\n".join(f"- {line}" for line in said)]))
    return page


def _plot(points: Sequence[Point], first: float, title: str) -> str:
    """Lines with bands; numbers of queries stand side by side, whatever lies between them."""
    sizes = sorted({point.queries for point in points})
    ends = [end for point in points for end in (point.over_queries.low, point.over_queries.high)]
    low, high = min([first, *ends]), max([first, *ends])
    margin = 0.06 * (high - low) or 0.05
    low, high = low - margin, high + margin

    def x(queries: int) -> float:
        room = WIDTH - LEFT - 30
        return LEFT + 15 + (room * sizes.index(queries) / (len(sizes) - 1) if len(sizes) > 1 else room / 2)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = []
    for step in range(5):
        value = low + (high - low) * (step + 0.5) / 5
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="var(--grid)"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" font-size="11">{value:.3f}</text>'
        )
    for queries in sizes:
        parts.append(
            f'<text x="{x(queries):.1f}" y="{HEIGHT - BOTTOM + 17:.1f}" text-anchor="middle" '
            f'font-size="11">{queries}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH) / 2:.1f}" y="{HEIGHT - 8:.1f}" text-anchor="middle" font-size="11">'
        "judged training queries</text>"
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(first):.1f}" y2="{y(first):.1f}" stroke="var(--faint)" '
        f'stroke-dasharray="5 4"><title>first stage: {first:.4f}</title></line>'
    )
    models = list(dict.fromkeys(point.model for point in points))
    for place, model in enumerate(models):
        colour = f"var(--series-{place % 8 + 1})"
        mine = sorted((point for point in points if point.model == model), key=lambda point: point.queries)
        upper = [(x(p.queries), y(p.over_queries.high)) for p in mine]
        lower = [(x(p.queries), y(p.over_queries.low)) for p in reversed(mine)]
        parts.append(f'<polygon points="{_path([*upper, *lower])}" fill="{colour}" opacity="0.14"/>')
        line = _path([(x(p.queries), y(p.mean)) for p in mine])
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for p in mine:
            low_end, high_end = p.over_queries.low, p.over_queries.high
            note = f"{model}, {p.queries} queries: {p.mean:.4f} ({low_end:.4f} to {high_end:.4f})"
            parts.append(
                f'<line x1="{x(p.queries):.1f}" x2="{x(p.queries):.1f}" y1="{y(low_end):.1f}" '
                f'y2="{y(high_end):.1f}" stroke="{colour}" opacity="0.5"/>'
                f'<circle cx="{x(p.queries):.1f}" cy="{y(p.mean):.1f}" r="3.6" fill="{colour}">'
                f"<title>{html.escape(note)}</title></circle>"
            )
    keys = [
        f'<span style="color:var(--series-{place % 8 + 1})">&#9679;</span> {html.escape(model)}'
        for place, model in enumerate(models)
    ]
    label, keyed = html.escape(title, quote=True), " &nbsp; ".join([*keys, "- - first stage"])
    drawn = f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f'<figure><figcaption>{label}</figcaption><div class="wide">{drawn}</div><p>{keyed}</p></figure>'


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
