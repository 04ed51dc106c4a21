"""An evaluation as a table for the terminal and as a page that shows phrases in their texts (ours)."""

import html
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from keyphrase_plm.evaluation import Evaluation
from nonet.metrics.keyphrase_intervals import Compared
from nonet.metrics.keyphrase_matches import stem_words
from nonet.report import Page
from nonet.report.plots import Bar

Kind = Literal["right", "missed", "wrong"]

SHOWN_WORDS = 250  # of a text on the page
SIGNS = ".,;:!?()[]{}'\"`"
KINDS: dict[Kind, tuple[str, str]] = {
    "right": (
        "predicted and gold",
        "border-bottom:3px solid var(--series-3);background:rgba(15,143,104,.22)",
    ),
    "missed": (
        "gold, not predicted",
        "border-bottom:3px dashed var(--series-1);background:rgba(31,111,180,.16)",
    ),
    "wrong": (
        "predicted, not gold",
        "border-bottom:3px dotted var(--series-2);background:rgba(209,87,11,.13)",
    ),
}
"""what a mark means, and its look; where phrases overlap the first of these wins"""


def text(found: Evaluation, said: Sequence[str] = ()) -> str:
    """The table for the terminal: shares in per cent, the convention beside every number.

    Args:
        found: the scores.
        said: remarks that were printed before and are not repeated.
    """
    shown = []
    for row in found.rows():
        line = {"": f"{row['class']}@{row['k']}"}
        line |= {name: f"{100 * row[name]:.2f}" for name in ("P", "R", "F1")}
        line[f"F1 {found.level:.0%}"] = f"{100 * row['F1 low']:.2f}-{100 * row['F1 high']:.2f}"
        line |= {name: f"{100 * row[name]:.2f}" for name in ("micro P", "micro R", "micro F1", "MAP", "NDCG")}
        if "alpha-NDCG" in row:
            line["aNDCG"] = f"{100 * row['alpha-NDCG']:.2f}"
        shown.append(line | {"convention": row["convention"]})
    lines = _columns(shown)
    if found.semantic is not None:
        lines.append(
            f"SemF1 {100 * found.semantic.semf1:.2f} (kpeval, semantic; mean of documents; "
            f"{found.semantic.encoded:,} distinct phrases)"
        )
    for of, counts in found.counts().items():
        if isinstance(counts, dict):
            lines.append(
                f"{of}: {counts['gold phrases']:,} gold phrases in {counts['documents with gold']:,} of "
                f"{len(found.scores):,} documents, {counts['predictions']:,} predictions, "
                f"mean error of their number {counts['error of counts']:.2f}"
            )
    return "\n".join([*lines, *(f"note: {remark}" for remark in found.remarks if remark not in said)])


def comparison_rows(compared: Sequence[Compared], label: str) -> list[dict[str, Any]]:
    """One row a class and cut, F1 in per cent."""
    found = []
    for row in compared:
        shares = {
            "first": row.first,
            "second": row.second,
            "difference": row.difference,
            "from": row.low,
            "to": row.high,
        }
        numbers = {name: round(100 * value, 2) for name, value in shares.items()}
        numbers |= {"p": round(row.p, 4), "p (Holm)": round(row.p_holm, 4)}
        found.append({"F1": f"{row.of}@{row.k}", **numbers, "convention": label})
    return found


def comparison_text(compared: Sequence[Compared], names: tuple[str, str], label: str) -> str:
    """The comparison for the terminal."""
    head = f"difference of F1: {names[0]} - {names[1]}, the same documents drawn for both"
    rows = [
        {
            name: value if isinstance(value, str) else f"{value:.4f}" if name[0] == "p" else f"{value:.2f}"
            for name, value in row.items()
        }
        for row in comparison_rows(compared, label)
    ]
    return "\n".join([head, *_columns(rows)])


