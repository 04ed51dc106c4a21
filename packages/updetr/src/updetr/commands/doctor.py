"""The verb `doctor`: why a detector finds nothing."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Look for what keeps a detector from learning: labels, classes, queries, rates, length, answers, and
    whether it can learn a few images by heart. Exit code 1 where something is wrong."""

    run: Path | None = None
    """folder of a `finetune` run: its data, options, numbers and model are looked at"""
    model: str | None = None
    """folder or hub name of a model; none: that of the run"""
    data: str | None = None
    """labelled images that it should know, coco:..., voc:... or yolo:...; none: the run's training data"""
    voc_offset: int | None = None
    """number of VOC's first pixel, 0 or 1; none: as the run had it"""
    images: int = 32
    """images whose answers are looked at"""
    overfit_images: int = 8
    """images to learn by heart"""
    overfit_steps: int = 1000
    """steps at most to learn them in, with the backbone as it is; 0: that test is left out"""
    overfit_scale: int = 320
    """shorter side of these images at most, pixels"""
    scale: int | None = None
    """shorter side of an image as the model sees it, pixels; none: as it was fine-tuned, else 800"""
    longest: int | None = None
    """longer side at most, pixels; none: likewise, else 1333"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""
    quiet: bool = False
    """do not say how learning by heart goes"""

    def __post_init__(self) -> None:
        if self.run is None and (self.model is None or self.data is None):
            raise UserError("name a run, or a model and data")
        for name in ("images", "overfit_images"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is 1 or more")
        if self.overfit_steps < 0:
            raise UserError(f"overfit_steps is {self.overfit_steps}; it is 0 or more")
        for name in ("scale", "longest", "overfit_scale"):
            value = getattr(self, name)
            if value is not None and value < 32:
                raise UserError(f"{name} is {value}; it is at least 32 pixels")


def run(options: Options) -> int:
    """Print what was looked at, a line each; 1 where something is wrong."""
    from updetr.doctor import examine

    wrong = 0
    for finding in examine(options):
        wrong += finding.level == "wrong"
        print(f"{finding.level:<6}{finding.about}: {finding.says}", flush=True)
    print(f"{wrong} things are wrong" if wrong != 1 else "1 thing is wrong")
    return int(wrong > 0)
