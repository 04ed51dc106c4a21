"""Every label for which a reader refuses a data set, where it names but the first one (ours).

Readers end at a label that only its owner can mend: a class that is not there, or pixels where shares of the
image's sides belong. Who mends labels wants all of them at once.
"""

import json
import math
from pathlib import Path
from typing import Any

from nonet.data.labelled_boxes import listed
from nonet.data.yolo_boxes import PIXELS, label_file, read_yolo_yaml
from nonet.errors import UserError
from updetr.labelled_data import format_of, split_of


def label_faults(source: str) -> list[str]:
    """A line for each label that cannot be used, with its file.

    Args:
        source: as an option names labelled images; a COCO file, or a split of YOLO's. VOC's reader names
            all of its files' defects itself.

    Returns:
        The lines; none where the file itself is missing or broken, as its reader says.

    Raises:
        UserError: another form.
    """
    form, rest = format_of(source)
    if form == "coco":
        return _coco(Path(rest.partition(",")[0]))
    if form == "yolo":
        where, split = split_of(rest)
        return _yolo(Path(where), split or "train")
    return []


def _yolo(file: Path, split: str) -> list[str]:
    try:
        found = read_yolo_yaml(file, split)
    except UserError:
        return []
    lines: list[str] = []
    for text in map(label_file, found.images):
        if not text.is_file():
            continue
        try:
            rows = text.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            lines.append(f"{text}: cannot be read ({error})")
            continue
        for number, row in enumerate(rows, 1):
            fault = _fault(row.split(), len(found.names), file.name)
            lines += [f"{text}:{number}: {fault}"] if fault else []
    return lines


def _fault(words: list[str], classes: int, file: str) -> str:
    """What is wrong with the words of a line; nothing where it is good, or empty."""
    if not words:
        return ""
    try:
        label, *sides = map(float, words)
    except ValueError:
        return f"{' '.join(words)[:60]!r} is not a row of numbers"
    if not math.isfinite(label) or label != math.floor(label):
        return f"the class is {words[0]}; it is a whole number, and comes first"
    if not 0 <= label < classes:
        return f"class {label:.0f}, but {file} has {classes} names, 0 to {classes - 1}"
    if len(words) != 5 and (len(words) < 7 or not len(words) % 2):
        return f"{len(words)} numbers are neither a box nor a polygon"
    if max(sides) > PIXELS:
        return f"{max(sides):g} is beyond 1; YOLO's numbers are shares of the image"
    return ""


def _coco(file: Path) -> list[str]:
    """Annotations of a category that is not there; none of a file that is none of COCO's."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return []
    parts = {name: _objects(value, name) for name in ("images", "annotations", "categories")}
    known = [entry.get("id") for entry in parts["categories"]]
    names = {entry["id"]: entry.get("file_name") for entry in parts["images"] if _is_id(entry.get("id"))}
    lines = []
    for number, entry in enumerate(parts["annotations"]):
        image, category = entry.get("image_id"), entry.get("category_id")
        if _is_id(image) and image in names and category not in known:
            lines.append(
                f"{file}: annotation {entry.get('id', number)} of {names[image]}: category_id is "
                f"{category!r}; there are {listed(known)}"
            )
    return lines


def _is_id(value: Any) -> bool:
    """Whether it can be looked up; of others the reader complains."""
    return isinstance(value, int | str)


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    found = value.get(name) if isinstance(value, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
