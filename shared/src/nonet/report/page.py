"""A report as one HTML file: text, tables and plots; light, dark and on paper."""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.files import write_text
from nonet.report.plots import Bar, Point, bar_plot, column, line_plot
from nonet.report.style import STYLE


class Page:
    """A page that is written from top to bottom; every method returns the page."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._parts: list[str] = []
        self._plots = 0

    def text(self, text: str) -> "Page":
        """Paragraphs, apart by empty lines.

        `# ` and `## ` begin headings, `- ` begins a list item, ``` fences code; inside a line `code`,
        **strong**, *emphasis* and [text](https://...) work. HTML is shown, not obeyed.
        """
        self._parts.append(_markdown(text))
        return self

    def table(self, rows: Sequence[Mapping[str, Any]], caption: str = "") -> "Page":
        """A table with a row for each mapping; columns stand in the order in which they first occur.

        A column with nothing but numbers is set to the right. None is a dash.
        """
        columns = list(dict.fromkeys(name for row in rows for name in row))
        right = {name for name in columns if _numeric(row.get(name) for row in rows)}
        texts = {name: column([row.get(name) for row in rows]) for name in columns}

        def cell(tag: str, name: str, text: str) -> str:
            side = ' class="number"' if name in right else ""
            return f"<{tag}{side}>{_escape(text)}</{tag}>"

        head = "".join(cell("th", name, str(name)) for name in columns)
        body = "".join(
            f"<tr>{''.join(cell('td', name, texts[name][place]) for name in columns)}</tr>\n"
            for place in range(len(rows))
        )
        if not rows:
            head, body = "<th></th>", "<tr><td>nothing to show</td></tr>"
        table = (
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
        )
        self._parts.append(_figure(table, caption))
        return self

    def lines(
        self, title: str, series: Mapping[str, Sequence[Point]], *, x: str, y: str, log_x: bool = False
    ) -> "Page":
        """Lines over a common axis: (x, y) points by name; `x` and `y` name the axes, with units."""
        self._plots += 1
        plot = line_plot(series, x=x, y=y, log_x=log_x, label=title, number=self._plots)
        self._parts.append(_figure(f'<div class="wide">{plot}</div>', title))
        return self

    def bars(self, title: str, bars: Mapping[str, Bar], *, unit: str = "") -> "Page":
        """Bars with their values: by label a number, or (value, low, high) with an interval."""
        self._plots += 1
        plot = bar_plot(bars, unit=unit, label=title, number=self._plots)
        self._parts.append(_figure(f'<div class="wide">{plot}</div>', title))
        return self

    def html(self, fragment: str) -> "Page":
        """HTML as it is; whoever calls this has escaped what users wrote."""
        self._parts.append(fragment)
        return self

    def render(self) -> str:
        """The whole page."""
        subtitle = f"<p>{_inline(self.subtitle)}</p>" if self.subtitle else ""
        parts = "\n".join(self._parts)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<header><h1>{_escape(self.title)}</h1>{subtitle}</header>\n{parts}\n</main>\n</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page as one file that needs no other; gives the path."""
        write_text(path, self.render())
        return Path(path)


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _figure(inner: str, caption: str) -> str:
    title = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
    return f"<figure>{title}{inner}</figure>"


def _numeric(values: Any) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in given
    )


def _markdown(text: str) -> str:
    parts = []
    for place, block in enumerate(re.split(r"^```.*\n((?:.*\n)*?)```\s*$", text + "\n", flags=re.MULTILINE)):
        if place % 2:
            parts.append(f"<pre><code>{_escape(block)}</code></pre>")
            continue
        for paragraph in re.split(r"\n\s*\n", block.strip("\n")):
            parts += _paragraph(paragraph.strip())
    return "\n".join(parts)


def _paragraph(text: str) -> list[str]:
    if not text:
        return []
    heading = re.match(r"(#{1,2}) +(.*)(?:\n|$)", text)
    if heading:
        level = len(heading[1]) + 1
        return [f"<h{level}>{_inline(heading[2])}</h{level}>", *_paragraph(text[heading.end() :].strip())]
    lead, *items = re.split(r"(?:^|\n)- +", text)
    parts = [f"<p>{_inline(lead)}</p>"] if lead else []
    if items:
        parts.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
    return parts


def _inline(text: str) -> str:
    """One line's marks; what stands in code is left alone."""
    parts = re.split(r"`([^`]+)`", text)
    for place, part in enumerate(parts):
        part = _escape(part)
        if place % 2:
            parts[place] = f"<code>{part}</code>"
            continue
        part = re.sub(r"\[([^\]]+)\]\(((?:https?://|#|[\w./-]+)[^\s()]*)\)", _link, part)
        part = re.sub(r"\*\*(\S(?:.*?\S)?)\*\*(?!\*)", r"<strong>\1</strong>", part)
        parts[place] = re.sub(r"(?<![\w*])\*([^\s*<](?:[^*<]*[^\s*<])?)\*(?![\w*])", r"<em>\1</em>", part)
    return "".join(parts)


def _link(match: "re.Match[str]") -> str:
    text, address = match[1], match[2].replace("*", "%2A")  # no emphasis inside
    scheme = address.partition(":")[0] if ":" in address.split("/")[0] else ""
    return f'<a href="{address}">{text}</a>' if scheme in ("", "http", "https") else match[0]
