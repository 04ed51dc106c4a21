"""Score a detector on labelled images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score a detector: COCO's twelve numbers, average precision of each class, and VOC's of both kinds."""

    model: str
    """folder or hub name of a fine-tuned model"""
    data: str
    """labelled images: coco:FILE.json,IMAGES or voc:FOLDER:SPLIT or yolo:data.yaml:SPLIT"""
    voc_offset: int | None = None
    """number of VOC's first pixel, 0 or 1; none: 1 where the folder is named as VOC's own, else 0"""
    scale: int | None = None
    """shorter side of an image as the model sees it, pixels; none: as the model was fine-tuned, else 800"""
    longest: int | None = None
    """longer side at most, pixels; none: likewise, else 1333"""
    batch: int = 8
    """images a batch"""
    workers: int = 0
    """processes that read images; 0: this one"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""
    backend: Literal["auto", "hotcoco", "faster-coco-eval", "pycocotools"] = "auto"
    """what counts COCO's numbers; auto: the first of them that is installed"""
    out: Path | None = None
    """folder for scores.json, detections.json in COCO's format, and report.html; none: nothing is written"""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.workers < 0:
            raise UserError("batch is at least 1, workers 0 or more")
        for name in ("scale", "longest"):
            value = getattr(self, name)
            if value is not None and value < 32:
                raise UserError(f"{name} is {value}; it is at least 32 pixels")


def run(options: Options) -> int:
    """Print the numbers; write them where a folder is named."""
    from updetr.evaluating import evaluate_model

    evaluate_model(options)
    return 0
