"""The options of pruning single weights, patterns and blocks; plain data, so that help loads no torch."""

from dataclasses import dataclass
from itertools import pairwise

from cap_prune.patterns import Pattern, blocks, neighbours
from nonet.errors import UserError

METHODS = ("movement", "soft-movement", "magnitude", "wanda")
"""the ways to decide which weights stay"""


@dataclass(frozen=True)
class MaskOptions:
    """How dense a model becomes, and when. Steps are shares, so that they fit any amount of data."""

    density: str | tuple[float, ...] = ()
    """shares of the encoder's matrices that are kept, falling, such as 0.5,0.2; each is saved when the
    schedule passes it, and the training ends at the last; for soft-movement they are only what is saved on
    the way"""
    pattern: str | None = None
    """at most N of M neighbours along the inputs stay, such as 2:4; sets the density"""
    block: str | None = None
    """blocks of A outputs by B inputs stay or go as a whole, such as 4x1"""
    together: bool = False
    """movement, magnitude: rank the weights of all matrices together, not each matrix's"""
    dense_share: float = 0.2
    """share of the steps before anything is masked"""
    cool_share: float = 0.3
    """share of the steps after the last density is reached"""
    every: int = 1
    """steps between two decisions on what is kept"""
    score_lr: float = 1e-2
    """peak learning rate of the scores"""
    threshold: float = 0.1
    """soft-movement: what a score's sigmoid has to exceed in the end"""
    penalty: float = 100.0
    """soft-movement: weight of the mean of the scores' sigmoids in the end; more makes it sparser"""

    def __post_init__(self) -> None:
        shares = self.shares
        if any(not 0 < each <= 1 for each in shares):
            raise UserError(f"masks.density is {_list(shares)}; each lies in (0, 1]")
        if any(a <= b for a, b in pairwise(shares)):
            raise UserError(f"masks.density is {_list(shares)}; each is below the one before")
        for name in ("dense_share", "cool_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"masks.{name} is {getattr(self, name):g}; it lies in [0, 1)")
        if self.dense_share + self.cool_share >= 1:
            raise UserError(
                f"masks.dense_share {self.dense_share:g} and masks.cool_share {self.cool_share:g} leave no "
                "steps to prune in; their sum is below 1"
            )
        if self.every < 1:
            raise UserError(f"masks.every is {self.every}; it is at least 1")
        if not self.score_lr > 0:
            raise UserError(f"masks.score_lr is {self.score_lr:g}; it is positive")
        if not 0 < self.threshold < 1:
            raise UserError(f"masks.threshold is {self.threshold:g}; it lies in (0, 1)")
        if self.penalty < 0:
            raise UserError(f"masks.penalty is {self.penalty:g}; it is 0 or more")
        if self.pattern and self.block:
            raise UserError("masks.pattern and masks.block exclude each other")
        chosen = self.chosen_pattern
        if chosen is not None and self.together:
            raise UserError("masks.together ranks single weights; leave out masks.pattern and masks.block")
        if self.pattern and shares and shares != (neighbours(self.pattern).density,):
            raise UserError(f"masks.pattern {self.pattern} sets the density; leave masks.density out")

    @property
    def shares(self) -> tuple[float, ...]:
        """The densities as numbers."""
        if not isinstance(self.density, str):
            return self.density
        try:
            return tuple(float(word) for word in self.density.replace(",", " ").split())
        except ValueError:
            raise UserError(f"masks.density is {self.density!r}; write shares like 0.5,0.2") from None

    @property
    def chosen_pattern(self) -> Pattern | None:
        """The pattern or the blocks, if any."""
        if self.pattern:
            return neighbours(self.pattern)
        return blocks(self.block) if self.block else None

    def densities(self, method: str) -> tuple[float, ...]:
        """What is saved with a method, falling.

        Raises:
            UserError: no such method, it cannot do what is asked for, or it is not said how dense.
        """
        if method not in METHODS:
            raise UserError(f"no method {method!r} for single weights; there are {', '.join(METHODS)}")
        if method == "soft-movement" and (self.chosen_pattern is not None or self.together):
            raise UserError(
                "soft-movement masks by a threshold: leave out masks.pattern, masks.block and masks.together"
            )
        if method == "wanda" and self.together:
            raise UserError("wanda ranks the weights of each output: leave out masks.together")
        if self.pattern:
            return (neighbours(self.pattern).density,)
        if not self.shares and method != "soft-movement":
            raise UserError(f"{method} needs masks.density, such as 0.1, or masks.pattern, such as 2:4")
        return self.shares


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{each:g}" for each in values)
