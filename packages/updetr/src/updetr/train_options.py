"""The options that pre-training and fine-tuning share; plain data, so that help loads no torch.

The defaults are those of the released UP-DETR (Dai et al. 2021, section 3.1, and its code), but for the
batch, which is for one device. What a machine without GPUs can do are the presets `small` and `tiny`.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from updetr.detector_config import Arch, DetectorConfig

Match = Literal["global", "group"]
Targets = Literal["random", "file", "proposals"]


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """Sizes of a new detector; one that is loaded brings its own."""

    dilation: bool = False
    """dilate the backbone's last stage instead of striding (DC5)"""
    width: int = 256
    """size of a query"""
    heads: int = 8
    """attention heads"""
    encoder_layers: int = 6
    """layers of the encoder"""
    decoder_layers: int = 6
    """layers of the decoder"""
    hidden: int = 2048
    """units of the feed-forward blocks"""
    dropout: float = 0.1
    """share of zeroed units, on attention's probabilities too"""
    queries: int = 100
    """object queries: the most boxes of an image"""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which detector is trained."""

    arch: Arch = "detr-prenorm"
    """of a new detector. detr-prenorm: the released UP-DETR; detr: post-norm; the others are transformers'"""
    backbone: str = "resnet50"
    """of a new detector: resnet18, 26, 34, 50, 101, resnet-tiny (3 stages, stride 16, for small pictures), or
    a folder or hub name of a backbone of transformers"""
    backbone_weights: Path | None = None
    """file with the backbone's weights: SwAV, MoCo, torchvision, timm, UP-DETR, or a `backbone` run's"""
    size: SizeOptions = field(default_factory=SizeOptions)
    """sizes of a new detector"""

    def config(
        self, *, patches: int = 10, patch_tokens: int = 1, labels: tuple[str, ...] = ("patch",),
        reconstruct: bool = True,
    ) -> DetectorConfig:  # fmt: skip
        """The detector to build.

        Args:
            patches: patches of an image in pre-training.
            patch_tokens: k of the k x k features that a patch becomes.
            labels: names of the classes.
            reconstruct: whether it has a head that reconstructs patch features.

        Raises:
            UserError: sizes that do not fit together.
        """
        return DetectorConfig(
            arch=self.arch, backbone=self.backbone, patches=patches, patch_tokens=patch_tokens, labels=labels,
            reconstruct=reconstruct, **dataclasses.asdict(self.size),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PretextOptions:
    """What is looked for in which images: the part of pre-training that makes the task."""

    images: Path
    """folder of images, searched at every depth; a list of files, one a line; or a COCO json"""
    num_patches: int = 10
    """patches of an image; divides the queries"""
    patch_size: int = 128
    """side of a patch as the backbone sees it, pixels"""
    min_patch: float = 8.0
    """least side of a patch in the image as it is stored: pixels, or below 1 a share of the image's side"""
    targets: Targets = "random"
    """where patches are cut: at random; at the boxes of targets_file; or where edges close, as in DETReg"""
    targets_file: Path | None = None
    """json with boxes for `targets file`: the name of an image to a list of [x, y, width, height], pixels"""
    scales: tuple[int, ...] = tuple(range(320, 481, 16))
    """shorter side of an image, pixels; one is drawn"""
    longest: int = 600
    """longer side of an image at most, pixels"""

    def __post_init__(self) -> None:
        check_sides(self.scales, self.longest)
        for name in ("num_patches", "patch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        if not self.min_patch > 0:
            raise UserError(f"min_patch is {self.min_patch:g}; it is positive")
        if (self.targets == "file") != (self.targets_file is not None):
            raise UserError("--targets file and --targets-file FILE come together: give both, or neither")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights of the parts of the loss, each summed over the decoder's layers."""

    classes: float | None = None
    """of the class loss; none: 1, and 2 for the focal loss of deformable-detr"""
    boxes: float = 5.0
    """of the L1 distance, in shares of the image's sides"""
    overlap: float = 2.0
    """of 1 - generalised intersection over union"""
    features: float = 1.0
    """of the reconstruction of patch features; fine-tuning has none"""
    no_object: float | None = None
    """weight of queries without a box among the classes; none: patches / queries in pre-training, 0.1 in
    fine-tuning; lower it where images have few objects"""

    def __post_init__(self) -> None:
        for name in ("classes", "boxes", "overlap", "features"):
            weight = getattr(self, name)
            if weight is not None and weight < 0:
                raise UserError(f"loss.{name} is {weight:g}; it is 0 or more")
        if self.no_object is not None and not self.no_object > 0:
            raise UserError(f"loss.no_object is {self.no_object:g}; it is positive, or none")


@dataclass(frozen=True, kw_only=True)
class RateOptions:
    """AdamW: rates, decay, and when the rates fall."""

    lr: float = 1e-4
    """learning rate of the transformer and the heads"""
    backbone_lr: float = 0.0
    """learning rate of the backbone; 0: it is frozen"""
    weight_decay: float = 1e-4
    """decay of all weights a step, times the rate, as in the original"""
    drop: float = 2 / 3
    """share of the steps after which rates fall to a tenth; 1: they do not"""
    warmup: int = 0
    """steps of linear rise"""

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"rates.lr is {self.lr:g}; it is positive")
        for name in ("backbone_lr", "weight_decay", "warmup"):
            if getattr(self, name) < 0:
                raise UserError(f"rates.{name} is {getattr(self, name):g}; it is 0 or more")
        if not 0 < self.drop <= 1:
            raise UserError(f"rates.drop is {self.drop:g}; it lies in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class LengthOptions:
    """How long a training is, and where it goes."""

    batch: int = 32
    """images a batch, over all devices"""
    epochs: float = 0.0
    """passes over the images; 0: trainer.steps says how long"""
    ema: float | None = None
    """decay a step of a running mean of the weights, such as 0.9997, which is then what is validated and
    saved; none: the weights themselves"""
    out: Path | None = None
    """run folder; none: runs/updetr/VERB-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    loss: LossOptions = field(default_factory=LossOptions)
    """weights of the loss"""
    rates: RateOptions = field(default_factory=RateOptions)
    """optimiser, rates, schedule"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=0.1, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}; it is at least 1")
        if self.epochs < 0:
            raise UserError(f"epochs is {self.epochs:g}; it is 0 or more")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError(f"ema is {self.ema:g}; it lies in (0, 1), or is none")
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; detectors are small, and theirs is ddp: leave it at auto")


def check_sides(scales: tuple[int, ...], longest: int) -> None:
    """Refuse sizes of images that cannot be.

    Raises:
        UserError: none, one below 32 pixels, or a shorter side above the longer one.
    """
    if not scales or min(scales) < 32:
        raise UserError(f"scales are {', '.join(map(str, scales)) or 'empty'}; each is at least 32 pixels")
    if longest < max(scales):
        raise UserError(f"longest is {longest} pixels, below the greatest of the scales, {max(scales)}")
