"""The options of patch selection: plain data, so that help loads no torch.

Sources: the paper (Jiang et al. 2023, COPA) for the detector behind a middle block and for the fused token,
TiMix's released code for block 5 and half of the patches; the names are ours.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

Selection = Literal["text", "attention", "mixed", "random", "off"]

BY_TEXT = ("text", "mixed")  # selections that ask the patch detector


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    """Which patches of an image go on through the rest of the vision tower."""

    selection: Selection = "text"
    """what says which patches are kept. text: the detector, with the text; attention: that of CLS, without a
    text; mixed: both, in the shares of alpha; random: nothing; off: all patches are kept"""
    block: int = 5
    """block behind which patches are selected, from 0"""
    keep: float = 0.5
    """share of the patches that is kept, above 0 and at most 1; of N patches floor(keep N), at least one"""
    alpha: float = 1.0
    """share of the detector in a mixed selection, in 0..1; attention has the rest"""
    fuse: bool = True
    """one more token goes on: the weighted mean of the dropped patches"""
    late: bool = False
    """patches are scored behind `block`, but dropped behind the last one: the vision tower runs at full
    length, once an image, which costs less where an image has many texts; fusion and decoder are shorter"""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UserError(f"keep is {self.keep:g}; it is above 0 and at most 1, which keeps all patches")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha is {self.alpha:g}; it lies in 0..1")
        if self.block < 0:
            raise UserError(f"block is {self.block}; blocks count from 0")

    @property
    def by_text(self) -> bool:
        """Whether the detector and a text are asked."""
        return self.selection in BY_TEXT


def kept_count(keep: float, patches: int) -> int:
    """How many of an image's patches are kept: floor(keep N), but one at least, of which a warning tells.

    Args:
        keep: share in 0..1, 0 excepted.
        patches: N.

    Returns:
        k in 1..N; 98 for half of 196.

    Raises:
        UserError: a share outside that.
    """
    if not 0 < keep <= 1:
        raise UserError(f"keep is {keep:g}; it is above 0 and at most 1, which keeps all patches")
    count = math.floor(keep * patches + 1e-6)  # 0.29 * 100 is 28.999999999999996
    if count == 0:
        warnings.warn(f"keep {keep:g} of {patches} patches is none: one is kept", stacklevel=2)
    return max(count, 1)
