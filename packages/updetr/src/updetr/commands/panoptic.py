"""The verb `panoptic`: every pixel of an image belongs to a thing or to stuff."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from updetr.train_options import RateOptions, check_sides


@dataclass(frozen=True, kw_only=True)
class Options:
    """Give a fine-tuned detector a mask head, score it by panoptic quality, or segment images with it.

    The detector is fine-tuned on the boxes of things and stuff, which `boxes` writes from the annotations.
    """

    action: Literal["boxes", "train", "evaluate", "predict"] = field(metadata={"positional": True})
    """boxes: write the segments' boxes as a COCO file for `finetune`; train: a mask head; evaluate: panoptic
    quality; predict: segments of images without annotations"""
    data: Path | None = None
    """annotations in COCO's panoptic format; all but predict need them"""
    images: Path | None = None
    """folder of the images, by default that of `data`; predict: folder, list or COCO json of images"""
    segments: Path | None = None
    """folder of the PNG files; none: beside `data`, of the same name without .json"""
    model: str | None = None
    """train: the fine-tuned detector; evaluate, predict: a model of `panoptic train`, or its run"""
    threshold: float = 0.85
    """a query is a segment where its class is more probable than this, 0..1"""
    draw: bool = False
    """predict: write pictures, too"""
    scales: tuple[int, ...] = tuple(range(480, 801, 32))
    """train: shorter side of an image, pixels; one is drawn"""
    longest: int = 1333
    """train: longer side at most, pixels"""
    val_scale: int | None = None
    """shorter side of an image that is segmented, pixels; none: the greatest of the scales of training"""
    flip: float = 0.5
    """train: share of images that are mirrored left to right"""
    batch: int = 8
    """train: images a batch, over all devices"""
    epochs: float = 25.0
    """train: passes over the images; 0: trainer.steps says how long"""
    device: str = "auto"
    """evaluate, predict: cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""
    out: Path | None = None
    """boxes: the file; train: run folder; evaluate, predict: folder for panoptic.json and PNG files"""
    resume: Path | None = None
    """train: run folder to go on with; give the same options"""
    rates: RateOptions = field(default_factory=lambda: RateOptions(drop=0.6))
    """train: optimiser, rate, schedule; the detector is frozen, whatever backbone_lr is"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=0.1, validate_every=0, checkpoint_every=500)
    )
    """train: devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        check_sides(self.scales, self.longest)
        needed = {
            "boxes": ("data", "out"), "train": ("data", "model"), "evaluate": ("data", "model"),
            "predict": ("images", "model", "out"),
        }[self.action]  # fmt: skip
        for name in needed:
            if getattr(self, name) is None:
                raise UserError(f"panoptic {self.action} needs --{name}")
        if not 0 <= self.threshold < 1:
            raise UserError(f"threshold is {self.threshold:g}; it lies in [0, 1)")
        if not 0 <= self.flip <= 1:
            raise UserError(f"flip is {self.flip:g}; it lies in [0, 1]")
        if self.batch < 1 or self.epochs < 0:
            raise UserError("batch is at least 1, epochs 0 or more")
        if self.val_scale is not None and self.val_scale < 32:
            raise UserError(f"val_scale is {self.val_scale}; it is at least 32 pixels")


def run(options: Options) -> int:
    """Do what the action says."""
    if options.action == "boxes":
        from updetr.panoptic_files import write_boxes
        from updetr.panoptic_run import read_data

        assert options.out is not None
        data = read_data(options)
        print(f"{write_boxes(data, options.out):,} boxes of {len(data.images):,} images: {options.out}")
    elif options.action == "train":
        from updetr.panoptic_run import train_masks

        train_masks(options)
    elif options.action == "evaluate":
        from updetr.panoptic_scores import evaluate_panoptic

        evaluate_panoptic(options)
    else:
        from updetr.panoptic_scores import predict_panoptic

        predict_panoptic(options)
    return 0
