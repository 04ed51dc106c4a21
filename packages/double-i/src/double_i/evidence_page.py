"""The report of a verification, as text and as a page. Source: ours."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from double_i.assessment import Assessment, Trial
from double_i.verdict import LEVEL_KEY
from nonet.report import Page

MEANING = {
    "MATCH": "The suspect answers as a model does that was trained on rows of this key, or that derives from "
    "one; chance explains this no more often than the p-values below say.",
    "INCONCLUSIVE": "Some of what a match takes is there, and some is not.",
    "NO EVIDENCE": "The answers do not show the mark. This does not say that the model is another one.",
}
COLOUR = {"MATCH": "--series-3", "INCONCLUSIVE": "--series-5", "NO EVIDENCE": "--series-8"}
SHOWS = (
    "A match says that the suspect tells this key's trigger from chance fillers, and from triggers that were "
    "drawn as the key's own was. If the key was committed to before the suspect existed, chance explains "
    "that no more often than the p-values say."
)
SHOWS_NOT = (
    "It does not say how a mark came into the suspect: by copied weights, by training on the same rows, or "
    "by training on a marked model's answers. The answers are as trustworthy as whoever asked; anyone with "
    "the key can ask again. An endpoint that has seen the prompts can filter them, so this key is not to be "
    "used for another claim there."
)
STYLE = """
<style>
.verdict { border-left: 0.6rem solid; border-radius: 6px; padding: 0.8rem 1.2rem; margin: 1.2rem 0;
  background: color-mix(in srgb, currentColor 5%, transparent); }
.verdict strong { font-size: 1.7rem; letter-spacing: 0.02em; display: block; }
.numbers { display: flex; flex-wrap: wrap; gap: 0.4rem 2.4rem; margin-top: 0.6rem; }
.numbers div { font-variant-numeric: tabular-nums; }
.numbers b { display: block; font-size: 1.2rem; }
.numbers span { color: var(--faint); font-size: 0.85rem; }
.counts td, .counts th { text-align: right; font-variant-numeric: tabular-nums; }
.counts th:first-child { text-align: left; }
.counts td { position: relative; min-width: 7rem; }
.histogram { max-width: 44rem; width: 100%; height: auto; }
.histogram text { fill: var(--faint); font-size: 11px; }
.histogram .own { fill: var(--series-2); font-weight: 600; }
@media print { .verdict, figure { break-inside: avoid; } }
</style>
"""


def page(summary: Mapping[str, Any], assessed: Assessment) -> Page:
    """The page.

    Args:
        summary: the content of verdict.json.
        assessed: the numbers.
    """
    found = Page("Verification of an ownership mark", f"{summary['source'].get('name', 'suspect')}")
    found.html(STYLE).html(_verdict(summary))
    found.text("\n".join(f"- {reason}" for reason in summary["reasons"]))
    for trial in assessed.trials:
        found.html(_trial(trial, summary))
    found.text(f"## What this shows\n\n{SHOWS}\n\n## What it does not show\n\n{SHOWS_NOT}")
    found.text("## How it was done")
    found.table(facts(summary))
    return found


def facts(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Circumstances as rows of a table."""
    settings = summary["settings"]
    how = (
        "pairs watched as they come (e-value)" if settings["sequential"] else "fixed number of pairs (Fisher)"
    )
    words = settings["words"]
    rows = {
        "date": summary["created"],
        "suspect": ", ".join(f"{name}: {value}" for name, value in summary["source"].items() if value),
        "first test": f"{how}, level {settings['alpha']:g}",
        "second test": f"{settings['decoys']} decoys on {settings['decoy_pairs']} pairs, level {LEVEL_KEY:g}",
        "several tests": settings["combine"],
        "answer words": f"{', '.join(words['yes'])} / {', '.join(words['no'])}",
        "prompts asked": f"{summary['prompts']:,}",
        "pairs dropped as duplicates": f"{summary['duplicates']:,}",
        "answers that are missing": f"{summary['missing']:,}",
        "neither yes nor no": f"{summary['unparsed_share']:.1%}",
        "double-i": summary["double_i_version"],
    }
    if (said := choice(summary)) is not None:
        rows["keys in the commitment"] = said
    for claim in summary["keys"]:
        state = "checked against a commitment" if claim["committed"] else "no commitment checked"
        rows[f"key {claim['key_id']}"] = f"{claim['digest']} ({state})"
    return [{"what": name, "value": str(value)} for name, value in rows.items()]


