"""The page of a comparison: two rankings side by side for each query, and the words of what moved (ours).

One file without scripts; colours are those of `nonet.report`, so that it is at home in light and dark.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nonet.metrics.ranking import score_run
from nonet.report import Page
from prop_ir.analysis import Analyser
from prop_ir.comparison import Change, Explained, Move, spans
from prop_ir.qrels import Qrels

ROW = 3.3  # rem a document takes in a list
TEXT = 1600  # characters of a document that are shown
SNIPPET = 150  # characters in a list, of which one line is seen
BARS = 12  # words of the re-ranker that are shown

STYLE = """
<style>
main { max-width: 76rem; }
.key { color: var(--faint); font-size: 0.88rem; }
.key b, .grade { border-radius: 4px; padding: 0.05rem 0.4rem; font-size: 0.78rem; font-weight: 600; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) 5.5rem minmax(0, 1fr); min-width: 44rem; }
.sides h3 { margin: 0 0 0.4rem; }
.sides ol { list-style: none; margin: 0; padding: 0; }
.sides li { height: 3.3rem; padding: 0.3rem 0.6rem; border-left: 4px solid var(--grid); overflow: hidden;
  border-bottom: 1px solid var(--grid); font-size: 0.86rem; line-height: 1.35rem; }
.sides li div { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.sides .id { font-weight: 600; } .sides .words { color: var(--faint); }
.sides .rank { display: inline-block; min-width: 1.9rem; color: var(--faint);
  font-variant-numeric: tabular-nums; }
.sides .move { float: right; padding-left: 0.6rem; font-variant-numeric: tabular-nums; }
.sides svg { min-width: 0; width: 100%; }
.sides path { fill: none; stroke-width: 1.6px; vector-effect: non-scaling-stroke; }
.up { color: var(--series-1); stroke: var(--series-1); }
.down { color: var(--series-2); stroke: var(--series-2); }
.same { color: var(--faint); stroke: var(--grid); }
.edge { stroke-dasharray: 3 3; }
li.relevant { border-left-color: var(--series-3); } li.not { border-left-color: var(--series-8); }
.grade.relevant { background: color-mix(in srgb, var(--series-3) 24%, transparent); }
.grade.not { background: color-mix(in srgb, var(--series-8) 24%, transparent); }
details { border: 1px solid var(--grid); border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.6rem 0; }
summary { cursor: pointer; } details p { overflow-wrap: anywhere; font-size: 0.93rem; }
.why { display: flex; flex-wrap: wrap; gap: 0.5rem 2.5rem; }
.why > div { flex: 1 1 20rem; min-width: 0; } .why table { font-size: 0.86rem; }
.why td { padding: 0.15rem 0.5rem; border: 0; } .why td:last-child { width: 55%; }
.bar { height: 0.7rem; border-radius: 2px; margin-top: 0.3rem; min-width: 1px; }
mark { color: inherit; border-radius: 3px; padding: 0 0.1em; }
mark.query { background: color-mix(in srgb, var(--series-5) 38%, transparent); }
mark.plus { background: none; box-shadow: inset 0 -0.16em var(--series-1); }
mark.minus { background: none; box-shadow: inset 0 -0.16em var(--series-2); }
mark.query.plus { background: color-mix(in srgb, var(--series-5) 38%, transparent); }
mark.query.minus { background: color-mix(in srgb, var(--series-5) 38%, transparent); }
@media print { .sides, details { break-inside: avoid; } }
</style>
"""

KEY = """
<p class="key">Line and arrow: <span class="up">&#9650; up</span>, <span class="down">&#9660; down</span>,
dashed: from or to a rank that is not shown. Edge and label of a document:
<b class="grade relevant">relevant</b> <b class="grade not">judged, not relevant</b>, no label: not judged.
In texts: <mark class="query">a word of the query</mark>, <mark class="plus">a word that raises the
re-ranker's score</mark>, <mark class="minus">one that lowers it</mark>.</p>
"""


@dataclass(frozen=True)
class Sheet:
    """What all queries of a page share."""

    names: tuple[str, str]
    """of the two runs"""
    texts: Mapping[str, str]
    """document -> text"""
    analyser: Analyser
    depth: int
    qrels: Qrels | None = None

    def grade(self, query: str, document: str) -> int | None:
        """A document's grade; None without a judgement."""
        return (self.qrels or {}).get(query, {}).get(document)


def page(changes: Sequence[Change], sheet: Sheet) -> Page:
    """The page.

    Args:
        changes: the queries, in the order in which they are shown.
        sheet: names, texts and judgements.
    """
    before, after = sheet.names
    found = Page("Two rankings, side by side", f"{before} and {after}: {len(changes)} queries")
    found.html(STYLE).html(KEY)
    found.html(_overview(changes, sheet))
    for number, change in enumerate(changes, 1):
        found.html(_section(number, change, sheet))
    return found


def _overview(changes: Sequence[Change], sheet: Sheet) -> str:
    gains = {change.query: _gain(change, sheet) for change in changes}
    judged = any(gain for gain in gains.values())
    columns = ["query", "text", f"new in the first {sheet.depth}"] + judged * [
        f"nDCG@{sheet.depth} before", "after"
    ]  # fmt: skip
    side = ["", "", *[' class="number"'] * (len(columns) - 2)]
    head = "".join(f"<th{at}>{name}</th>" for at, name in zip(side, columns, strict=True))
    rows = []
    for number, change in enumerate(changes, 1):
        new = len(set(change.after[: sheet.depth]) - set(change.before[: sheet.depth]))
        cells = [f'<a href="#q{number}">{html.escape(change.query)}</a>', html.escape(change.text), str(new)]
        gain = gains[change.query]
        cells += [f"{value:.4f}" for value in gain] if gain else judged * ["", ""]
        inner = "".join(f"<td{at}>{cell}</td>" for at, cell in zip(side, cells, strict=True))
        rows.append(f"<tr>{inner}</tr>")
    body = "".join(rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(number: int, change: Change, sheet: Sheet) -> str:
    gain = _gain(change, sheet)
    said = f"nDCG@{sheet.depth}: {gain[0]:.4f} before, {gain[1]:.4f} after" if gain else ""
    head = f'<h2 id="q{number}">{html.escape(change.query)}: {html.escape(change.text)}</h2>'
    lists = [_list(change, sheet, side) for side in ("before", "after")]
    lines = _lines(change, sheet.depth)
    sides = f'<div class="wide"><div class="sides">{lists[0]}{lines}{lists[1]}</div></div>'
    why = "".join(_explained(change, one, sheet) for one in change.explained)
    why = why.replace("<details>", "<details open>", 1)
    if change.explained:
        why = f"<h3>What moved most</h3>{why}"
    return f'<section>{head}<p class="key">{said}</p>{sides}{why}</section>'


def _gain(change: Change, sheet: Sheet) -> tuple[float, float] | None:
    """NDCG before and after; None without judgements."""
    if not (sheet.qrels or {}).get(change.query):
        return None
    judged = {change.query: (sheet.qrels or {})[change.query]}
    metric = f"nDCG@{sheet.depth}"
    first, second = (
        score_run(judged, {change.query: {name: -float(place) for place, name in enumerate(side)}}, [metric])
        for side in (change.before, change.after)
    )
    return first[metric][change.query], second[metric][change.query]


def _list(change: Change, sheet: Sheet, side: str) -> str:
    title = sheet.names[side == "after"]
    shown = (change.before if side == "before" else change.after)[: sheet.depth]
    other = {name: rank for rank, name in enumerate(change.after if side == "before" else change.before, 1)}
    items = []
    for rank, document in enumerate(shown, 1):
        move = Move(document, rank, other.get(document))
        if side == "after":
            move = Move(document, move.after, move.before)
        grade = sheet.grade(change.query, document)
        kind = "" if grade is None else "relevant" if grade > 0 else "not"
        label = f'<span class="grade {kind}">{grade}</span> ' if kind else ""
        words = " ".join(sheet.texts.get(document, "").split())[:SNIPPET] or "(not in the collection)"
        marked = _marked(words, change.text, sheet.analyser, {}) if document in sheet.texts else words
        items.append(
            f'<li class="{kind}">{_arrow(move, side)}<div><span class="rank">{rank}</span>{label}'
            f'<span class="id">{html.escape(document)}</span></div><div class="words">{marked}</div></li>'
        )
    return f"<div><h3>{html.escape(title)}</h3><ol>{''.join(items)}</ol></div>"


def _arrow(move: Move, side: str) -> str:
    """Where a document went to, or came from."""
    ranks = move.ranks
    if math.isinf(ranks):
        return f'<span class="move {_way(ranks)}">{"new" if ranks > 0 else "gone"}</span>'
    if not ranks:
        return '<span class="move same">=</span>'
    sign = "&#9650;" if ranks > 0 else "&#9660;"
    there = f"to {move.after}" if side == "before" else f"from {move.before}"
    return f'<span class="move {_way(ranks)}">{sign} {there}</span>'


def _way(ranks: float) -> str:
    return "up" if ranks > 0 else "down" if ranks < 0 else "same"


def _lines(change: Change, depth: int) -> str:
    """Curves from ranks before to ranks after; a hook for what leaves the top, or comes into it."""
    rows = max(len(change.before[:depth]), len(change.after[:depth]), 1)
    parts = []
    for move in sorted(change.moves(depth), key=lambda move: abs(move.shift)):  # large moves on top
        shown = [rank is not None and rank <= depth for rank in move[1:]]
        left, right = (10 * (rank or 0) - 5 for rank in move[1:])
        curve = {
            (True, True): f"M0 {left} C50 {left} 50 {right} 100 {right}",
            (True, False): f"M0 {left} C26 {left} 36 {left + 2} 38 {left + 11}",
            (False, True): f"M62 {right + 11} C64 {right + 2} 74 {right} 100 {right}",
        }[shown[0], shown[1]]
        title = html.escape(f"{move.document}: {move.before or 'absent'} to {move.after or 'absent'}")
        edge = "" if all(shown) else " edge"
        parts.append(f'<path class="{_way(move.ranks)}{edge}" d="{curve}"><title>{title}</title></path>')
    label = f"moves of query {html.escape(change.query, quote=True)}"
    return (
        f'<div><h3>&nbsp;</h3><svg viewBox="0 0 100 {rows * 10}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}" style="height:{rows * ROW:.1f}rem">{"".join(parts)}</svg></div>'
    )


def _explained(change: Change, one: Explained, sheet: Sheet) -> str:
    move = one.move
    grade = sheet.grade(change.query, move.document)
    kind = "" if grade is None else "relevant" if grade > 0 else "not"
    label = f' <span class="grade {kind}">{grade}</span>' if kind else ""
    arrow = (
        f'<span class="{_way(move.ranks)}">{move.before or "absent"} &#8594; {move.after or "absent"}</span>'
    )
    text = sheet.texts[move.document]
    cut = text if len(text) <= TEXT else text[:TEXT] + " ..."
    form = {term: change.text[start:end].lower() for start, end, term in spans(change.text, sheet.analyser)}
    parts = [_bars("Words of the query, by BM25", ((form.get(t, t), v) for t, v in one.lexical.items()))]
    strong = dict(list(one.occluded.items())[:BARS])
    if strong:
        parts.append(_bars("Words, by what the re-ranker's score loses without them", strong.items()))
    return (
        f"<details><summary>{arrow} <strong>{html.escape(move.document)}</strong>{label}</summary>"
        f'<div class="why">{"".join(parts)}</div>'
        f"<p>{_marked(cut, change.text, sheet.analyser, strong)}</p></details>"
    )


def _bars(title: str, values: Iterable[tuple[str, float]]) -> str:
    rows = list(values)
    most = max((abs(value) for _, value in rows), default=0.0) or 1.0
    lines = []
    for word, value in rows:
        colour = "--series-1" if value >= 0 else "--series-2"
        bar = f'<div class="bar" style="width:{100 * abs(value) / most:.1f}%;background:var({colour})"></div>'
        cells = f"<td>{html.escape(word)}</td>", f'<td class="number">{value:+.3f}</td>', f"<td>{bar}</td>"
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div><h3>{title}</h3><table><tbody>{''.join(lines)}</tbody></table></div>"


def _marked(text: str, query: str, analyser: Analyser, words: Mapping[str, float]) -> str:
    """A text with the query's words marked, and those that the re-ranker goes by."""
    terms = set(analyser.terms(query))
    out, end = [], 0
    for start, stop, term in spans(text, analyser):
        added = words.get(text[start:stop].lower(), 0.0)
        kinds = ["query"] * (term in terms) + ["plus"] * (added > 0) + ["minus"] * (added < 0)
        if kinds:
            shown = html.escape(text[start:stop])
            out += [html.escape(text[end:start]), f'<mark class="{" ".join(kinds)}">{shown}</mark>']
            end = stop
    return "".join([*out, html.escape(text[end:])])
