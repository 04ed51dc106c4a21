"""What a prefix language model reads, writes and learns from; plain data, so help loads no torch (ours)."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True)
class PrefixOptions:
    """What the model reads and writes, and how it is trained (Wu et al. 2022: the defaults)."""

    max_source: int = 464
    """longest source, in pieces with the special ones"""
    max_target: int = 48
    """longest target and output, in pieces with the end; a longer target ends behind the last phrase that
    fits. Both lengths together are at most what the model has positions for"""
    objective: Literal["pseudo", "causal"] = "pseudo"
    """pseudo: each piece is predicted at a [MASK], as the paper's numbers were made; causal: at the piece
    before it, with half the rows, and another use of the model than in its pre-training"""
    targets: Literal["one2seq", "one2one"] = "one2seq"
    """one2seq: all phrases in one string; one2one: one, another each epoch, for DeSel"""
    label_smoothing: float = 0.1
    """share of a label's probability that is spread over the vocabulary but the padding"""
    keep: float = 0.1
    """probability that a piece stays as it is where it is predicted (objective pseudo)"""
    replace: float = 0.1
    """probability that it becomes any piece of the vocabulary (objective pseudo); else it becomes [MASK]"""
    target_type: int | None = None
    """token type of the target; none: 1 where the model has two types or more, else 0"""

    def __post_init__(self) -> None:
        if self.max_source < 3 or self.max_target < 2:
            raise UserError(
                f"max_source is {self.max_source} and max_target {self.max_target}; they are at least 3 and 2"
            )
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing:g}; it lies in [0, 1)")
        if self.keep < 0 or self.replace < 0 or self.keep + self.replace > 1:
            raise UserError(
                f"keep is {self.keep:g} and replace {self.replace:g}; both from 0 on, at most 1 together"
            )
