"""Draw what is cut, where it is pasted, and what the mixed label is."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError
from nonet.vision_language.pretraining.options import AugmentOptions
from timix.mix_options import MixOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw mixed images: where a window is pasted, where it was cut, both captions and their shares.

    Each row has an image, its partner, the mixed image, and with a model the scores of the patches.
    """

    pairs: tuple[Path, ...]
    """files of pairs (json, jsonl, COCO or Karpathy json, Flickr8k's captions.txt), or tar shards"""
    images: Path | None = None
    """folder that the image paths in them are below; none: found near each file"""
    split: str | None = None
    """of Karpathy's files; none: all of their splits"""
    model: str | None = None
    """folder or hub name of a model whose scores say where; none: windows are anywhere"""
    loc: int = 5
    """vision block behind which patches are scored, from 0; the last one of a model with fewer"""
    n: int = 8
    """images in a batch, the first ones; the partner of one is another of them"""
    image: int = 256
    """side of the images without a model, pixels"""
    patch: int = 16
    """side of a patch without a model, pixels"""
    augmented: bool = True
    """crop, flip and change images as training does"""
    epoch: int = 0
    """which pass's captions, crops and windows"""
    seed: int = 0
    """of the run"""
    out: Path = Path("mixed.png")
    """the picture, a PNG file"""
    mix: MixOptions = field(default_factory=MixOptions)
    """what is mixed how"""
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    """crops, flips and operations"""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise UserError("pairs names no file")
        if self.n < 2:
            raise UserError(f"n is {self.n}; mixing takes two images at least")
        if self.image < 1 or self.patch < 1 or self.image % self.patch:
            raise UserError(f"images of {self.image} pixels do not divide into patches of {self.patch}")
        if min(self.loc, self.epoch, self.seed) < 0:
            raise UserError("loc, epoch and seed are 0 or more")
        if self.out.is_dir():
            raise UserError(f"{self.out}: is a folder; name the PNG file in it")


def run(options: Options) -> int:
    """Draw and write the picture."""
    from timix.mixed_picture import preview

    for line in preview(options):
        print(line)
    return 0
