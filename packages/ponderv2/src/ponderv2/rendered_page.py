"""The page of `render`: pictures beside photographs, and how near they come. Source: ours."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.report import Page
from ponderv2.scenes import View
from ponderv2.view_rendering import Picture
from ponderv2.view_sheet import view_sheet

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 12
"""pictures on the page at most"""


def write_rendered_page(path: Path, pairs: Sequence[tuple[View, Picture]], told: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        pairs: views with what was rendered of them, at least one.
        told: as in `scores.json`.
    """
    page = Page(f"Scene {told['scene']}, rendered", told["statement"])
    fitted = f"fitted to it for {told['steps']} steps" if told["steps"] else "as the model sees it at once"
    page.text(
        f"{len(pairs)} pictures, {fitted}. Depth is dark where it is near, on one scale for both of a row; "
        "grey is where there is none."
    )
    if told["mean"] is not None:
        page.table([{"view": "mean", **told["mean"]}], caption="Means over the held-out views")
    count = len(pairs)
    some = [pairs[count * place // min(count, SHOWN)] for place in range(min(count, SHOWN))]
    page.html(
        figure(view_sheet(some), "Photographs and renderings: " + ", ".join(view.name for view, _ in some))
    )
    if told["mean"] is not None:
        page.table([{"view": name, **scores} for name, scores in told["views"].items()], caption="Each view")
    if told["losses"]:
        page.lines("The fit", {"loss": list(enumerate(told["losses"]))}, x="step", y="sum of the losses")
    page.save(path)


def figure(image: "Image", caption: str) -> str:
    """A picture inside the page."""
    import html

    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    told = html.escape(caption, quote=True)
    return (
        f'<figure><img alt="{told}" style="max-width:100%" src="data:image/png;base64,{data}">'
        f"<figcaption>{told}</figcaption></figure>"
    )
