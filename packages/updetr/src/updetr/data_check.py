"""What is wrong with labelled images: labels, files that do not decode, splits that overlap (ours)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nonet.data.images import open_image
from nonet.data.labelled_boxes import LabelledImage, LabelledImages, listed
from nonet.errors import UserError
from updetr.labelled_data import overlap

MOST = 20  # labels that are named one by one

PAIRS = 5  # images of two splits that are named
_BEYOND = re.compile(
    r"(?:.*: annotation \S+ of )?(?P<file>.+?)(?:: object \d+ \(from 0\))?: box .* "
    r"(?:leaves|lies outside) the image of (?P<size>\d+ x \d+)"
)
"""a reader's line on a box of COCO's or VOC's, with the name of its image or of that one's XML file"""


class Findings(NamedTuple):
    """Lines for the user.

    Attributes:
        defects: what to mend, with the file.
        remarks: what to know.
    """

    defects: list[str]
    remarks: list[str]


def check(sources: Mapping[str, LabelledImages]) -> Findings:
    """Look at every annotation and decode every image.

    Args:
        sources: data sets by what the user calls them; several are splits of one, which must not overlap and
            have the same classes.
    """
    found = Findings([], [])
    for source, data in sources.items():
        found.remarks.extend(data.remarks)
        _classes(source, data, found)
        boxes, others = _by_image(data.defects)
        for image in data.images:
            _image(image, found, boxes)
        found.defects.extend([*others, *(line for lines in boxes.values() for line in lines)])
    names = list(sources)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            _pair(first, second, sources, found)
    return found


def bounded(lines: Sequence[str], most: int = MOST) -> list[str]:
    """The first lines, and how many more there are."""
    more = [f"... and {len(lines) - most} more like these"] if len(lines) > most else []
    return [*lines[:most], *more]


def _classes(source: str, data: LabelledImages, found: Findings) -> None:
    counts = data.boxes_a_class()
    absent = [name for name, count in zip(data.names, counts, strict=True) if not count]
    if not counts.sum():
        found.defects.append(f"{source}: no box at all")
    elif absent:
        found.remarks.append(f"{source}: no box of {listed(absent)} ({len(absent)} of {len(counts)} classes)")


def _by_image(lines: Sequence[str]) -> tuple[dict[tuple[str, str], list[str]], list[str]]:
    """Lines on boxes beyond an image by its name and the size that is said; the other lines."""
    boxes: dict[tuple[str, str], list[str]] = {}
    others: list[str] = []
    for line in lines:
        beyond = _BEYOND.match(line)
        if beyond:
            boxes.setdefault((Path(beyond["file"]).stem, beyond["size"]), []).append(line)
        else:
            others.append(line)
    return boxes, others


def _image(image: LabelledImage, found: Findings, boxes: dict[tuple[str, str], list[str]]) -> None:
    """Decode an image, and compare its size with what its annotation says.

    Where that is wrong its boxes seem to be, too: their lines are taken out of `boxes`, and counted.
    """
    try:
        picture = open_image(image.path, orient=False, remark=found.remarks.append)
    except UserError as error:
        found.defects.append(str(error))
        return
    if picture.size != (image.width, image.height):
        beyond = boxes.pop((image.path.stem, f"{image.width} x {image.height}"), [])
        more = f"; {len(beyond)} of its boxes go beyond that" if beyond else ""
        turned = " (turned?)" if picture.size == (image.height, image.width) else ""
        found.defects.append(
            f"{image.path}: {picture.size[0]} x {picture.size[1]} pixels, but its annotation says "
            f"{image.width} x {image.height}{turned}{more}"
        )


def _pair(first: str, second: str, sources: Mapping[str, LabelledImages], found: Findings) -> None:
    one, two = sources[first], sources[second]
    if one.names != two.names:
        only = set(one.names) ^ set(two.names)
        what = f"differ in {listed(sorted(only))}" if only else "are in another order"
        found.defects.append(f"{first} and {second}: their classes {what}")
    same = overlap([image.path for image in one.images], [image.path for image in two.images])
    if same:
        shown = ", ".join(f"{theirs} = {mine}" for mine, theirs in same[:PAIRS])
        what = "1 image is" if len(same) == 1 else f"{len(same)} images are"
        found.defects.append(
            f"{first} and {second}: {what} in both, by their bytes"
            f"{', such as' if len(same) > PAIRS else ':'} {shown}"
        )
