"""The options of pre-training with mixed images: plain data, so that help loads no torch.

Defaults are those of the released configuration (Jiang et al. 2024; `configs/` of the repository) but for
labels (hard), one summed backward pass, and bf16, which are ours.
"""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError
from nonet.vision_language.pretraining.options import RegionOptions

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
class TppOptions(RegionOptions):
    """The text-aware patch predictor, and the regions it learns from."""

    loc: int = 5
    """vision block behind which it looks, from 0"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loc < 0:
            raise UserError(f"tpp.loc is {self.loc}; it is 0 or more")
