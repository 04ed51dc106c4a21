"""The page of `cap-prune demo`."""

from pathlib import Path
from typing import Any

from cap_prune.demonstration import Plan
from cap_prune.latency import Timing
from cap_prune.layer_counts import layer_counts
from cap_prune.levels import step_name
from cap_prune.loading import load_model
from nonet.report import Page


def write_page(out: Path, rows: list[dict[str, Any]], times: dict[str, Timing], plan: Plan) -> None:
    """Write `report.html` of a demo.

    Args:
        out: its folder, with the levels of the student.
        rows: of `cap_prune.demonstration.measure`.
        times: latency by name.
        plan: of the demo.
    """
    last = plan.targets[-1]
    pruned = times[f"pruned {last:g} %"]
    page = Page(
        "Contrastive pruning in a minute",
        "Made-up sentences; everything on this page was computed by `cap-prune demo`.",
    )
    page.text(
        f"An encoder of {plan.layers} layers first learns words and kinds of things. A teacher is fine-tuned "
        "from it to say whether a sentence is positive. A student starts from the same encoder and loses "
        f"heads and neurons in {len(plan.targets)} steps; after each it learns from the labels, from the "
        "teacher, and by contrast with the encoder, the teacher and its own past. At the first step it is "
        f"a beginner beside the teacher, with {plan.student_steps} steps of training against "
        f"{plan.teacher_steps}. What is removed is gone: "
        f"the smallest model was measured {pruned.ratio:.1f} times as fast as the teacher "
        f"({pruned.ratio_low:.1f} to {pruned.ratio_high:.1f})."
    )
    for title, key in (
        ("Accuracy", "accuracy"),
        (
            "General knowledge: the kind of thing, found by a linear classifier in the frozen encoder",
            "general",
        ),
    ):
        page.lines(title, _curves(rows, key), x="heads and neurons removed, %", y="% of held-out sentences")
    page.bars(
        f"Latency of a batch of {plan.batch} texts of {plan.length} pieces, one CPU thread",
        {name: (each.median, each.least, each.most) for name, each in times.items()},
        unit="ms",
    )
    model, _ = load_model(out / "prune" / step_name(last))
    page.bars(
        f"Heads that are left at {last:g} %, of {plan.heads}",
        {f"layer {each.layer}": float(each.heads) for each in layer_counts(model, plan.length)},
        unit="heads",
    )
    page.table(rows, caption="Every model")
    page.save(out / "report.html")


def _curves(rows: list[dict[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    """The students' points by their way of pruning, each curve from the teacher on."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows[1:]:
        curves.setdefault(row["model"], [(0.0, float(rows[0][key]))]).append(
            (float(row["pruned %"]), float(row[key]))
        )
    return curves
