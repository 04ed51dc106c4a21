"""Pre-train an image-text model with mixed images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_optimizer import PairRates
from timix.mix_options import (
    BOX_FREE,
    AugmentOptions,
    ItcOptions,
    LossOptions,
    MixOptions,
    TppOptions,
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train on image-text pairs, and on images mixed where their texts say so.

    Zero-shot retrieval is measured on images that are kept out, once a pass.
    """

    pairs: tuple[Path, ...]
    """files of pairs (json, jsonl, COCO or Karpathy json, Flickr8k's captions.txt), or tar shards"""
    images: Path | None = None
    """folder that the image paths in them are below; none: found near each file"""
    split: str | None = None
    """of Karpathy's files; none: all of their splits"""
    regions: tuple[Path, ...] = ()
    """files of regions (json, jsonl); without them take another mix.score than tpp"""
    region_images: Path | None = None
    """folder that their image paths are below; none: found near each file"""
    val: tuple[Path, ...] = ()
    """pairs to measure retrieval on; none: val_size of the images of pairs"""
    val_images: Path | None = None
    """folder that the image paths of val are below; none: found near each file"""
    val_size: int = 1000
    """images kept out for that without val, at most a tenth; 0: none"""
    validate: float = 1.0
    """passes between two measurements; 0: trainer.validate_every says how many steps"""
    max_words: int = 30
    """words of a caption that are kept"""
    corrupt_captions: float = 0.0
    """share of the captions that are replaced by those of other images, for studies; the list is kept"""
    unreadable: float = 0.01
    """share of the images that may be unreadable; more end the run"""
    init: str | None = None
    """folder or hub name of a model to go on from, with its architecture and tokenizer; none: a new one"""
    resize: int | None = None
    """side of the images for the model of init, pixels; its positions are resampled; none: its own"""
    pretrained: bool = True
    """a new model starts with timm's and BERT's weights; false: with random ones"""
    tokenizer: str | None = None
    """folder or hub name; none: that of init or of model.text, else one is learnt from the captions"""
    checkpointing: bool = False
    """compute vision blocks again in the backward pass rather than keep what is in them: less memory"""
    batch: int = 128
    """pairs a batch, over all devices"""
    epochs: float = 30.0
    """passes over the pairs; 0: trainer.steps says how long"""
    keep: Literal["last", "best"] = "last"
    """which weights are saved: the last ones, or those with the best mean recall (val/R-mean)"""
    skip_nonfinite: int = 10
    """steps whose loss is not finite are skipped, and so many in succession end the run; 0: the first does"""
    out: Path | None = None
    """run folder; none: runs/timix/pretrain-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    reset_queue: bool = False
    """where a resumed run's itc.queue is of another size, begin with an empty one"""
    mix: MixOptions = field(default_factory=MixOptions)
    """mixed images"""
    tpp: TppOptions = field(default_factory=TppOptions)
    """the patch predictor and its regions"""
    itc: ItcOptions = field(default_factory=ItcOptions)
    """contrast and momentum"""
    losses: LossOptions = field(default_factory=LossOptions)
    """weights of the losses"""
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    """crops, flips and operations"""
    model: PairConfig = field(default_factory=PairConfig)
    """architecture of a new model"""
    rates: PairRates = field(default_factory=PairRates)
    """AdamW and its schedule"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=1000)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}; it is at least 1")
        for name in ("epochs", "validate", "val_size", "max_words", "skip_nonfinite"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        for name in ("corrupt_captions", "unreadable"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it is a share, 0..1")
        if not self.pairs:
            raise UserError("pairs names no file")
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; momentum models take ddp: leave it at auto")
        if self.mix.optim_steps == "separate":
            self._separable()
        if self.mix.labels == "blend" and not self.itc.momentum:
            raise UserError("mix.labels blend asks the momentum model: set itc.momentum, or take hard")
        if self.mix.queue and not self.itc.queue:
            raise UserError("mix.queue puts the queue in the way of mixed images, and itc.queue is 0")
        if self.mix.guided and self.mix.score == "tpp" and not self.regions and self.init is None:
            raise UserError(f"mix.score tpp learns from regions, and there is no --regions file: {BOX_FREE}")

    def _separable(self) -> None:
        if self.trainer.accumulate > 1:
            raise UserError(
                "mix.optim_steps separate steps thrice a batch: leave trainer.accumulate at 1, or take joint"
            )
        if self.trainer.devices not in ("auto", 1) or self.trainer.nodes > 1:
            raise UserError("mix.optim_steps separate is for one device: trainer.devices 1, or take joint")


def run(options: Options) -> int:
    """Pre-train, save the model, its card and its page."""
    from timix.pretrain_run import pretrain

    pretrain(options)
    return 0
