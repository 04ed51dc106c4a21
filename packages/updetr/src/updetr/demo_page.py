"""The page of `updetr demo` (ours)."""

from pathlib import Path

from nonet.report import Page
from updetr.demonstration import DETECTED, LOCATED, SCORE, Plan, Told


def write_page(out: Path, told: Told, plan: Plan) -> None:
    """Write `report.html` of a demo.

    Args:
        out: its folder, with the pictures.
        told: what was measured.
        plan: of the demo.
    """
    page = Page(
        "A detector that begins by finding patches",
        "Made-up pictures; everything on this page was computed by `updetr demo`.",
    )
    page.text(
        f"A small backbone learns from {plan.pool} pictures without labels, and is frozen. The transformer "
        "behind it is shown patches of these pictures and learns to say where they were cut. Then two "
        f"detectors are fine-tuned on the same {plan.train} labelled pictures: one goes on from that "
        "transformer, the other begins with random weights."
    )
    page.lines("AP50 on held-out pictures", told.ap50_curves, x="step of fine-tuning", y="AP50 x 100")
    page.lines(
        "L1 distance of matched boxes on held-out pictures",
        told.l1_curves,
        x="step of fine-tuning",
        y="sum of four distances, in shares of the sides",
    )
    page.bars("Mean overlap (IoU) of held-out crops with where they are found", told.located)
    page.text(
        "The constant box is one of 0.8 x 0.8 in the middle of the picture: a model that does not find "
        "patches cannot do much better."
    )
    _picture(
        page, LOCATED, "Held-out crops (dashed), and where the pre-trained model sees them, with overlap"
    )
    _picture(
        page, DETECTED,
        "Held-out pictures: true boxes (left), found from scratch (middle), found when pre-trained (right); "
        f"boxes with a score of {SCORE:g} or more",
    )  # fmt: skip
    page.lines(
        "Overlap of patches with where they are found, in pre-training", told.pretext, x="step", y="IoU"
    )
    page.save(out / "report.html")


def _picture(page: Page, name: str, caption: str) -> None:
    image = f'<img src="{name}" alt="" style="max-width: 100%">'
    page.html(f"<figure><figcaption>{caption}</figcaption>{image}</figure>")
