"""Draw what pre-training sees."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from updetr.train_options import PretextOptions, Targets

if TYPE_CHECKING:
    from updetr.training_facts import PretextSizes


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw images, their patches and boxes as pre-training sees them; with a model its answers, dashed."""

    images: Path
    """folder of images, searched at every depth; a list of files, one a line; or a COCO json"""
    model: str | None = None
    """folder of a pre-trained model whose answers are drawn, too; none: none are"""
    num_patches: int | None = None
    """patches of an image; none: the model's, else 10"""
    patch_size: int | None = None
    """side of a patch as the backbone sees it, pixels; none: as the model was trained, else 128"""
    min_patch: float = 8.0
    """least side of a patch in the image as it is stored: pixels, or below 1 a share of the image's side"""
    targets: Targets = "random"
    """where patches are cut: at random; at the boxes of targets_file; or where edges close, as in DETReg"""
    targets_file: Path | None = None
    """json with boxes for `targets file`: the name of an image to a list of [x, y, width, height], pixels"""
    scales: tuple[int, ...] | None = None
    """shorter side of an image, pixels; one is drawn; none: as the model was trained, else 320 to 480"""
    longest: int | None = None
    """longer side of an image at most, pixels; none: as the model was trained, else 600"""
    count: int = 6
    """images, the first ones"""
    columns: int = 3
    """images beside each other"""
    epoch: int = 0
    """which epoch's patches"""
    seed: int = 0
    """of the run"""
    augment: bool = True
    """jitter, grey and blur patches"""
    out: Path = Path("pretext.png")
    """the picture, a PNG file"""

    def __post_init__(self) -> None:
        if self.model is None:
            self.pretext()
        if min(self.count, self.columns) < 1 or min(self.epoch, self.seed) < 0:
            raise UserError("count and columns are at least 1, epoch and seed 0 or more")
        if self.out.is_dir():
            raise UserError(f"{self.out}: is a folder; name the PNG file in it")
        if self.out.suffix.lower() != ".png":
            raise UserError(f"{self.out}: the picture is a PNG file; let its name end in .png")

    def pretext(self, sizes: "PretextSizes | None" = None) -> PretextOptions:
        """The options of the task that is drawn.

        Args:
            sizes: of a model's task, for what is not given; None: those of the released code.

        Raises:
            UserError: options that cannot be.
        """
        names = ("num_patches", "patch_size", "scales", "longest")
        given: dict[str, Any] = {} if sizes is None else sizes._asdict()
        given |= {name: value for name in names if (value := getattr(self, name)) is not None}
        return PretextOptions(
            images=self.images, min_patch=self.min_patch, targets=self.targets,
            targets_file=self.targets_file, **given,
        )  # fmt: skip


def run(options: Options) -> int:
    """Draw and write the picture."""
    from updetr.pretext_picture import show_pretext

    for line in show_pretext(options):
        print(line)
    return 0
