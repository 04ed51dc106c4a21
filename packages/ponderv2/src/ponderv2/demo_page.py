"""The page of `ponderv2 demo`."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nonet.report import Page
from ponderv2.demonstration import Plan

DRAWN, MESH = "drawn.png", "mesh.png"
SMOOTHED = 5
"""steps that a point of the curves is the mean of"""


def write_page(out: Path, told: Mapping[str, Any], losses: list[float], plan: Plan) -> None:
    """Write `report.html` of a demo.

    Args:
        out: its folder, with the pictures.
        told: as in `demo.json`.
        losses: of pre-training, by step.
        plan: of the demo.
    """
    page = Page(
        "Rendering teaches a 3D backbone without labels",
        "Made-up rooms; everything on this page was computed by `ponderv2 demo`.",
    )
    page.text(
        f"A model sees the points of a room, {plan.voxel:g} m apart, and has to draw what cameras in it saw: "
        f"{plan.steps} steps over {plan.rooms} rooms, without a single label. Below it draws rooms that it "
        "was never shown. No view of these goes in, only their points. The model is small and learned for "
        "half a minute: shapes come first, small things are blobs, and colours have hardly begun."
    )
    views = told["views"]
    page.table(
        [
            {"model": name, **views[key]}
            for name, key in (("random weights", "before"), ("pre-trained", "after"))
        ],
        caption=f"One view of each of {plan.test} rooms; depth in metres, PSNR in dB",
    )
    page.html(_figure(out / DRAWN, "What a camera saw, and what the pre-trained model draws of it"))
    page.html(
        _figure(out / MESH, "A camera's view of a room, and the mesh of the same room, from the same camera")
    )
    ways = (("random weights", "before"), ("pre-trained", "after"))
    errors = {name: views[key]["whole_error"] for name, key in ways}
    page.bars("Depth error of the drawn views", errors, unit="m")
    page.table([told["mesh"]], caption="The mesh against one fused of the room's depth images, F at 10 cm")
    page.text(
        "What this is worth for labels on real frames, over several seeds and against training for as long "
        "without it, is another question; the manual has what was measured."
    )
    page.lines("Losses of pre-training", {"sum": _curve(losses)}, x="step", y="sum of the losses")
    page.save(out / "report.html")


def _curve(losses: list[float]) -> list[tuple[float, float]]:
    """Means over some steps, at their end."""
    return [
        (float(step + SMOOTHED), float(np.mean(losses[step : step + SMOOTHED])))
        for step in range(0, len(losses) - SMOOTHED + 1, SMOOTHED)
    ]


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{caption}" style="max-width:100%" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
