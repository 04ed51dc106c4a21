"""The verb `predict`: objects in images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find objects in images. Writes detections.json, COCO's list with every query's answer, and images.json,
    which names images and categories; other formats and pictures on request."""

    images: tuple[str, ...] = field(metadata={"positional": True})
    """image files, folders (searched at every depth), lists of files, or COCO files"""
    model: str
    """folder or hub name of a fine-tuned model, or folder of a `finetune` run"""
    out: Path
    """folder to write, new or empty"""
    format: tuple[Literal["coco", "voc", "yolo"], ...] = ("coco",)
    """coco is always written; voc: an XML file an image with the scores in it; yolo: a text file an image,
    the scores in a sixth column"""
    draw: bool = False
    """draw the boxes on copies of the images"""
    score: float = 0.5
    """least score, 0..1, of boxes in VOC and YOLO files and on pictures"""
    top: int | None = None
    """boxes of an image at most, the surest; none: every query's"""
    orient: bool = True
    """turn images as their EXIF orientation says, with boxes in pixels of the turned image; off: as stored"""
    voc_offset: Literal[0, 1] = 0
    """number of the first pixel in VOC files"""
    scale: int | None = None
    """shorter side of an image as the model sees it, pixels; none: as the model was fine-tuned, else 800"""
    longest: int | None = None
    """longer side at most, pixels; none: likewise, else 1333"""
    batch: int = 8
    """images a batch; the padding of images of several sizes changes answers a little, which 1 avoids"""
    workers: int = 0
    """processes that read images; 0: this one"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""

    def __post_init__(self) -> None:
        if not self.images:
            raise UserError("no images; name files or folders")
        if not 0 <= self.score <= 1:
            raise UserError(f"score is {self.score:g}; it lies in 0..1")
        if self.batch < 1 or self.workers < 0:
            raise UserError("batch is at least 1, workers 0 or more")
        if self.top is not None and self.top < 1:
            raise UserError(f"top is {self.top}; it is 1 or more")
        for name in ("scale", "longest"):
            value = getattr(self, name)
            if value is not None and value < 32:
                raise UserError(f"{name} is {value}; it is at least 32 pixels")


def run(options: Options) -> int:
    """Find and write; what was left out or turned goes to standard error."""
    import sys

    from updetr.predicting import predict

    found = predict(options)
    for line in (*found.remarks, *(f"left out: {line}" for line in found.unreadable)):
        print(line, file=sys.stderr)
    sure = sum(int((one.scores >= options.score).sum()) for one in found.detections)
    print(
        f"{len(found.images)} images, {sure} boxes with a score of {options.score:g} or more: {options.out}"
    )
    return 0
