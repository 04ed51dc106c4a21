"""The verb `heatmap`: which patches of an image a text asks for, and which are kept."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError
from pta_vlp.select_options import SelectOptions
from pta_vlp.task_options import Choice


@dataclass(frozen=True, kw_only=True)
class Options(Choice):
    """Draw which patches of an image texts ask for, what CLS looks at, and which patches are kept.

    There is a row for each text. Kept patches have their rank written into them where there is room.
    """

    image: Path = field(metadata={"positional": True})
    """the image file"""
    model: str
    """folder or hub name of a model, with a patch detector for selections by text"""
    text: tuple[str, ...] = ()
    """texts to look with, a row each; none: without a text, for selections attention and random"""
    keep: float | None = None
    """share of the patches that is kept, above 0 and at most 1; none: as the model was trained"""
    out: Path = Path("heatmap.png")
    """the picture, a PNG file; what was there is replaced"""
    numbers: Path | None = None
    """a JSON file for the probability, attention and score of each patch, and the numbers of the kept ones"""

    def __post_init__(self) -> None:
        self.on(SelectOptions(), self.keep)
        for path in (self.out, self.numbers):
            if path is not None and path.is_dir():
                raise UserError(f"{path}: is a folder; name the file in it")
        if self.numbers is not None and self.numbers == self.out:
            raise UserError(f"{self.out}: the picture and the numbers have the same name")


def run(options: Options) -> int:
    """Draw and write the picture; say why patches were kept."""
    from pta_vlp.heat_maps import explain

    *lines, last = explain(options)
    for line in lines:
        print(line)
    print(last, file=sys.stderr)
    return 0