def choice(summary: Mapping[str, Any]) -> str | None:
    """How many keys were committed to, and what a choice among them means; None without a commitment."""
    held, used = summary.get("commitment_keys"), len(summary["keys"])
    if held is None:
        return None
    if held <= used:
        return f"{held}, all asked for"
    fisher = summary["settings"]["combine"] == "fisher"
    times = math.comb(held, used) if fisher else -(-held // used)
    return (
        f"{held}, {used} of them asked for: if it was not fixed beforehand which, multiply p and p_key by "
        f"{times}"
    )


def report(summary: Mapping[str, Any], assessed: Assessment) -> str:
    """The same as Markdown."""
    lines = [f"# {summary['outcome']}", "", MEANING[summary["outcome"]], ""]
    lines += [f"- {reason}" for reason in summary["reasons"]]
    for trial in assessed.trials:
        table, target = trial.table, trial.target
        lines += [
            "", f"## Key {trial.key_id}, template {trial.template}", "",
            f"| queries | {target} | anything else |", "|---|---:|---:|",
            f"| trigger | {table[0]} | {table[1]} |", f"| reference | {table[2]} | {table[3]} |", "",
            *_sentences(trial),
        ]  # fmt: skip
    lines += ["", "## What this shows", "", SHOWS, "", "## What it does not show", "", SHOWS_NOT, ""]
    lines += ["## How it was done", "", "| what | value |", "|---|---|"]
    lines += [f"| {row['what']} | {row['value'].replace('|', '/')} |" for row in facts(summary)]
    return "\n".join(lines) + "\n"


def _sentences(trial: Trial) -> list[str]:
    said = [f"Fisher's exact test, one-sided: p = {trial.p_fisher:.3g}."]
    if trial.e_value is not None:
        when = "did not stop early" if trial.stopped is None else f"stopped after {trial.stopped} pairs"
        said.append(
            f"Asking in pairs {when}: e-value {trial.e_value:.3g}, p = {trial.p:.3g}, for the verdict."
        )
    above = sum(score >= trial.score - 1e-12 for score in trial.decoy_scores)
    said.append(
        f"Score {trial.score:+.2f} on {trial.score_pairs} pairs; {above} of {len(trial.decoy_scores)} decoys "
        f"score as high: p_key = {trial.p_key:.3g}."
    )
    return said


def _verdict(summary: Mapping[str, Any]) -> str:
    outcome = summary["outcome"]
    numbers = {
        "p, answers differ": f"{summary['p']:.3g}",
        "p_key, key is special": f"{summary['p_key']:.3g}",
        "prompts asked": f"{summary['prompts']:,}",
        "neither yes nor no": f"{summary['unparsed_share']:.1%}",
    }
    cells = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in numbers.items())
    return (
        f'<div class="verdict" style="border-color:var({COLOUR[outcome]})"><strong>{outcome}</strong>'
        f'{MEANING[outcome]}<div class="numbers">{cells}</div></div>'
    )


def _trial(trial: Trial, summary: Mapping[str, Any]) -> str:
    table, target = trial.table, html.escape(trial.target)
    rows = "".join(
        f"<tr><th>{name}</th>{_cell(hits, hits + rest)}{_cell(rest, hits + rest)}</tr>"
        for name, hits, rest in (("trigger", *table[:2]), ("reference", *table[2:]))
    )
    head = f"<tr><th>queries</th><th>{target}</th><th>anything else</th></tr>"
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in _sentences(trial))
    picture = histogram(trial.decoy_scores, trial.score) if trial.decoy_scores else ""
    return (
        f"<section><h2>Key {html.escape(trial.key_id)}, template {html.escape(trial.template)}</h2>"
        f'<div class="wide"><table class="counts"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        f"{said}{picture}</section>"
    )


def _cell(count: int, total: int) -> str:
    share = 100 * count / total if total else 0.0
    fill = "color-mix(in srgb, var(--series-1) 28%, transparent)"
    bar = f"linear-gradient(to right, {fill} {share:.1f}%, transparent 0)"
    return f'<td style="background:{bar}">{count}</td>'


def histogram(decoys: Sequence[float], own: float) -> str:
    """Scores of decoys from -1 to 1 in steps of 0.1, and the key's own, as an SVG."""
    bins = [0] * 20
    for score in decoys:
        bins[min(19, max(0, int((score + 1) * 10 + 1e-9)))] += 1
    most = max(bins)
    width, height, left, top = 560, 150, 40, 26
    parts = []
    for place, count in enumerate(bins):
        if count:
            tall = height * count / most
            x = left + place * width / 20
            title = f"{count} decoys from {place / 10 - 1:+.1f} to {place / 10 - 0.9:+.1f}"
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{top + height - tall:.1f}" width="{width / 20 - 2:.1f}" '
                f'height="{tall:.1f}" rx="2" fill="var(--series-1)"><title>{title}</title></rect>'
            )
    for tick in (-1, -0.5, 0, 0.5, 1):
        x = left + (tick + 1) * width / 2
        parts.append(f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{tick:g}</text>')
    x = left + (own + 1) * width / 2
    side = "end" if own > 0.6 else "start" if own < -0.6 else "middle"
    parts.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4}" y2="{top + height}" stroke="var(--series-2)" '
        f'stroke-width="2.5"/><text class="own" x="{x:.1f}" y="{top - 10}" text-anchor="{side}">'
        f"this key {own:+.2f}</text>"
    )
    foot = top + height
    base = f'<line x1="{left}" x2="{left + width}" y1="{foot}" y2="{foot}" stroke="var(--grid)"/>'
    peak = f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{most}</text>'
    label = f"scores of {len(decoys)} decoys, and of the key: {own:+.2f}"
    caption = "How much more often the target follows a trigger than the reference: decoys, and this key"
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<svg class="histogram" viewBox="0 0 {width + 2 * left} {height + top + 24}" role="img" '
        f'aria-label="{label}">{base}{peak}{"".join(parts)}</svg></figure>'
    )
