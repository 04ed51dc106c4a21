"""Pictures of a pre-training as it goes: what cameras saw beside what the model renders, in the run's folder.

Source: ours. `views/0000500-scene0001_00.png` has a row for each view: those that are held out first, a view
that training sees last.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from nonet.files import replacing
from nonet.report.page import Page
from nonet.report.run_page import run_page
from nonet.runs import Run
from ponderv2.held_views import HeldScene
from ponderv2.view_rendering import Picture
from ponderv2.view_sheet import view_sheet

SHOWN = 5
"""pictures of the first scene on the page, over the run"""
SCENES = 4
"""scenes that are drawn"""


class RunPictures:
    """Draws validated scenes into the folder of a run.

    Args:
        run: whose folder; other processes than the first write nothing.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def folder(self) -> Path:
        """Where the pictures lie."""
        return self.run.folder / "views"

    def __call__(self, step: int, number: int, scene: HeldScene, pictures: Sequence[Picture]) -> None:
        """Write one scene's picture.

        Args:
            step: steps made so far.
            number: of the scene among those validated; only the first few are drawn.
            scene: its views.
            pictures: what was rendered of them, in the same order.
        """
        views = [*scene.held, *scene.seen]
        if not self.run.writes or number >= SCENES or not views:
            return
        sheet = view_sheet(list(zip(views, pictures, strict=True)))
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in scene.batch.names[0])
        with replacing(self.folder / f"{step:07d}-{name}.png") as part:
            sheet.save(part, format="PNG")


def picture_page(folder: Path) -> Page:
    """The page of a run with its pictures: the first scene over time, the others as they ended.

    Args:
        folder: of the run.
    """
    page = run_page(folder)
    files: dict[str, list[Path]] = {}
    for path in sorted((folder / "views").glob("*.png")):
        files.setdefault(path.stem.partition("-")[2], []).append(path)
    if not files:
        return page
    page.text(
        "# Rendered views\n\nFirst in each row is the photograph. The last row of a scene is a view that "
        "training sees; the rows above it, if there are any, are held out."
    )
    for place, (name, paths) in enumerate(files.items()):
        for path in _over_time(paths) if place == 0 else paths[-1:]:
            page.html(_figure(path, f"{name}, step {int(path.stem.partition('-')[0]):,}"))
    return page


def _over_time(paths: Sequence[Path]) -> list[Path]:
    if len(paths) <= SHOWN:
        return list(paths)
    return [paths[round(i * (len(paths) - 1) / (SHOWN - 1))] for i in range(SHOWN)]


def _figure(path: Path, told: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    told = html.escape(told, quote=True)
    return (
        f'<figure><img alt="{told}" style="max-width:100%" src="data:image/png;base64,{data}">'
        f"<figcaption>{told}</figcaption></figure>"
    )
