"""What regions of images are: a box, texts for it, attributes; and how files write that (X-VLM's format).

A record is `{"image": path, "caption": text or list, "elems": [{"bb": [x, y, w, h], "caption": text or list,
"attributes": text or list}]}`, as in the released code of X-VLM (Zeng et al. 2022), COPA and TiMix; `binary`
has the image itself in base64. Ours: `bb` may be a list of boxes, as of a phrase that names several things.
Boxes are pixels of the image as it is stored, before any turn by EXIF.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.errors import UserError
from nonet.files import replacing

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
BoxFormat = Literal["xywh", "xyxy"]


class Region(NamedTuple):
    """A part of an image that texts are about.

    Attributes:
        boxes: each x, y, width, height in pixels; one mostly.
        texts: any of which says what is there.
        attributes: any of which may be put before the text; often none.
    """

    boxes: tuple[Box, ...]
    texts: tuple[str, ...]
    attributes: tuple[str, ...] = ()


class RegionRecord(NamedTuple):
    """An image with its regions.

    Attributes:
        image: path as written; empty if the record holds the image itself.
        regions: in order.
        captions: of the whole image, any of which may be used.
        where: file and line.
    """

    image: str
    regions: tuple[Region, ...]
    captions: tuple[str, ...]
    where: str


class Defects:
    """What is wrong in files and was dropped: counts of each kind, and the first ones with their places."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.counts: Counter[str] = Counter()
        self.lines: list[str] = []

    def add(self, kind: str, line: str) -> None:
        """Count one of a kind, such as `boxes without area`, and keep its line if there is room."""
        self.counts[kind] += 1
        if len(self.lines) < self.most:
            self.lines.append(line)

    def said(self) -> list[str]:
        """The lines, how many more there are, and the counts."""
        more = self.counts.total() - len(self.lines)
        lines = [*self.lines, f"and {more:,} more"] if more else list(self.lines)
        return lines + [f"left out: {count:,} {kind}" for kind, count in sorted(self.counts.items())]


def region_record(
    fields: Mapping[str, Any], where: str, defects: Defects, *, boxes: BoxFormat = "xywh"
) -> RegionRecord:
    """A record from what a file says; regions that cannot be used are left out and counted.

    Args:
        fields: of the file's record.
        where: its file and line.
        defects: takes what is left out.
        boxes: how the file writes them: left, top, width, height, or left, top, right, bottom.

    Raises:
        UserError: it has neither an image nor a binary, or no list of regions.
    """
    image = fields.get("image", "")
    if {"images", "annotations"} <= fields.keys():
        raise UserError(f"{where}: is one of COCO's: prepare reads it as coco:{where.partition(':')[0]}")
    if not isinstance(image, str) or (not image and not isinstance(fields.get("binary"), str)):
        raise UserError(f"{where}: image is {fields.get('image')!r}; it is a path (or `binary` is base64)")
    elems = fields.get("elems", [])
    if not isinstance(elems, list):
        raise UserError(f"{where}: elems is a {type(elems).__name__}; it is a list of regions")
    if "elems" not in fields and "caption" not in fields:
        there = ", ".join(fields) or "none"
        raise UserError(f"{where}: no field 'elems'; fields are {there}")
    found = []
    for number, elem in enumerate(elems):
        region = _region(elem, f"{where}: elems[{number}]", defects, boxes)
        if region is not None:
            found.append(region)
    name = image if not fields.get("binary") else ""
    return RegionRecord(name, tuple(found), _texts(fields.get("caption"), where, defects), where)


def write_region_records(records: Iterable[RegionRecord], path: Path) -> int:
    """Write records as JSON lines.

    Args:
        records: with paths of images.
        path: the file, `.jsonl`.

    Returns:
        How many there were.
    """
    count = 0
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(as_fields(record), ensure_ascii=False) + "\n")
            count += 1
    return count


def as_fields(record: RegionRecord) -> dict[str, Any]:
    """A record as JSON has it; single texts are not wrapped in a list."""
    fields: dict[str, Any] = {"image": record.image}
    if record.captions:
        fields["caption"] = _one_or_list(record.captions)
    fields["elems"] = [
        {"bb": _bb(region.boxes), "caption": _one_or_list(region.texts)}
        | ({"attributes": _one_or_list(region.attributes)} if region.attributes else {})
        for region in record.regions
    ]
    return fields


def box_fault(box: Any) -> str:
    """What is wrong with a box xywh whatever the image: a kind for `Defects`; empty if nothing."""
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_number(side) for side in box):
        return "boxes that are not four numbers"
    if not all(math.isfinite(side) for side in box):
        return "boxes that are not finite"
    return "" if min(box[2:]) > 0 else "boxes without area"


def _region(elem: Any, where: str, defects: Defects, boxes: BoxFormat) -> Region | None:
    if not isinstance(elem, dict):
        defects.add("regions that are no objects", f"{where} is {elem!r}, no object")
        return None
    value = elem.get("bb", elem.get("bbox"))
    values: list[Any] = [value]
    if isinstance(value, list) and value and all(isinstance(box, list) for box in value):
        values = value
    found = [_box(box, where, defects, boxes) for box in values]
    kept = tuple(box for box in found if box is not None)
    if not kept:
        return None
    texts = _texts(elem.get("caption"), where, defects)
    if not texts:
        defects.add("regions without a text", f"{where} has no caption")
        return None
    return Region(kept, texts, _texts(elem.get("attributes"), where, defects))


def _box(box: Any, where: str, defects: Defects, boxes: BoxFormat) -> Box | None:
    sides: Any = box
    if boxes == "xyxy" and isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
        sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    fault = box_fault(sides)
    if fault:
        hint = "" if boxes == "xyxy" else "; it is [x, y, width, height]"
        defects.add(fault, f"{where}: box {box!r}{hint}")
        return None
    x, y, width, height = (float(side) for side in sides)
    return x, y, width, height


def _texts(value: Any, where: str, defects: Defects) -> tuple[str, ...]:
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    found = tuple(text for text in values if isinstance(text, str))
    if len(found) < len(values):
        odd = next(text for text in values if not isinstance(text, str))
        defects.add("texts that are no texts", f"{where}: {odd!r} is no text")
    return found


def _bb(boxes: tuple[Box, ...]) -> list[Any]:
    rounded = [[round(side, 4) for side in box] for box in boxes]
    return rounded[0] if len(rounded) == 1 else rounded


def _one_or_list(texts: tuple[str, ...]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else list(texts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
