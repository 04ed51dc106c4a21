"""Plots as inline SVG: drawn by matplotlib, coloured by the page, so that they follow light and dark.

Every colour is drawn as a stand-in and then replaced by a CSS variable of the page. The same data gives the
same bytes: ids depend on the place in the page only, and no date is written.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nonet.errors import needs

INK, FAINT, GRID = "#010101", "#020202", "#030303"  # stand-ins for colours of the page
SERIES = [f"#0400{number:02x}" for number in range(8)]
DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5))]  # after eight colours, another line
WIDTH = 7.2  # inches; the page scales the picture to its column
BESIDE, BELOW = 0.8, 0.5  # inches of margin for an axis's numbers (seven signs) and what they are
POWER = 0.22  # and above it for the power of ten that they are multiples of

Point = tuple[float, float]
Bar = float | tuple[float, float, float]


def line_plot(
    series: Mapping[str, Sequence[Point]], *, x: str, y: str, log_x: bool = False, label: str, number: int = 0
) -> str:
    """Lines over a common axis.

    Args:
        series: (x, y) points by name, in order of x. A y that is not finite leaves a gap.
        x: what the axis across shows, with unit.
        y: what the axis upwards shows, with unit.
        log_x: a logarithmic axis; points with x <= 0 are left out.
        label: what a screen reader says.
        number: the picture's number in its page.

    Returns:
        An `<svg>` element.
    """
    with _settings():
        figure, axes = _figure(3.3, layout=None)  # with margins that are given it takes a quarter of the time
        for place, (name, points) in enumerate(series.items()):
            shown = [(float(a), float(b)) for a, b in points if not log_x or a > 0]
            style: dict[str, Any] = {"color": SERIES[place % len(SERIES)], "linewidth": 1.8, "label": name}
            style["linestyle"] = DASHES[place // len(SERIES) % len(DASHES)]
            if len(shown) <= 25:
                style |= {"marker": "o", "markersize": 3.5}
            if name.startswith("_"):  # matplotlib would leave it out of the legend
                style["label"] = "\N{ZERO WIDTH SPACE}" + name
            heights = [b if math.isfinite(b) else math.nan for _, b in shown]
            axes.plot([a for a, _ in shown], heights, **style)
        if log_x:
            _logarithmic(axes)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(True, color=GRID, linewidth=0.8)
        above = _legend(figure, axes, list(series)) if len(series) > 1 else 0.0
        high = figure.get_figheight()
        left, right = (inches / WIDTH for inches in (BESIDE, 0.12))
        figure.subplots_adjust(left, BELOW / high, 1 - right, 1 - (above + POWER) / high)
        return _svg(figure, label, number)


def bar_plot(bars: Mapping[str, Bar], *, unit: str = "", label: str, number: int = 0) -> str:
    """Horizontal bars, the first on top, each with its value and, where given, its interval.

    Args:
        bars: by label a value, or (value, low, high). A value that is not finite has no bar.
        unit: of the values.
        label: what a screen reader says.
        number: the picture's number in its page.

    Returns:
        An `<svg>` element.
    """
    rows = [
        tuple(map(float, value)) if isinstance(value, tuple) else (float(value),) * 3
        for value in bars.values()
    ]
    ends = [end for row in rows for end in row if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = (high - low) or 1.0
    texts = iter(column([end for row in rows for end in row]))
    longest = 0  # characters of a value's text
    with _settings():
        figure, axes = _figure(0.75 + 0.36 * max(len(bars), 1))
        for place, (value, least, most) in enumerate(rows):
            (text, least_text, most_text), right = (next(texts), next(texts), next(texts)), 0.0
            if math.isfinite(value):
                axes.barh(place, value, height=0.62, color=SERIES[0], alpha=0.85, linewidth=0)
                right = max(value, 0.0)
            if math.isfinite(least) and math.isfinite(most) and (least, most) != (value, value):
                axes.plot([least, most], [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
                for end in (least, most):
                    axes.plot([end, end], [place - 0.14, place + 0.14], color=INK, linewidth=1.4)
                text += f"  [{least_text}, {most_text}]"
                right = max(right, most)
            longest = max(longest, len(text))
            axes.text(right + 0.012 * span, place, text, va="center", ha="left", color=INK, fontsize=9)
        axes.set_xlim(low - (0.03 * span if low < 0 else 0), high + span * (0.03 + 0.014 * longest))
        axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), list(bars), color=INK)
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x", color=GRID, linewidth=0.8)
        axes.spines["left"].set_visible(low >= 0)
        if low < 0:
            axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set_xlabel(unit)
        return _svg(figure, label, number)


def show(value: object) -> str:
    """A value as text: about four significant digits, thousands apart, a dash for nothing."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if abs(value) >= 1e15 or 0 < abs(value) < 1e-4:
            return f"{value:.3e}"
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.4g}"
    return str(value)


