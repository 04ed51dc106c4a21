"""The options of pre-training with mixed images: plain data, so that help loads no torch.

Defaults are those of the released configuration (Jiang et al. 2024; `configs/` of the repository) but for
labels (hard), one summed backward pass, and bf16, which are ours.
"""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

Score = Literal["tpp", "attn", "itc", "random"]
Region = Literal["maxmin", "aligned", "random", "cutmix", "mixup", "mixgen"]
Partner = Literal["flip", "roll", "derange"]
Labels = Literal["hard", "soft", "blend"]

GUIDED = ("maxmin", "aligned")  # regions that look at scores
BOX_FREE = "take mix.score attn, itc or random, which need no boxes"


@dataclass(frozen=True, kw_only=True)
class MixOptions:
    """Which images are mixed, how, and what that counts."""

    enabled: bool = True
    """mix images; false: the plain model, with or without regions"""
    score: Score = "tpp"
    """what says which patches matter to a text. tpp: the predictor that regions train; attn: the attention of
    CLS in block tpp.loc; itc: cosines of patches and text; random: nothing, windows are anywhere"""
    region: Region = "maxmin"
    """maxmin: the window that matters most goes over the partner's that matters least; aligned: over the same
    place; random: both anywhere; cutmix: one place anywhere; mixup: whole images weighted; mixgen: the mean
    of two images, with both texts"""
    r_min: float = 0.35
    """least side of a window, as a share of the grid's shorter side"""
    r_max: float = 0.75
    """greatest side of a window, below 1"""
    partner: Partner = "flip"
    """whose window an image gets: flip, that of number B - 1 - i; roll, of i + 1; derange, of any other"""
    labels: Labels = "hard"
    """hard: both texts by area; soft: the model's own probabilities of all texts, by area, as in the released
    loop; blend: hard and those of the momentum encoders, in the shares of itc.alpha"""
    label_smoothing: float = 0.0
    """share of the labels that goes to all texts evenly"""
    per_sample_k: bool = False
    """each image has a window's side of its own, rather than one a batch"""
    clamp: bool = False
    """move sides that do not fit the grid, rather than refuse them"""
    space: Literal["tokens", "pixels"] = "tokens"
    """where windows are pasted: among the embeddings of patches, which gives the same for less, or pixels"""
    every: int = 1
    """steps from one with mixed images to the next"""
    fraction: float = 1.0
    """share of a batch's images that are mixed; the others count as they are"""
    until_epoch: float | None = 20
    """passes after which nothing is mixed any more; none: to the end"""
    ramp: float = 1.0
    """passes over which the weight rises from 0, as in the first epoch; 0: it does not"""
    weight: float = 1.0
    """of the loss of mixed images"""
    queue: bool = False
    """put the queue's texts and images in the way of mixed ones too"""
    optim_steps: Literal["joint", "separate"] = "joint"
    """joint: one backward pass of all losses; separate: a step for regions, one for pairs and one for mixed
    images with all of their weights, as released; on one device"""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"mix.every is {self.every}; it is at least 1")
        if not 0 < self.fraction <= 1:
            raise UserError(f"mix.fraction is {self.fraction:g}; it lies in (0, 1]")
        if not 0 <= self.label_smoothing <= 1:
            raise UserError(f"mix.label_smoothing is {self.label_smoothing:g}; it lies in 0..1")
        for name in ("ramp", "weight"):
            if not getattr(self, name) >= 0:
                raise UserError(f"mix.{name} is {getattr(self, name):g}; it is 0 or more")
        if self.until_epoch is not None and self.until_epoch < 0:
            raise UserError(f"mix.until_epoch is {self.until_epoch:g}; it is 0 or more, or none")
        if self.region == "mixgen" and self.labels != "hard":
            raise UserError(f"mix.region mixgen joins texts: its labels are hard, not {self.labels}")
        if self.region == "mixgen" and self.fraction < 1:
            raise UserError("mix.region mixgen takes whole batches: leave mix.fraction at 1")

    @property
    def chosen(self) -> Region:
        """The region in force: `score random` makes those that look at scores random."""
        return "random" if self.score == "random" and self.region in GUIDED else self.region

    @property
    def guided(self) -> bool:
        """Whether scores of patches are needed."""
        return self.enabled and self.chosen in GUIDED


@dataclass(frozen=True, kw_only=True)
class TppOptions:
    """The text-aware patch predictor, and the regions it learns from."""

    loc: int = 5
    """vision block behind which it looks, from 0"""
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
                raise UserError(f"tpp.{name} is {getattr(self, name)}; it is at least 1")
        for name in ("regions_prob", "min_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"tpp.{name} is {getattr(self, name):g}; it lies in 0..1")
        if self.max_length < 2:
            raise UserError(f"tpp.max_length is {self.max_length}; a text begins with a mark: at least 2")
        if self.loc < 0 or not self.loss_weight >= 0:
            raise UserError("tpp.loc and tpp.loss_weight are 0 or more")


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