def page(
    found: Evaluation,
    *,
    title: str,
    stemmer: str = "porter",
    tokenise: Callable[[str], list[str]] | None = None,
    compared: Sequence[Compared] = (),
    names: tuple[str, str] = ("first", "second"),
    examples: int = 8,
) -> Page:
    """The evaluation as a page.

    Args:
        found: the scores.
        title: its heading.
        stemmer: by which phrases are found in the texts.
        tokenise: what splits the texts shown into words, where not spaces.
        compared: differences to another system.
        names: of the two systems.
        examples: documents to show, spread evenly from the worst to the best.
    """
    sheet = Page(title, f"{len(found.scores):,} documents; convention: **{found.label}**")
    bars: dict[str, Bar] = {}
    for (of, k), interval in found.intervals.items():
        mean, low, high = (round(100 * value, 2) for value in interval)
        bars[f"{of}@{k}"] = (mean, low, high)
    sheet.bars(f"F1 under the convention {found.label}, with bootstrap intervals", bars, unit="%")
    means: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for row in found.rows():
        shares = {key: round(100 * value, 2) for key, value in row.items() if isinstance(value, float)}
        head = {"": f"{row['class']}@{row['k']}"}
        first = {name: shares.pop(name) for name in ("P", "R", "F1", "F1 low", "F1 high")}
        means.append({**head, **first, "convention": row["convention"]})
        others.append({**head, **shares, "convention": row["convention"]})
    sheet.table(means, caption="Means over documents, in per cent")
    sheet.table(others, caption="Over all phrases together (micro), and by rank, in per cent")
    if found.semantic is not None:
        sheet.text(
            f"**SemF1 {100 * found.semantic.semf1:.2f}** (kpeval, semantic: mean of the documents' F1 of "
            "largest cosines)"
        )
    counts = [{"class": of, **row} for of, row in found.counts().items() if isinstance(row, dict)]
    sheet.table(counts, caption="Phrases; the error is the mean difference of their numbers in a document")
    if compared:
        sheet.table(
            comparison_rows(compared, found.label),
            caption=f"F1 of {names[0]} less that of {names[1]}, in per cent: paired bootstrap",
        )
    if found.remarks:
        sheet.text("\n".join(f"- {remark}" for remark in found.remarks))
    chosen = spread(found, examples)
    if chosen:
        legend = " ".join(_mark(kind, label) for kind, (label, _) in KINDS.items())
        sheet.text("## Documents")
        sheet.html(
            f"<p>From the lowest F1@M of all phrases to the highest. In the text: {legend}. Phrases "
            "are found by their stems.</p>"
        )
        sheet.html("".join(example(found, i, stemmer, tokenise) for i in chosen))
    return sheet


