"""Pre-train a detector on images without labels."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError
from updetr.train_options import LengthOptions, Match, ModelOptions, PretextOptions


@dataclass(frozen=True, kw_only=True)
class Options(PretextOptions, ModelOptions, LengthOptions):
    """Pre-train on images without labels: a detector is shown patches of an image and finds them in it."""

    init: str | None = None
    """folder or hub name of a model to go on from, which brings its own architecture; none: a new one"""
    match: Match = "global"
    """which queries answer for a patch. global: any, the cheapest, as in the original; group: only those that
    were shown it"""
    query_mask: float = 0.1
    """share of queries that are not shown their patch, in training"""
    query_shuffle: bool = False
    """put the object queries in another order in each step; the paper has it, the released recipe does not"""
    reconstruct: bool = True
    """learn to say what a matched patch's feature is, too"""
    patch_tokens: int = 1
    """k: a patch is k x k pooled features; 1: their mean, as in the paper"""
    augment: bool = True
    """jitter, grey and blur patches"""
    cache_features: Path | None = None
    """folder for the frozen backbone's features of whole images, made once for each scale, then read instead;
    for up to some 20,000 images and few scales"""
    keep_images: int = 512
    """MiB of decoded images that are kept in memory, and on the device where trainer.workers is 0"""
    val_size: int = 64
    """images kept for validation, at most a tenth; 0: none"""

    def __post_init__(self) -> None:
        PretextOptions.__post_init__(self)
        LengthOptions.__post_init__(self)
        if not 0 <= self.query_mask < 1:
            raise UserError(f"query_mask is {self.query_mask:g}; it lies in [0, 1)")
        if min(self.val_size, self.keep_images) < 0 or self.patch_tokens < 1:
            raise UserError("val_size and keep_images are 0 or more, patch_tokens at least 1")
        if self.cache_features is not None and self.rates.backbone_lr:
            raise UserError("cache_features is for a frozen backbone: leave rates.backbone_lr at 0")
        if self.init is None:
            self.config(patches=self.num_patches)


def run(options: Options) -> int:
    """Pre-train, save the model, its card and its page."""
    from updetr.pretrain_run import pretrain

    pretrain(options)
    return 0
