"""How decode-select draws and chooses; plain data, so that asking for help loads nothing heavy (ours)."""

from dataclasses import dataclass
from typing import Literal

from keyphrase_plm.decoding_options import DecodeOptions
from nonet.errors import UserError

Rule = Literal["mean", "median", "least"]


@dataclass(frozen=True)
class SelectOptions:
    """How many candidates are drawn, and which stay."""

    samples: int = 10
    """sampled outputs a document"""
    temperature: float = 0.7
    """divides the logits before drawing"""
    top_p: float = 0.95
    """draw among the likeliest tokens that hold this share of the probability"""
    rule: Rule = "mean"
    """the threshold is this of the anchors' likelihoods: mean, median, or the least one"""
    margin: float = 0.0
    """nats a piece below the threshold that still pass; negative: be stricter"""
    seed: int = 0
    """of the draws"""
    max_length: int | None = None
    """longest output in tokens; none: the model's own limit"""
    no_repeat_ngram: int = 0
    """never write the same run of this many tokens twice; 0: off"""
    batch_tokens: int = 8192
    """padded input tokens a batch; changes speed and memory, not results"""

    def __post_init__(self) -> None:
        if self.rule not in ("mean", "median", "least"):
            raise UserError(f"rule is {self.rule!r}; choose mean, median or least")
        self.sampled(), self.greedy()

    def greedy(self) -> DecodeOptions:
        """How anchors are written."""
        return DecodeOptions(
            max_length=self.max_length, no_repeat_ngram=self.no_repeat_ngram, batch_tokens=self.batch_tokens
        )

    def sampled(self) -> DecodeOptions:
        """How candidates are written."""
        return DecodeOptions(
            mode="sample", samples=self.samples, temperature=self.temperature, top_p=self.top_p,
            seed=self.seed, max_length=self.max_length, no_repeat_ngram=self.no_repeat_ngram,
            batch_tokens=self.batch_tokens,
        )  # fmt: skip