def spread(found: Evaluation, count: int) -> list[int]:
    """Places of documents from the worst to the best by F1 of all their predictions, evenly spread."""
    scores = found.scores
    right = np.bincount(
        np.repeat(np.arange(len(scores)), np.diff(scores.matches.said_first))[scores.matches.right >= 0],
        minlength=len(scores),
    )
    f1 = 2 * right / np.maximum(scores.gold["all"] + scores.said["all"], 1)
    order = np.argsort(f1, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return [int(i) for i in order[places]]


def example(
    found: Evaluation,
    i: int,
    stemmer: str = "porter",
    tokenise: Callable[[str], list[str]] | None = None,
) -> str:
    """One document as HTML: its text with marked phrases, and below it the phrases by kind.

    Args:
        found: the scores.
        i: number of the document.
        stemmer: see `marked`.
        tokenise: see `marked`.
    """
    matches, document = found.scores.matches, found.joined.documents[i]
    gold = [*document.present, *document.absent]
    golds = range(int(matches.gold_first[i]), int(matches.gold_first[i] + len(gold)))
    saids = range(int(matches.said_first[i]), int(matches.said_first[i + 1]))
    hit = {int(matches.right[place]) for place in saids if matches.right[place] >= 0}
    present: list[tuple[Kind, str]] = []
    absent: list[tuple[Kind, str]] = []
    for place, phrase in zip(golds, gold, strict=True):
        if place < len(matches.gold_kept) and matches.gold_kept[place]:
            kind: Kind = "right" if place in hit else "missed"
            (present if matches.gold_present[place] else absent).append((kind, phrase))
    for place, phrase in zip(saids, found.joined.phrases[i], strict=False):
        if matches.said_kept[place] and matches.right[place] < 0 and phrase.strip():
            (present if matches.said_present[place] else absent).append(("wrong", phrase))
    split = tokenise or str.split
    title = split(document.title)
    words = [*title, *split(document.body)]
    parts = [
        f"<strong>{html.escape(document.id)}</strong>",
        marked(words, present, stemmer, len(title), tokenise),
    ]
    for name, phrases in (("present", present), ("absent", absent)):
        listed = " ".join(_mark(kind, phrase) for kind, phrase in phrases) or "none"
        parts.append(f"<small>{name}:</small> {listed}")
    style = "border-top:1px solid var(--grid);padding:.8rem 0;overflow-wrap:anywhere;line-height:1.9"
    return f'<div style="{style}">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>"


def marked(
    words: Sequence[str], phrases: Sequence[tuple[Kind, str]], stemmer: str = "porter", title: int = 0,
    tokenise: Callable[[str], list[str]] | None = None,
) -> str:  # fmt: skip
    """Words as HTML with every place of a phrase marked.

    Args:
        words: of the text; the first 250 are shown.
        phrases: kind and phrase; the kinds of `KINDS` come first in their order, and longer phrases before
            shorter ones; a place that is taken stays so.
        stemmer: see `nonet.metrics.keyphrases`.
        title: how many of the words are the title, which is set in bold.
        tokenise: what the words were split by, where not by spaces; the words are then set without any.
    """
    shown = list(words[:SHOWN_WORDS])
    split, space = tokenise or str.split, "" if tokenise else " "
    stems = stem_words([_bare(word) for word in shown], stemmer)
    taken: list[tuple[Kind, int] | None] = [None] * len(shown)
    order = sorted(phrases, key=lambda one: (list(KINDS).index(one[0]), -len(split(one[1]))))
    number = 0
    for kind, phrase in order:
        sought = stem_words([_bare(word) for word in split(phrase)], stemmer)
        for at in range(len(stems) - len(sought) + 1 if sought else 0):
            end = at + len(sought)
            if stems[at:end] == sought and not any(taken[at:end]):
                number += 1
                taken[at:end] = [(kind, number)] * len(sought)
    out = []
    at = 0
    while at < len(shown):
        end = at + 1
        while end < len(shown) and taken[at] is not None and taken[end] == taken[at]:
            end += 1
        piece = space.join(shown[at:end])
        mark = taken[at]
        cell = html.escape(piece) if mark is None else _mark(mark[0], piece)
        out.append(f"<b>{cell}</b>" if at < title else cell)
        if at < title <= end and end < len(shown):
            out.append("<br>")
        at = end
    more = len(words) - len(shown)
    return space.join(out) + (f" <small>... and {more:,} more words</small>" if more > 0 else "")


def _bare(word: str) -> str:
    """A word in lower case without the signs around it, so that "nets," on the page is found as "nets"."""
    return word.lower().strip(SIGNS) or word


def _mark(kind: Kind, phrase: str) -> str:
    label, look = KINDS[kind]
    return f'<mark title="{label}" style="color:inherit;padding:0 .15em;{look}">{html.escape(phrase)}</mark>'


def _columns(table: Sequence[dict[str, str]]) -> list[str]:
    widths = {name: max(len(name), *(len(row[name]) for row in table)) for name in table[0]}
    out = []
    for row in [{name: name for name in widths}, *table]:
        cells = [
            row[name].ljust(width) if i in (0, len(widths) - 1) else row[name].rjust(width)
            for i, (name, width) in enumerate(widths.items())
        ]
        out.append("  ".join(cells).rstrip())
    return out
