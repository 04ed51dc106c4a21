"""A report of scores as a table for the terminal and as a page with the best and the worst summaries."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet.report import Page
from pegasus.data_sets import RougeL
from pegasus.evaluation import Comparison, Report
from pegasus.extractiveness import fragments
from pegasus.sentences import words_of_sentences

DOCUMENT = 1500  # characters of a document that an example shows
PERCENT = ("rouge", "sentence_bleu", "regs", "coverage", "normalised")  # how shares begin
LABELS = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L (rougeL)",
    "rougeLsum": "ROUGE-L by sentence (rougeLsum)",
    "sentence_bleu": "BLEU, mean of sentences",
    "words": "words",
    "characters": "characters",
    "words_ratio": "words / reference's",
    "characters_ratio": "characters / reference's",
    "regs1": "repeated words",
    "regs2": "repeated 2-grams",
    "regs3": "repeated 3-grams",
    "regsTCR": "inside consecutive repeats",
    "regsLCR": "longest consecutive repeat",
    "coverage": "copied: coverage",
    "density": "copied: density (words)",
    "normalised_density": "copied: normalised density",
}


def rows(report: Report) -> list[dict[str, Any]]:
    """One row a measure: mean, interval, and the references' mean where there is one; shares in per cent."""
    found: list[dict[str, Any]] = []
    for name, label in LABELS.items():
        if name not in report.means:
            continue
        mean, low, high = (_shown(name, value) for value in report.means[name])
        reference = report.means.get(f"reference_{name}")
        known = _shown(name, reference.mean) if reference else ""
        if name == report.rouge_l:
            label += " *"
        found.append({"measure": label, "mean": mean, "interval": f"{low} to {high}", "references": known})
    found.insert(
        5,
        {
            "measure": "BLEU, whole corpus",
            "mean": f"{100 * report.corpus_bleu:.2f}",
            "interval": "",
            "references": "",
        },
    )
    return found


def text(report: Report) -> str:
    """The table for the terminal."""
    lines = [f"{len(report):,} items: {report.headline}", *_columns(rows(report))]
    lines.append(
        f"* what papers call ROUGE-L here; interval: {report.level:.0%} bootstrap; shares in per cent"
    )
    return "\n".join([*lines, *remarks(report)])


def remarks(report: Report) -> list[str]:
    """What a reader should know before believing the numbers."""
    found = list(report.notes)
    blank, common = report.counts["blank_predictions"], report.counts["most_frequent_prediction"]
    if blank:
        found.append(f"{blank:,} blank predictions were scored 0")
    if report.counts["blank_references"]:
        found.append(f"{report.counts['blank_references']:,} items have only blank references, and score 0")
    if len(report) > 9 and common > len(report) / 10:
        found.append(f"one and the same prediction occurs {common:,} times")
    return found


def comparison_text(found: Sequence[Comparison], names: tuple[str, str]) -> str:
    """A table of differences, for the terminal."""
    lines = [f"difference: {names[0]} - {names[1]}, paired bootstrap", *_columns(comparison_rows(found))]
    return "\n".join([*lines, "p (Holm) is corrected for the number of measures"])


