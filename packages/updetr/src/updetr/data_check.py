"""What is wrong with labelled images: labels, files that do not decode, splits that overlap (ours)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nonet.data.images import open_image
from nonet.data.labelled_boxes import LabelledImage, LabelledImages, listed
from nonet.errors import UserError
from updetr.labelled_data import overlap

MOST = 20  # labels that are named one by one


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
        found.defects.extend(data.defects)
        found.remarks.extend(data.remarks)
        _classes(source, data, found)
        for image in data.images:
            _image(image, found)
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


def _image(image: LabelledImage, found: Findings) -> None:
    """Decode an image, and compare its size with what its annotation says."""
    try:
        picture = open_image(image.path, orient=False, remark=found.remarks.append)
    except UserError as error:
        found.defects.append(str(error))
        return
    if picture.size != (image.width, image.height):
        turned = " (turned?)" if picture.size == (image.height, image.width) else ""
        found.defects.append(
            f"{image.path}: {picture.size[0]} x {picture.size[1]} pixels, but its annotation says "
            f"{image.width} x {image.height}{turned}"
        )


def _pair(first: str, second: str, sources: Mapping[str, LabelledImages], found: Findings) -> None:
    one, two = sources[first], sources[second]
    if one.names != two.names:
        only = set(one.names) ^ set(two.names)
        what = f"differ in {listed(sorted(only))}" if only else "are in another order"
        found.defects.append(f"{first} and {second}: their classes {what}")
    same = overlap([image.path for image in one.images], [image.path for image in two.images])
    for mine, theirs in same:
        found.defects.append(f"{theirs}: the same bytes as {mine}: {second} repeats {first}")
