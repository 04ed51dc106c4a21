"""The page of `updetr demo` (ours)."""

from collections.abc import Mapping
from pathlib import Path

from nonet.report import Page
from updetr.demonstration import DETECTED, LOCATED, SCORE, Curve, Fit, Plan


def write_page(
    out: Path, fits: Mapping[str, Fit], located: Mapping[str, float], losses: Curve, plan: Plan
) -> None:
    """Write `report.html` of a demo.

    Args:
        out: its folder, with the pictures.
        fits: the two detectors by name.
        located: mean overlap of crops with where each model sees them, and with a constant box.
        losses: (step, loss) of pre-training.
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
        f"transformer, the other begins with random weights. In {plan.finetune_steps} steps on so few "
        "pictures they differ little, and by chance, too: what pre-training is worth takes larger models, "
        "longer training and several seeds to see."
    )
    page.bars("Mean overlap (IoU) of held-out crops with where they are found", located)
    page.text(
        "The constant box covers 0.8 x 0.8 in the middle of the picture. A model that has learnt how boxes "
        "are, but not yet to find patches, is about as good as that."
    )
    _picture(
        page, LOCATED, "Held-out crops (dashed), and where the pre-trained model sees them, with overlap"
    )
    page.lines(
        "Distance of matched boxes on held-out pictures",
        {name: fit.error for name, fit in fits.items()},
        x="step of fine-tuning",
        y="L1 of cx, cy, w, h in shares of the sides",
    )
    page.lines(
        "AP50 on held-out pictures",
        {name: fit.ap50 for name, fit in fits.items()},
        x="step of fine-tuning",
        y="AP50 x 100",
    )
    _picture(
        page, DETECTED,
        "Held-out pictures: true boxes (left), found from scratch (middle), found when pre-trained (right); "
        f"boxes with a score of {SCORE:g} or more",
    )  # fmt: skip
    page.lines("Loss of pre-training", {"loss": losses}, x="step", y="loss, summed over layers")
    page.save(out / "report.html")


def _picture(page: Page, name: str, caption: str) -> None:
    image = f'<img src="{name}" alt="" style="max-width: 100%">'
    page.html(f"<figure><figcaption>{caption}</figcaption>{image}</figure>")
