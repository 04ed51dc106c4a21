"""The options of pre-training on pairs and regions: plain data, so that help loads no torch.

Defaults are those of the configuration released with TiMix (Jiang et al. 2024), whose data, losses and rates
are COPA's (Jiang et al. 2023), but for one summed backward pass, and bf16, which are ours.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_optimizer import PairRates


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """The regions that a patch detector learns from, and what their loss counts."""

    loss_weight: float = 1.0
    """of its loss"""
    regions_batch: int = 64
    """regions a step, over all devices"""
    regions_prob: float = 1.0
    """share of the steps that have regions"""
    max_regions: int = 5
    """regions of one image at most"""
    min_visible: float = 0.5
    """share of a region's area that a crop must leave"""
    max_length: int = 40
    """word pieces of a region's text"""

    def __post_init__(self) -> None:
        for name in ("regions_batch", "max_regions"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        for name in ("regions_prob", "min_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name):g}; it lies in 0..1")
        if self.max_length < 2:
            raise UserError(f"max_length is {self.max_length}; a text begins with a mark: at least 2")
        if not self.loss_weight >= 0:
            raise UserError(f"loss_weight is {self.loss_weight:g}; it is 0 or more")


@dataclass(frozen=True, kw_only=True)
class ItcOptions:
    """Contrast of images and texts, and the momentum encoders beside it."""

    queue: int = 65536
    """earlier images and texts that are in the way too; the released loop has 0"""
    online_keys: bool = False
    """compare with the model's own features rather than the momentum model's, as the released loop does"""
    momentum: float = 0.995
    """share of its old weights that the momentum model keeps in a step; 0: there is none, nor a queue"""
    alpha: float = 0.4
    """share of the momentum model in what counts as right; it rises from 0 over the first pass"""

    def __post_init__(self) -> None:
        if self.queue < 0:
            raise UserError(f"itc.queue is {self.queue}; it is 0 or more")
        if not 0 <= self.momentum < 1:
            raise UserError(f"itc.momentum is {self.momentum:g}; it lies in [0, 1)")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"itc.alpha is {self.alpha:g}; it lies in 0..1")
        if not self.momentum and (self.queue or self.alpha):
            raise UserError("without itc.momentum there is no queue and no alpha: set both to 0")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights of the losses of unmixed pairs."""

    itc: float = 1.0
    """of the contrast of images and texts"""
    itm: float = 1.0
    """of telling a pair from its hardest wrong partners; 0: left out, and so below"""
    mlm: float = 1.0
    """of guessing masked words"""
    prefix: float = 1.0
    """of writing the second part of a caption; model.decoder_layers 0 leaves it out, too"""
    masked: float = 0.15
    """share of words that are masked"""

    def __post_init__(self) -> None:
        for name in ("itc", "itm", "mlm", "prefix"):
            if not getattr(self, name) >= 0:
                raise UserError(f"losses.{name} is {getattr(self, name):g}; it is 0 or more")
        if not 0 < self.masked < 1:
            raise UserError(f"losses.masked is {self.masked:g}; it lies in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """What is done to an image before it is shown, in training."""

    scale: tuple[float, float] = (0.2, 1.0)
    """least and greatest share of the area that a crop keeps"""
    flip: float = 0.5
    """probability of the mirror image"""
    careful_flip: bool = True
    """none where the caption says left or right; the released code mirrors all"""
    operations: int = 2
    """random operations, each applied with probability 1/2"""
    magnitude: float = 7.0
    """of them, 0..10"""


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Pre-train on image-text pairs; a package's verb adds the options of its method."""

    pairs: tuple[Path, ...]
    """files of pairs (json, jsonl, COCO or Karpathy json, Flickr8k's captions.txt), or tar shards"""
    images: Path | None = None
    """folder that the image paths in them are below; none: found near each file"""
    split: str | None = None
    """of Karpathy's files; none: all of their splits"""
    regions: tuple[Path, ...] = ()
    """files of regions (json, jsonl), which a patch detector learns from"""
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
    """run folder; none: runs/<package>/pretrain-<time>"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    reset_queue: bool = False
    """where a resumed run's itc.queue is of another size, begin with an empty one"""
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
