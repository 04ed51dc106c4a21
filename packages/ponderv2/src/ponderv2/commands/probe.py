"""The verb `probe`: what a backbone knows without being changed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from ponderv2.finetune_options import Augment, TaskDataOptions
from ponderv2.model_config import Size
from ponderv2.rate_options import RateOptions


@dataclass(frozen=True, kw_only=True)
class Options(TaskDataOptions):
    """Train one linear layer on the features of a backbone that stays as it is, its norms in evaluation mode,
    and score it on the voxels and by the measure of `finetune semseg`. What the backbone knows of a scene is
    computed once and kept where scenes are not augmented."""

    init: str | None = None
    """pre-trained model: a model or run folder, or a file of weights; none: random weights, as a floor"""
    allow_partial: bool = False
    """go on even where under 90 % of the backbone's weights are in `init`"""
    size: Size = "small"
    """of a backbone with random weights"""
    backbone_rate: ClassVar[float] = 0.0
    validate_epochs: ClassVar[float] = 0.0
    keep: ClassVar[str] = "last"
    prompt: str | None = None
    """the data set whose norms are used, where the backbone has those of several and not of this one"""
    memory: int = 4096
    """MiB of features that are kept where scenes are not augmented; the others are computed anew each time"""
    augment: Augment = "none"
    """none: the voxels that are scored; gentle, full: as in `finetune semseg`"""
    crop: int = 0
    """augmented scenes: voxels at most; 0: all"""
    batch: int = 4
    """scenes a batch, over all devices"""
    epochs: float = 0.0
    """passes over the scenes; 0: trainer.steps says how long"""
    out: Path | None = None
    """run folder; none: runs/ponderv2/probe-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    rates: RateOptions = field(
        default_factory=lambda: RateOptions(
            optimizer="adamw", lr=2e-3, weight_decay=0.01, schedule="cosine", warmup=0
        )
    )
    """optimiser, rates, schedule of the linear layer"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(steps=1000, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        TaskDataOptions.__post_init__(self)
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}; it is at least 1")
        for name in ("epochs", "crop", "memory"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; one linear layer is small: leave it at auto")


def run(options: Options) -> int:
    """Train the layer, save the model, its card and its page; prints the folder."""
    from ponderv2.probing import probe

    probe(options)
    return 0
