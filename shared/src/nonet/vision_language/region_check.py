"""A look at all regions of a table before a run: boxes against the images, and how much of them they cover.

Source: ours. Records that are broken are left out when a table is read; what needs the image's size is here.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nonet.data.images import image_size
from nonet.errors import UserError
from nonet.progress import progress
from nonet.vision_language.region_files import FILE, RegionTable
from nonet.vision_language.region_records import Defects

COVERAGE = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # upper ends of the groups, shares of an image's area
# Takes the boxes of an image that are usable, (n, 4) float64 xywh, clipped, and its width and height, pixels.
Visit = Callable[[NDArray[np.float64], tuple[int, int]], None]

SLACK = 1.0  # pixels: an edge that leaves the image by less was rounded


@dataclass
class RegionReport:
    """What was found.

    Attributes:
        images: that could be read.
        boxes: of them.
        covered: for each end in `COVERAGE`, how many boxes cover at most that share of their image, and more
            than the one before.
        corners: boxes that leave their image, and would not if they were left, top, right, bottom.
        defects: what training leaves out or clips, with file and line, those of the table before the others.
    """

    images: int = 0
    boxes: int = 0
    covered: Counter[float] = field(default_factory=Counter)
    corners: int = 0
    defects: Defects = field(default_factory=Defects)

    def said(self) -> list[str]:
        """Lines for people: defects, counts, and the histogram of coverage."""
        lines = self.defects.said() + ([self.hint()] if self.hint() else [])
        lines.append(f"{self.images:,} images, {self.boxes:,} boxes")
        low = 0.0
        for high in COVERAGE:
            count = self.covered[high]
            lines.append(f"cover {low:4.0%} to {high:4.0%} of their image: {count:,}")
            low = high
        return lines

    def hint(self) -> str:
        """A line if boxes seem to be written as left, top, right, bottom; else empty."""
        if not self.leaving or 2 * self.corners <= self.leaving:
            return ""
        return (
            f"{self.corners:,} of {self.leaving:,} boxes that leave their image would fit as left, top, "
            "right, bottom: read the file with boxes xyxy"
        )

    @property
    def leaving(self) -> int:
        """Boxes that leave their image, wholly or in part."""
        return self.defects.counts[OUTSIDE] + self.defects.counts[PARTLY] + self.defects.counts[HARDLY]


OUTSIDE = "boxes outside of their image"
HARDLY = "boxes of which no more than half is in their image"
PARTLY = "boxes that are clipped at their image's edge"


def check_regions(
    table: RegionTable, *, min_visible: float = 0.5, visit: Visit | None = None
) -> RegionReport:
    """Compare every box with its image, of which only the header is read where it is a file.

    Args:
        table: the regions.
        min_visible: share of a box's area that lies in the image, at least, for training to take it.
        visit: is called with the boxes of each image that can be read.
    """
    report = RegionReport()
    report.defects.counts.update(table.defects.counts)
    report.defects.lines += table.defects.lines
    for index in progress(range(len(table)), label="check", unit="images"):
        try:
            if table.kinds[index] == FILE:
                width, height = image_size(table.files[index])
            else:
                width, height = table.open(index).size
        except UserError as error:
            report.defects.add("images that cannot be read", f"{table.places[index]}: {error}")
            continue
        report.images += 1
        rows = slice(int(table.first_box[table.first[index]]), int(table.first_box[table.first[index + 1]]))
        taken = _check(report, table.boxes[rows], (width, height), table.places[index], min_visible)
        if visit is not None:
            visit(taken, (width, height))
    return report


def _check(
    report: RegionReport, boxes: NDArray[np.float64], size: tuple[int, int], place: str, least: float
) -> NDArray[np.float64]:
    """Count an image's boxes; those that training takes, clipped."""
    limits = np.array([*size, *size], np.float64)
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    clipped = edges.clip(0, limits)
    inside = (clipped[:, 2:] - clipped[:, :2]).prod(1)
    beyond = np.abs(edges - clipped).max(1, initial=0)
    ordered = np.all(boxes[:, 2:] > boxes[:, :2], axis=1) & np.all(boxes >= 0, axis=1)
    as_corners = np.asarray(ordered & np.all(boxes <= limits + SLACK, axis=1))
    report.boxes += len(boxes)
    for row, box in enumerate(boxes):
        text = ", ".join(f"{side:g}" for side in box)
        where = f"{place}: box ({text}) in an image of {size[0]} x {size[1]}"
        if beyond[row] > SLACK:
            report.corners += int(as_corners[row])
        if inside[row] <= 0:
            report.defects.add(OUTSIDE, f"{where} lies outside")
            continue
        if inside[row] <= least * box[2] * box[3]:
            report.defects.add(HARDLY, f"{where} has {inside[row] / (box[2] * box[3]):.0%} inside")
            continue
        if beyond[row] > SLACK:
            report.defects.add(PARTLY, f"{where} leaves it; clipped")
        share = inside[row] / (size[0] * size[1])
        report.covered[next(end for end in COVERAGE if share <= end + 1e-9)] += 1
    taken = clipped[inside > least * boxes[:, 2:].prod(1)]
    return np.concatenate([taken[:, :2], taken[:, 2:] - taken[:, :2]], axis=1)
