"""Train a convolutional backbone on images without labels."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a convolutional backbone without labels (SimCLR), where no better one is at hand."""

    images: Path
    """folder of images, searched at every depth; a list of files, one a line; or a COCO json"""
    backbone: str = "resnet18"
    """resnet18, 26, 34, 50, 101, or resnet-tiny (3 stages, stride 16, for small pictures)"""
    init: Path | None = None
    """file with weights to begin with; none: random ones"""
    size: int = 96
    """side of a view, pixels"""
    least_area: float = 0.2
    """least share of an image that a view shows"""
    temperature: float = 0.2
    """divides the likeness of two views in the loss"""
    batch: int = 256
    """images a batch, over all devices; each device compares its own share"""
    epochs: float = 0.0
    """passes over the images; 0: trainer.steps says how long"""
    val_size: int = 64
    """images kept for validation, at most a tenth; 0: none"""
    keep_images: int = 512
    """MiB of decoded images that are kept in memory; 0: each is decoded whenever it is used"""
    out: Path | None = None
    """run folder; none: runs/updetr/backbone-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(steps=2000, clip=1.0, validate_every=500)
    )
    """length, devices, precision, seed"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=1e-3, weight_decay=1e-4, schedule="cosine", warmup=50)
    )
    """rate and schedule"""

    def __post_init__(self) -> None:
        if self.size < 16:
            raise UserError(f"size is {self.size}; a view has at least 16 pixels a side")
        if not 0 < self.least_area <= 1:
            raise UserError(f"least_area is {self.least_area:g}; it lies in (0, 1]")
        if not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature:g}; it is positive")
        if self.batch < 2:
            raise UserError(f"batch is {self.batch}; images are compared with others: at least 2")
        if min(self.epochs, self.val_size, self.keep_images) < 0:
            raise UserError("epochs, val_size and keep_images are 0 or more")
        if self.trainer.strategy == "fsdp":
            raise UserError(
                "strategy is fsdp; a backbone is small, and its strategy is ddp: leave it at auto"
            )


def run(options: Options) -> int:
    """Train, save the weights under torchvision's names, and the page."""
    from updetr.self_supervised import train_backbone

    train_backbone(options)
    return 0
