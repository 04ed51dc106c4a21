"""The verb `predict`: labels, objects or boxes of scenes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from ponderv2.finetune_options import ReadingOptions


@dataclass(frozen=True, kw_only=True)
class Options(ReadingOptions):
    """Say what is in scenes, with or without labels of their own. Each scene gets files of its name: labels
    of its points in the order in which the data set has them, objects, or boxes, and a picture from above."""

    data: tuple[str, ...] = field(metadata={"positional": True})
    """scenes, KIND:PATH or KIND:PATH:SPLIT, such as cloud:room.ply"""
    model: str
    """folder of a fine-tuned model, or of its run"""
    out: Path
    """folder to write to; new or empty"""
    write: tuple[Literal["ply", "npz", "txt", "label", "benchmark"], ...] = ("ply", "npz")
    """ply: cloud coloured by class or object; npz: arrays; txt: a class number a line; label: uint32 a point,
    as KITTI has them; benchmark: ScanNet's text files, with its own class numbers; boxes are JSON"""
    pictures: bool = True
    """draw each scene from above, in its own colours and in those of what was found"""
    tta: bool = False
    """segmentation: vote over fragments and variants, as in `evaluate --tta`"""
    variants: Literal["one", "four", "thirteen"] = "thirteen"
    """with tta: quarter turns and scales that vote"""
    score: float = 0.0
    """objects and boxes: only those that are surer than this, 0..1"""
    workers: int = 0
    """streets: processes that read; 0: this one"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""

    def __post_init__(self) -> None:
        ReadingOptions.__post_init__(self)
        if not self.data:
            raise UserError("data names no scenes: give KIND:PATH or KIND:PATH:SPLIT")
        if len(set(self.write)) != len(self.write):
            raise UserError(f"write is {', '.join(self.write)}: one stands twice")
        if not 0 <= self.score < 1:
            raise UserError(f"score is {self.score:g}; it lies in [0, 1)")
        if not self.write and not self.pictures:
            raise UserError("nothing is to be written: name a format, or draw pictures")


def run(options: Options) -> int:
    """Write the files; prints how many scenes and the folder."""
    from ponderv2.predicting import predict

    predict(options)
    return 0
