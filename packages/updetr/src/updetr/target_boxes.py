"""Boxes that pre-training looks for in the place of random patches: of a file, or proposed (Bar et al. 2022).

    {"photos/1.jpg": [[x, y, width, height], ...], ...}     pixels of the image as it is stored

A COCO file with annotations does as well; its classes are not looked at.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.images import open_image
from nonet.errors import UserError
from nonet.files import write_text
from nonet.progress import progress
from updetr.proposals import propose

Boxes = NDArray[np.float64]  # (n, 4) x, y, width, height in pixels

NAME = "proposals.json"  # in the folder of a run


def read_targets(path: Path, images: Sequence[Path], *, say: Callable[[str], None]) -> list[Boxes]:
    """The boxes of each image in a file.

    A name in the file is that of the image with its path, seen from the file or from here, or without it
    where no other image has the same.

    Args:
        path: the file.
        images: which boxes are wanted.
        say: gets a line if some images have none.

    Raises:
        UserError: no such file, a broken one, a box that is none, or not one of the images is in it.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not an object with a list of boxes for each image")
    named = _of_coco(content, path) if "images" in content and "annotations" in content else content
    boxes = {name: _checked(value, name, path) for name, value in named.items()}
    by_path = {(path.parent / name).resolve(): value for name, value in boxes.items()}
    by_path |= {Path(name).resolve(): value for name, value in boxes.items()}
    by_name = _without_path(boxes)
    empty = np.zeros((0, 4))
    found = [by_path.get(image.resolve(), by_name.get(image.name, empty)) for image in images]
    without = sum(not len(value) for value in found)
    if without == len(found):
        raise UserError(f"{path}: has no box for any of the {len(found)} images, such as {images[0]}")
    if without:
        say(f"{path}: {without:,} of {len(found):,} images have no box in it; their patches are random")
    return found


def propose_targets(
    images: Sequence[Path], folder: Path | None, *, writes: bool = True, say: Callable[[str], None]
) -> list[Boxes]:
    """Proposals for each image, computed once and kept in the run's folder.

    Args:
        images: the files; one that cannot be read has none.
        folder: of the run; None: nothing is kept.
        writes: whether this process computes them; others wait for the file.
        say: gets the lines to print.
    """
    kept = folder / NAME if folder is not None else None
    while kept is not None and not writes and not kept.exists():
        time.sleep(0.5)  # if the process that writes fails, the launcher ends this one
    if kept is not None and kept.exists():
        return read_targets(kept, images, say=say)
    found: list[Boxes] = []
    for path in progress(images, label="proposals", unit="images"):
        try:
            found.append(propose(open_image(path, orient=False)).astype(np.float64))
        except UserError:  # left out and said when it is trained on
            found.append(np.zeros((0, 4)))
    if kept is not None:
        write_targets(kept, images, found)
        say(f"{kept}: {sum(map(len, found)):,} proposals in {len(images):,} images")
    return found


def write_targets(path: Path, images: Sequence[Path], boxes: Sequence[Boxes]) -> None:
    """A file that `read_targets` reads."""
    entries = {
        str(image.resolve()): [[round(float(side), 2) for side in box] for box in value]
        for image, value in zip(images, boxes, strict=True)
    }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items())
    write_text(path, "{\n" + lines + "\n}\n")


def _of_coco(content: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        names = {record["id"]: record["file_name"] for record in content["images"]}
        found: dict[str, Any] = {name: [] for name in names.values()}
        for record in content["annotations"]:
            if not record.get("iscrowd"):
                found[names[record["image_id"]]].append(record["bbox"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a whole COCO file: {type(error).__name__} {error}") from None
    return found


def _checked(value: Any, name: str, path: Path) -> Boxes:
    try:
        boxes = np.asarray(value, dtype=np.float64).reshape(-1, 4) if value else np.zeros((0, 4))
    except (TypeError, ValueError):
        raise UserError(f"{path}: {name!r} has no list of [x, y, width, height]") from None
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise UserError(f"{path}: {name!r} has a box without a width and a height")
    return boxes


def _without_path(boxes: dict[str, Boxes]) -> dict[str, Boxes]:
    times = Counter(Path(name).name for name in boxes)
    return {Path(name).name: value for name, value in boxes.items() if times[Path(name).name] == 1}