def column(values: Sequence[Any]) -> list[str]:
    """The texts of a column; numbers have the same places after the point where three are enough."""
    texts = [show(value) for value in values]
    floats = [isinstance(value, float) and math.isfinite(value) for value in values]
    pairs = list(zip(texts, floats, strict=True))
    if any("e" in text for text, real in pairs if real):
        return texts
    places = max((len(text.partition(".")[2]) for text, real in pairs if real), default=0)
    if not 1 <= places <= 3:
        return texts
    return [
        f"{value:,.{places}f}" if real else text for value, (text, real) in zip(values, pairs, strict=True)
    ]


def _figure(height: float, layout: str | None = "constrained") -> tuple[Any, Any]:
    """A figure that no global state knows of."""
    figures = needs("matplotlib.figure", to="draw plots", install="nonet[report]")
    figure = figures.Figure(figsize=(WIDTH, height), layout=layout)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, fontsize=9.5)
    axes.yaxis.label.set(color=INK, fontsize=9.5)
    return figure, axes


def _settings() -> Any:
    """For one plot: text stays text, ids are the same every time, a dollar sign is a character."""
    matplotlib = needs("matplotlib", to="draw plots", install="nonet[report]")
    return matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "nonet", "text.parse_math": False, "font.size": 9}
    )


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def power(value: float, _: int) -> str:
        for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
            if value >= limit:
                return f"{value / (1e3 if suffix == 'k' else limit):g}{suffix}"
        return f"{value:g}"

    axes.set_xscale("log")
    least, most = axes.get_xlim()
    axes.xaxis.set_major_formatter(FuncFormatter(power))
    axes.xaxis.set_minor_formatter(NullFormatter() if most > 10 * least else FuncFormatter(power))


def _legend(figure: Any, axes: Any, names: Sequence[str]) -> float:
    """The names above the plot, in as many columns as fit; the inches that they take."""
    columns = max(1, min(len(names), 4, 90 // (max(map(len, names)) + 6)))
    above = 0.24 * math.ceil(len(names) / columns)
    figure.set_figheight(high := figure.get_figheight() + above)
    style = {"frameon": False, "labelcolor": INK, "borderaxespad": 0, "handlelength": 2.2}
    corner = (BESIDE / WIDTH, 1 - above / high)
    where = {"loc": "lower left", "bbox_to_anchor": corner, "bbox_transform": figure.transFigure}
    axes.legend(ncols=columns, **where, **style)
    return above


def _svg(figure: Any, label: str, number: int) -> str:
    drawn = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(drawn, format="svg", metadata=nothing)
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    for colour, name in {INK: "--ink", FAINT: "--faint", GRID: "--grid"}.items():
        text = text.replace(colour, f"var({name})")
    for place, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--series-{place + 1})")
    # Ids are unique in the page.
    text = re.sub(r'\bid="([^"]+)"', rf'id="plot{number}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1plot{number}-", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    width, height = (float(size[1]), float(size[2])) if size else (WIDTH * 72, 240.0)
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1).strip()
