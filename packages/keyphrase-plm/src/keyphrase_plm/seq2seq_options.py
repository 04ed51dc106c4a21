"""What a BART or T5 reads and writes; plain data, so that asking for help loads nothing heavy (ours)."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True)
class Seq2SeqOptions:
    """What the model reads and writes (Wu et al. 2022: the defaults)."""

    prefix: str | None = None
    """in front of the source; none: "generate keyphrases: " for T5, nothing for others"""
    max_source: int = 1024
    """longest source, in pieces with the special ones; at most what the model has positions for"""
    max_target: int = 128
    """longest target and output, in pieces with the special ones; a longer target ends behind the last phrase
    that fits"""
    targets: Literal["one2seq", "one2one"] = "one2seq"
    """one2seq: all phrases in one string; one2one: one phrase, drawn anew each epoch, for DeSel's scorer"""
    label_smoothing: float = 0.0
    """share of the target's probability that is spread over the vocabulary"""

    def __post_init__(self) -> None:
        check_lengths(self.max_source, self.max_target, self.label_smoothing)


def check_lengths(max_source: int, max_target: int, label_smoothing: float) -> None:
    """Refuse lengths and smoothing out of range.

    Raises:
        UserError: naming the value.
    """
    if max_source < 4 or max_target < 2:
        raise UserError(f"max_source is {max_source} and max_target {max_target}; they are at least 4 and 2")
    if not 0 <= label_smoothing < 1:
        raise UserError(f"label_smoothing is {label_smoothing:g}; it lies in [0, 1)")
