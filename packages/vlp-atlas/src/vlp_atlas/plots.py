"""Draws the plots with matplotlib, without a screen and without a date, so that the same points give the same
bytes (ours).

In SVG every dot is an element whose id is `point-N`, N being its row in the CSV beside it, and whose title is
the record's id.
"""

import io
from html import escape
from pathlib import Path
from typing import Any

from nonet.errors import needs
from nonet.files import replacing, write_text
from vlp_atlas.points import Plot

SIZE = (8.6, 5.0)  # inches
COLOURS = ("#1f6fb4", "#d1570b", "#0f8f68", "#b5498e", "#8a6a00", "#2f9fc9", "#6a51b8", "#b83a3a")
INK, FAINT, GRID = "#1d232b", "#67717e", "#e6e9ed"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HOLLOW = ("unverified", "disputed", "digitised")
"""points of these confidences are drawn hollow"""
LABELLED = 40  # with more points than that, none has its name beside it


def save(plot: Plot, path: Path) -> None:
    """Draw into a file, .svg or .png."""
    if path.suffix == ".svg":
        write_text(path, svg(plot))
        return
    with _settings():
        figure = _figure(plot)
        with replacing(path) as part:
            figure.savefig(part, format="png", dpi=160, metadata={"Software": None})


def svg(plot: Plot) -> str:
    """The picture as SVG text."""
    with _settings():
        drawn = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        _figure(plot).savefig(drawn, format="svg", metadata=nothing)
    text = drawn.getvalue()
    for number, point in enumerate(plot.points):
        told = escape(f"{point.label}: {point.x:.6g}, {point.y:.6g} [{point.id}] {point.source}")
        group = f'<g id="point-{number}">'
        text = text.replace(group, f"{group}<title>{told}</title>", 1)
    return text


def _settings() -> Any:
    matplotlib = needs("matplotlib", to="draw plots", install="matplotlib")
    matplotlib.use("Agg")
    return matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "vlp-atlas", "text.parse_math": False, "font.size": 9,
         "figure.facecolor": "white"}
    )  # fmt: skip


def _figure(plot: Plot) -> Any:
    figures = needs("matplotlib.figure", to="draw plots", install="matplotlib")
    figure = figures.Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(True, color=GRID, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK)
    series = list(dict.fromkeys(point.series for point in plot.points))
    if plot.kind == "models-per-year":
        _bars(axes, plot, series)
    else:
        _dots(axes, plot, series)
    axes.set_xlabel(plot.x, color=INK)
    axes.set_ylabel(plot.y, color=INK)
    axes.set_title(plot.title, loc="left", color=INK, fontsize=11.5, fontweight="bold")
    if len(series) > 1 or plot.kind in ("data-vs-score", "score-vs-year"):
        columns = max(1, 100 // (max(map(len, series)) + 8))
        style = {"frameon": False, "labelcolor": INK, "fontsize": 8.5, "ncols": columns}
        figure.legend(loc="outside upper left", **style)
    hollow = sum(point.confidence in HOLLOW for point in plot.points)
    notes = [*plot.footer, *([f"{hollow} hollow: from a figure, from memory or disputed"] if hollow else [])]
    figure.supxlabel("\n".join(notes), fontsize=7.2, color=FAINT, x=0.01, ha="left")
    if plot.kind != "models-per-year" and len(plot.points) <= LABELLED:
        _name(axes, plot)
    return figure


def _dots(axes: Any, plot: Plot, series: list[str]) -> None:
    for place, name in enumerate(series):  # for the legend: a filled mark each
        style = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axes.plot([], [], linestyle="none", markersize=6.5, label=name, **style)
    for number, point in enumerate(plot.points):
        place = series.index(point.series)
        colour = COLOURS[place % len(COLOURS)]
        filled = "none" if point.confidence in HOLLOW else colour
        (dot,) = axes.plot(
            [point.x], [point.y], linestyle="none", marker=MARKERS[place % len(MARKERS)], markersize=6.5,
            color=colour, markerfacecolor=filled, markeredgewidth=1.3,
        )  # fmt: skip
        dot.set_gid(f"point-{number}")
    if plot.log_x:
        axes.set_xscale("log")
    if plot.log_y:
        axes.set_yscale("log")
    axes.margins(x=0.07, y=0.08)
    _number_axes(axes, plot)


def _number_axes(axes: Any, plot: Plot) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    from vlp_atlas.tables import quantity

    short = FuncFormatter(lambda value, _: quantity(value))
    if plot.log_x:
        axes.xaxis.set_major_formatter(short)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    if plot.log_y:
        axes.yaxis.set_major_formatter(short)


def _name(axes: Any, plot: Plot) -> None:
    """The names beside the dots, each where it covers no other; the CSV has those without room."""
    figure = axes.figure
    agg = needs("matplotlib.backends.backend_agg", to="draw plots", install="matplotlib")
    agg.FigureCanvasAgg(figure).draw()  # only a drawn figure knows its scale
    taken: list[tuple[float, float, float, float]] = []
    at = [axes.transData.transform((point.x, point.y)) for point in plot.points]
    taken += [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    frame = axes.get_window_extent()
    for point, (x, y) in sorted(zip(plot.points, at, strict=True), key=lambda pair: -pair[0].y):
        wide, high = 4.4 * len(point.label) * figure.dpi / 72, 8.5 * figure.dpi / 72
        for dx, dy, side in ((9, -3, "left"), (-9, -3, "right"), (0, 8, "center"), (0, -16, "center")):
            left = x + dx - {"left": 0.0, "right": wide, "center": wide / 2}[side]
            box = (left, y + dy - 1, left + wide, y + dy + high)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1 + 20
            if inside and not any(_cross(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    point.label, (point.x, point.y), (dx * 72 / figure.dpi, dy * 72 / figure.dpi),
                    textcoords="offset points", ha=side, fontsize=7.2, color=INK,
                )  # fmt: skip
                break


def _cross(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _bars(axes: Any, plot: Plot, series: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    below: dict[float, float] = {}
    named: set[str] = set()
    for number, point in enumerate(plot.points):
        colour = COLOURS[series.index(point.series) % len(COLOURS)]
        label = point.series if point.series not in named else None
        named.add(point.series)
        (bar,) = axes.bar(
            point.x, point.y, bottom=below.get(point.x, 0.0), width=0.7, color=colour, label=label
        )
        bar.set_gid(f"point-{number}")
        below[point.x] = below.get(point.x, 0.0) + point.y
    for x, height in below.items():
        axes.text(x, height, f"{height:g}", ha="center", va="bottom", color=INK, fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
