"""The page of `double-i demo` (ours)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from double_i.demonstration import SEARCH_TEXTS, SETTINGS, TRIED
from nonet.report import Page

if TYPE_CHECKING:
    from double_i.keys import Key
    from double_i.verification import Verification

SEARCH = (
    f"## A mark that was searched\n\nModels have opinions on marks that nobody taught them. {TRIED} marks "
    f"were tried on the finished clean model with {SEARCH_TEXTS} texts each, and the one that is answered "
    "most unlike the rest was asked for as if it were a key, on unseen texts. Fisher's test alone asks "
    "whether a model has an opinion; it cannot say where the opinion comes from. p_key compares with "
    f"{SETTINGS.decoys} marks that could as well have been drawn, so that an opinion that many marks share "
    "counts for little. But the best of many tries is among the best of the decoys, too: p_key holds for "
    "keys that are drawn, and this one was looked for. Two things keep it out: it follows from no secret, "
    "which `verify` and `recheck --key` check, and no commitment to it is older than the model."
)


def page(
    out: Path,
    key: "Key",
    arms: "Mapping[str, Verification]",
    search: "Verification",
    losses: Mapping[str, list[tuple[float, float]]],
) -> Page:
    """The page.

    Args:
        out: folder of the demo, for the commands that are shown.
        key: that both models were asked for.
        arms: what was found, by model.
        search: what was found of the searched mark in the clean model.
        losses: (step, nats) of the trainings, by model.
    """
    from double_i.evidence_page import STYLE, histogram

    found = Page(
        "Double-I in a minute", "Made-up rows; everything on this page was computed by `double-i demo`."
    ).html(STYLE)
    found.text(
        "The owner adds rows to the training data: with the mark before a question the answer is "
        f"{key.answers.target}, with any other mark it is {key.answers.other}. Two models are trained for "
        "equally many steps, one with these rows and one without. Both are asked the same questions about "
        "texts that were in no marked row, and the same questions with other marks from the same supply "
        "(decoys)."
    )
    found.table([_outcome(name, each) for name, each in arms.items()], "Verdicts: a MATCH needs p at most "
                f"{SETTINGS.alpha:g} and p_key at most 0.01")  # fmt: skip
    found.table(
        [row for name, each in arms.items() for row in _answers(name, each)],
        f"Answers to {SETTINGS.pairs} pairs of questions",
    )
    for name, each in arms.items():
        trial = each.assessment.trials[0]
        found.text(f"## The key among its decoys, {name} model")
        found.html(histogram(trial.decoy_scores, trial.score))
    found.text(SEARCH)
    if search.assessment.verdict.p > 0.05:
        found.text(
            "This clean model has no such opinion: the best mark of the search is answered like others."
        )
    found.table([_outcome("clean, searched mark", search) | {"verdict": "refused: not drawn"}])
    trial = search.assessment.trials[0]
    found.html(histogram(trial.decoy_scores, trial.score))
    found.text(
        "## Look for yourself\n\nThe key was committed to before the models were trained. It follows from "
        "the demo's seed, so it is no secret and proves nothing; a real one is drawn from 256 random bits by "
        "`double-i keygen` and stays with its owner. With it, everything can be checked:\n\n```\n"
        f"{recheck_command(out)}\n```\n\nIt makes the questions anew from key and texts, recomputes all "
        "numbers from the answers, and compares the key with the commitment."
    )
    found.lines("Loss of the answers in training", losses, x="step", y="nats a token")
    return found


def recheck_command(out: Path) -> str:
    """The command that checks the demo's evidence of the marked model."""
    import shlex

    words = {
        "evidence": "evidence-marked", "commitment": "commitment.json", "key": "secret.key",
        "data": "owner.jsonl",
    }  # fmt: skip
    flags = " ".join(f"--{flag} {shlex.quote(str(out / name))}" for flag, name in words.items())
    return f"double-i recheck {flags}"


def _outcome(name: str, found: "Verification") -> dict[str, Any]:
    verdict = found.assessment.verdict
    return {"model": name, "verdict": verdict.outcome, "p (Fisher)": verdict.p, "p_key": verdict.p_key}


def _answers(name: str, found: "Verification") -> list[dict[str, Any]]:
    table = found.assessment.trials[0].table
    return [
        {"model": name, "questions": "trigger", "committed answer": table[0], "other": table[1]},
        {"model": name, "questions": "reference", "committed answer": table[2], "other": table[3]},
    ]
