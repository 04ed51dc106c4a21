"""Train a patch detector alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions
from nonet.vision_language.pretraining.options import AugmentOptions, RegionOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a patch detector on regions, for an image-text model that stays as it is.

    What comes of it is the same model with the detector beside it. Held-out images say, once a pass, how well
    boxes are found, and which share of their patches is kept.
    """

    model: str
    """folder or hub name of an image-text model, or folder of a run"""
    regions: tuple[Path, ...]
    """files of regions (json, jsonl), or tar shards"""
    region_images: Path | None = None
    """folder that their image paths are below; none: found near each file"""
    val: tuple[Path, ...] = ()
    """regions to measure on; none: val_size of the images of regions"""
    val_images: Path | None = None
    """folder that the image paths of val are below; none: found near each file"""
    val_size: int = 500
    """images kept out for that without val, at most a tenth; 0: none"""
    validate: float = 1.0
    """passes between two measurements; 0: trainer.validate_every says how many steps"""
    max_words: int = 30
    """words of a text that are kept"""
    unreadable: float = 0.01
    """share of the images that may be unusable; more end the run"""
    resize: int | None = None
    """side of the images, pixels; the model's positions are resampled; none: its own"""
    block: int | None = None
    """vision block behind which the detector looks, and patches are selected, from 0; none: as the model
    says, or that in the middle"""
    share: float = 0.5
    """share of the patches that the model is saved to keep; any other may be asked for later"""
    fresh: bool = False
    """begin with random weights although the model has a detector"""
    epochs: float = 10.0
    """passes over the regions; 0: trainer.steps says how long"""
    keep: Literal["last", "best"] = "best"
    """which weights are saved: the last ones, or those with the best average precision (val/ap)"""
    skip_nonfinite: int = 10
    """steps whose loss is not finite are skipped, and so many in succession end the run; 0: the first does"""
    out: Path | None = None
    """run folder; none: runs/pta-vlp/detector-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    pta: RegionOptions = field(default_factory=RegionOptions)
    """regions of a step, and their texts"""
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    """flips and operations on colours; crops are those around a region"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=1e-3, weight_decay=0.02, schedule="cosine")
    )
    """of the detector's weights"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=1000)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        if not self.regions:
            raise UserError("regions names no file")
        for name in ("epochs", "validate", "val_size", "max_words", "skip_nonfinite"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if not 0 <= self.unreadable <= 1:
            raise UserError(f"unreadable is {self.unreadable:g}; it is a share, 0..1")
        if not 0 < self.share <= 1:
            raise UserError(f"share is {self.share:g}; it is above 0 and at most 1, which keeps all patches")
        if self.pta.regions_prob < 1:
            raise UserError(
                "pta.regions_prob is for pre-training; here every step has regions: leave it at 1"
            )
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; a detector is small: leave it at auto")


def run(options: Options) -> int:
    """Train, save the model with its detector, its card and its page."""
    from pta_vlp.detector_training import train_detector

    train_detector(options)
    return 0
