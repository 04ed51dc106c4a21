"""The verb `evaluate`: what a fine-tuned model reaches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from ponderv2.finetune_options import ReadingOptions


@dataclass(frozen=True, kw_only=True)
class Options(ReadingOptions):
    """Score a fine-tuned model on labelled scenes: mIoU, ScanNet's AP of objects, or AP of boxes. Scores on
    voxels and scores by votes are two measures; they are never put side by side."""

    model: str | None = None
    """folder of a fine-tuned model, or of its run"""
    data: tuple[str, ...] = ()
    """labelled scenes, KIND:PATH or KIND:PATH:SPLIT"""
    tta: bool = False
    """the test protocol of segmentation: every point, by votes of all fragments of all variants"""
    variants: Literal["one", "four", "thirteen"] = "thirteen"
    """with tta: quarter turns and scales that vote"""
    rule: Literal["voxels", "points"] = "voxels"
    """without tta, segmentation: score one point of each voxel, as in validation, or every point by its own
    voxel"""
    cache: Path | None = None
    """with tta: folder where each scene's labels are kept, to go on after an interruption; labels of other
    weights or variants are never used"""
    sum: tuple[Path, ...] = ()
    """add up the scores.json of several folds, such as S3DIS's six areas; nothing else is then asked for"""
    batch: int = 1
    """scenes, or fragments, that are computed together"""
    workers: int = 0
    """streets: processes that read; 0: this one"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""
    out: Path | None = None
    """folder for scores.json and report.html; none: they are printed"""

    def __post_init__(self) -> None:
        ReadingOptions.__post_init__(self)
        if self.sum:
            if self.model is not None or self.data or self.tta:
                raise UserError("sum adds up files and asks for nothing else: leave model, data and tta out")
            if len(self.sum) < 2:
                raise UserError("sum needs the scores.json of at least two folds")
        elif self.model is None or not self.data:
            raise UserError("evaluate needs --model and --data, or --sum")
        if self.batch < 1 or self.workers < 0:
            raise UserError(f"batch is {self.batch} and workers {self.workers}; from 1, and from 0")
        if self.cache is not None and not self.tta:
            raise UserError("cache is for the votes of tta: give both, or neither")
        if self.tta and self.rule != "voxels":
            raise UserError("tta scores every point by votes: leave rule out")


def run(options: Options) -> int:
    """Print the numbers, and write them where the options name a folder."""
    from ponderv2.evaluating import add_folds, evaluate_model

    if options.sum:
        add_folds(options)
    else:
        evaluate_model(options)
    return 0
