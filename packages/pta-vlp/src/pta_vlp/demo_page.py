"""The page and the picture of `pta-vlp demo`."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nonet.report import Page
from pta_vlp.demonstration import BLIND, GUIDED, Answerer, Plan, Trained, words
from pta_vlp.heat_maps import draw_heat_map, look
from pta_vlp.scenes import IN_SCENE, Scenes, as_pixels, question

if TYPE_CHECKING:
    from PIL.Image import Image

SMOOTHED = 10  # steps that a point of the curves is the mean of


def write_page(
    out: Path, rows: list[dict[str, Any]], shares: list[dict[str, Any]], found: dict[str, Trained], plan: Plan
) -> None:
    """Write `report.html` of a demo.

    Args:
        out: its folder, with `kept.png`.
        rows: of the ways of training.
        shares: of `pta_vlp.demonstration.at_shares`, for the model that asks the question.
        found: the ways of training, by name.
        plan: of the demo.
    """
    page = Page(
        "Keep the patches that a question asks for",
        "Made-up scenes; everything on this page was computed by `pta-vlp demo`.",
    )
    patches = shares[-1]["tokens"] - 1
    page.text(
        f"A scene shows {IN_SCENE} shapes among fragments; a question names one, and the answer is its "
        f"colour. Behind the second of {plan.depth} blocks {plan.keep:.0%} of the {patches} patches go on, "
        "and the mean of the others. Which ones? Both ways keep equally many, and see the same scenes and "
        "questions in the same order."
    )
    page.text(
        f"*{BLIND}* keeps the patches that the image's own token attends to, whatever is asked. *{GUIDED}* "
        f"asks a patch detector, which learns from the boxes of {plan.boxed} scenes which patches a text is "
        "about. Those boxes help by themselves, too: the experiment on handwritten digits, in the manual, "
        "tells both apart."
    )
    page.bars(
        "Questions about other scenes that are answered rightly", {row["way"]: row["right"] for row in rows},
        unit="%",
    )  # fmt: skip
    page.table(rows, caption="Percent of answers, and of the named shapes' patches that were kept")
    picture = base64.b64encode((out / "kept.png").read_bytes()).decode("ascii")
    page.html(
        f'<figure><img alt="Kept patches" style="max-width:100%" src="data:image/png;base64,{picture}">'
        "<figcaption>Scenes that were never trained on, and three questions about each: what each patch has "
        "to do with the question by the detector, what CLS attends to, and what is kept, with the ranks of "
        "the patches.</figcaption></figure>"
    )
    page.table(
        shares,
        caption=f"One model ({GUIDED}), trained with {plan.keep:.0%} of the patches and asked with "
        "others; MMAC are those of the vision tower, with the detector, for one question",
    )
    curves = {
        name: [
            (float(step + SMOOTHED), float(np.mean(each.losses[step : step + SMOOTHED])))
            for step in range(0, len(each.losses) - SMOOTHED + 1, SMOOTHED)
        ]
        for name, each in found.items()
    }
    page.lines("The loss of the answers", curves, x="step", y="loss, nats")
    page.save(out / "report.html")


def kept_picture(model: Answerer, scenes: Scenes, count: int = 2) -> "Image":
    """The first scenes below each other, with a row for each of their questions."""
    from PIL import Image

    sheets = []
    for number in range(count):
        with torch.inference_mode():
            cls = model.pair.encode_text(torch.from_numpy(words(scenes.kinds[number])))[:, 0]
        found = look(model.eval().pruned, torch.from_numpy(scenes.images[number]), cls)
        image = Image.fromarray(as_pixels(scenes.images[number : number + 1])[0].transpose(1, 2, 0).copy())
        sheets.append(draw_heat_map(image, found, [f"{question(kind)}?" for kind in scenes.kinds[number]]))
    sheet = Image.new("RGB", (sheets[0].width, sum(each.height for each in sheets)), "white")
    for number, each in enumerate(sheets):
        sheet.paste(each, (0, number * each.height))
    return sheet
