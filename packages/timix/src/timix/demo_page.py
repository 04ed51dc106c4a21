"""The page of `timix demo`."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from nonet.report import Page
from timix.demonstration import GUIDED, PLAIN, RANDOM, Plan, Trained

SMOOTHED = 10  # steps that a point of the curves is the mean of


def write_page(
    path: Path, rows: list[dict[str, Any]], apart: list[dict[str, Any]], found: dict[str, Trained],
    picture: bytes, plan: Plan,
) -> None:  # fmt: skip
    """Write the page of a demo.

    Args:
        path: of the HTML file.
        rows: of `timix.demonstration.rows_of`.
        apart: of `timix.demonstration.differences`.
        found: the ways of training, by name.
        picture: of mixed images, PNG.
        plan: of the demo.
    """
    page = Page(
        "Mixed images in a minute",
        "Made-up scenes; everything on this page was computed by `timix demo`.",
    )
    page.text(
        f"A small image-text model learns from {plan.train} pictures of three shapes each, in {plan.steps} "
        f"steps of {plan.batch}. {plan.wrong:.0%} of the captions are wrong. It is measured on {plan.test} "
        "other scenes with right captions: which of the 220 there can be is the scene's? By chance "
        f"{100 / 220:.2f} % are found."
    )
    page.text(
        f"- *{PLAIN}*: the contrast of images and texts alone\n"
        f"- *{RANDOM}*: beside it, images in which a square of another one was pasted anywhere, with both "
        "captions in their shares of the area\n"
        f"- *{GUIDED}*: the square that matters most to the one caption covers the one that matters least to "
        f"the other; a predictor that learns from the boxes of {plan.boxed} scenes says which these are"
    )
    page.bars(
        "R@1: held-out scenes whose caption comes first", {row["way"]: row["R@1"] for row in rows}, unit="%"
    )
    page.table(rows, caption="Recall in percent; CPU seconds are those of the training")
    bars = {
        f"{row['first']} minus {row['second']}": tuple(round(row[part], 1) for part in ("R@1", "low", "high"))
        for row in apart
    }
    page.bars("Differences of R@1, with 95 % intervals over the held-out scenes", bars, unit="points")
    page.text(
        "The intervals know of the scenes that were drawn to measure with, not of the luck of a training, "
        "which is some points of R@1: small differences take many seeds to tell, as in the experiment that "
        "the manual reports."
    )
    shown = base64.b64encode(picture).decode("ascii")
    page.html(
        f'<figure><img alt="Mixed images" style="max-width:100%" src="data:image/png;base64,{shown}">'
        "<figcaption>Scenes that were learnt from: an image, its partner, the mix of both, and what the "
        "predictor makes of their patches. Numbers are the captions' shares in the label."
        "</figcaption></figure>"
    )
    curves = {
        name: [
            (float(step + SMOOTHED), float(np.mean(each.losses[step : step + SMOOTHED])))
            for step in range(0, len(each.losses) - SMOOTHED + 1, SMOOTHED)
        ]
        for name, each in found.items()
    }
    page.lines("The loss of unmixed pairs, wrong ones too", curves, x="step", y="loss, nats")
    page.text(
        "Where this loss falls further, wrong captions are learnt by heart; mixed images have a floor under "
        "theirs, and keep the model from it."
    )
    page.save(path)