def comparison_rows(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row a measure, in per cent."""
    return [
        {
            "measure": LABELS[row.measure],
            "first": f"{100 * row.first:.2f}",
            "second": f"{100 * row.second:.2f}",
            "difference": f"{100 * row.difference:+.2f}",
            "interval": f"{100 * row.low:+.2f} to {100 * row.high:+.2f}",
            "p": f"{row.p:.4f}",
            "p (Holm)": f"{row.p_holm:.4f}",
        }
        for row in found
    ]


def page(
    report: Report,
    *,
    title: str = "Summaries, scored",
    comparison: Sequence[Comparison] = (),
    examples: int = 5,
) -> Page:
    """The report as a page.

    Args:
        report: the scores.
        title: its heading.
        comparison: differences to another system.
        examples: how many of the best and of the worst summaries to show.
    """
    sheet = Page(title, f"{len(report):,} items: {report.headline}")
    for remark in remarks(report):
        sheet.text(remark)
    names = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    means = {LABELS[name]: report.means[name] for name in names}
    bars = {label: (100 * mean, 100 * low, 100 * high) for label, (mean, low, high) in means.items()}
    sheet.bars("ROUGE F", bars, unit="%")
    sheet.table(rows(report), caption="All measures; * is what papers call ROUGE-L here; shares in per cent")
    if comparison:
        sheet.table(
            comparison_rows(comparison), caption="Difference to the other system, paired bootstrap, per cent"
        )
    sheet.lines(
        "How the scores spread",
        {LABELS[name]: _spread(report.scores[name]) for name in names[:3]},
        x="share of items with at most this score",
        y="F",
    )
    order = np.argsort(report.scores["rouge1"], kind="stable")
    count = min(examples, len(report) // 2) or min(examples, 1)
    for heading, chosen in (("Best", order[::-1][:count]), ("Worst", order[:count])):
        if count:
            sheet.text(
                f"{heading} by ROUGE-1. Words that stand in the document in the same order are marked."
            )
            sheet.html("".join(_example(report, int(i)) for i in chosen))
    return sheet


def _spread(values: np.ndarray) -> list[tuple[float, float]]:
    shares = np.linspace(0, 1, 51)
    return [(float(x), float(y)) for x, y in zip(shares, np.quantile(values, shares), strict=True)]


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.2f}" if name.removeprefix("reference_").startswith(PERCENT) else f"{value:.2f}"


def _columns(table: list[dict[str, Any]]) -> list[str]:
    widths = {name: max(len(name), *(len(str(row[name])) for row in table)) for name in table[0]}
    out = []
    for row in [{name: name for name in widths}, *table]:
        cells = [
            str(row[name]).ljust(width) if i == 0 else str(row[name]).rjust(width)
            for i, (name, width) in enumerate(widths.items())
        ]
        out.append("  ".join(cells).rstrip())
    return out


_CELL = "flex:1 1 16rem;min-width:0;white-space:pre-wrap;overflow-wrap:anywhere"
_MARK = '<mark style="background:rgba(255,190,0,.35);color:inherit">'


def _example(report: Report, i: int) -> str:
    document = report.documents[i] if report.documents is not None else None
    names: tuple[RougeL | str, ...] = ("rouge1", "rouge2", report.rouge_l)
    scores = " / ".join(f"{100 * report.scores[name][i]:.1f}" for name in names)
    cells = [("prediction", _marked(document, report.predictions[i]))]
    cells += [("reference", html.escape(text)) for text in report.references[i]]
    if document is not None:
        cut = document if len(document) <= DOCUMENT else document[:DOCUMENT] + " ..."
        cells.insert(0, ("document", html.escape(cut)))
    body = "".join(
        f'<div style="{_CELL}"><small>{name}</small><br>{content}</div>' for name, content in cells
    )
    style = "display:flex;flex-wrap:wrap;gap:1rem;border-top:1px solid currentColor;padding:.6rem 0"
    return f'<div><small>item {i + 1}: {scores}</small><div style="{style}">{body}</div></div>'


def _marked(document: str | None, summary: str) -> str:
    """The summary with copied runs of at least two words marked."""
    if document is None:
        return html.escape(summary)
    pieces = summary.split(" ")
    numbered = words_of_sentences([[document, *pieces]], stop_words=False)
    words, ends = numbered.document(0)
    copied = np.zeros(len(words) - int(ends[0]), bool)
    for start, length in fragments(words[: ends[0]], words[ends[0] :]):
        copied[start : start + length] = length > 1
    out, before = [], int(ends[0])
    for piece, end in zip(pieces, ends[1:].tolist(), strict=True):
        inside = copied[before - int(ends[0]) : end - int(ends[0])]
        shown = html.escape(piece)
        out.append(f"{_MARK}{shown}</mark>" if len(inside) and inside.all() else shown)
        before = end
    return " ".join(out)
