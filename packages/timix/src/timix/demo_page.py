"""The page of `timix demo`."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from nonet.report import Page
from timix.demonstration import GUIDED, PLAIN, RANDOM, Plan, Trained

SMOOTHED = 10  # steps that a point of the curves is the mean of


def write_page(out: Path, rows: list[dict[str, Any]], found: dict[str, Trained], plan: Plan) -> None:
    """Write `report.html` of a demo.

    Args:
        out: its folder, with `mixed.png`.
        rows: of `timix.demonstration.rows_of`.
        found: the ways of training, by name.
        plan: of the demo.
    """
    page = Page(
        "Mixed images in a minute",
        "Made-up scenes; everything on this page was computed by `timix demo`.",
    )
    page.text(
        f"A small image-text model learns from {plan.train} pictures of three shapes each. "
        f"{plan.wrong:.0%} of the captions are wrong. It is measured on {plan.test} other scenes with right "
        f"captions: which of the 220 there can be is the scene's? By chance {100 / 220:.2f} % are found."
    )
    page.text(
        f"*{PLAIN}* is the contrast of images and texts alone. *{RANDOM}* adds images in which a square of "
        f"another one was pasted anywhere, with both captions in their shares. *{GUIDED}* cuts what matters "
        "to the one caption and covers what does not matter to the other; a predictor that learns from the "
        f"boxes of {plan.boxed} scenes says what does. One run of each says little about which of the two "
        "mixes better: that takes many seeds."
    )
    page.bars("Held-out scenes whose caption comes first", {row["way"]: row["R@1"] for row in rows}, unit="%")
    page.table(rows, caption="Recall in percent; CPU seconds are those of the training")
    picture = base64.b64encode((out / "mixed.png").read_bytes()).decode("ascii")
    page.html(
        f'<figure><img alt="Mixed images" style="max-width:100%" src="data:image/png;base64,{picture}">'
        "<figcaption>An image, its partner, the mix of both, and what the predictor makes of their patches. "
        "Numbers are the captions' shares in the label.</figcaption></figure>"
    )
    curves = {
        name: [
            (float(step + SMOOTHED), float(np.mean(each.losses[step : step + SMOOTHED])))
            for step in range(0, len(each.losses) - SMOOTHED + 1, SMOOTHED)
        ]
        for name, each in found.items()
    }
    page.lines("The loss of unmixed pairs, wrong ones too", curves, x="step", y="loss, nats")
    page.save(out / "report.html")
