"""Draw what pre-training sees."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError
from updetr.train_options import PretextOptions


@dataclass(frozen=True, kw_only=True)
class Options(PretextOptions):
    """Draw images, their patches and boxes as pre-training sees them; with a model its answers, dashed."""

    model: str | None = None
    """folder of a pre-trained model whose answers are drawn, too; none: none are"""
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
        PretextOptions.__post_init__(self)
        if min(self.count, self.columns) < 1 or min(self.epoch, self.seed) < 0:
            raise UserError("count and columns are at least 1, epoch and seed 0 or more")
        if self.out.is_dir():
            raise UserError(f"{self.out}: is a folder; name the PNG file in it")


def run(options: Options) -> int:
    """Draw and write the picture."""
    from updetr.pretext_picture import show_pretext

    for line in show_pretext(options):
        print(line)
    return 0
