"""How phrases are written; plain data, so that asking for help loads nothing heavy (ours).

Every knob of generation stands here with its value. What a checkpoint's own generation config says is never
used: that of `facebook/bart-base`, for one, has four beams and forbids repeated trigrams, which made the
"greedy" numbers of the released code (Wu et al. 2022) something else than greedy.
"""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

Mode = Literal["greedy", "beam", "sample"]


@dataclass(frozen=True)
class DecodeOptions:
    """How a model's phrases are written."""

    mode: Mode = "greedy"
    """greedy: the likeliest token each time; beam: the likeliest sequences by beam search; sample: draw"""
    beams: int = 1
    """beam width; at least 2 with mode beam, else 1"""
    samples: int = 1
    """sequences a document: drawn ones with mode sample, the best of the beams with mode beam; the phrases of
    all are joined, each once"""
    temperature: float = 1.0
    """divides the logits before drawing (mode sample)"""
    top_p: float = 1.0
    """draw among the likeliest tokens that hold this share of the probability (mode sample); 1: all"""
    top_k: int = 0
    """draw among this many likeliest tokens (mode sample); 0: all"""
    length_power: float = 1.0
    """beams are compared by log-probability / length^this (mode beam); 0: not normalised"""
    min_length: int = 0
    """shortest output in tokens, end token included; before it the end is not taken"""
    max_length: int | None = None
    """longest output in tokens, end token included; none: the model's own limit (128 for seq2seq, 100 for
    b2b, 48 for prefix-lm)"""
    no_repeat_ngram: int = 0
    """never write the same run of this many tokens twice; 0: off"""
    order: Literal["text", "score"] = "text"
    """order of the phrases: as written (for taggers: in the order of the text), or best score first"""
    seed: int = 0
    """of mode sample; draws depend on it, the document's id and the sample's number, not on the batch"""
    batch_tokens: int = 8192
    """padded input tokens a batch; changes speed and memory, not results"""

    def __post_init__(self) -> None:
        if self.mode == "beam" and self.beams < 2:
            raise UserError(f"mode beam needs beams of at least 2, not {self.beams}; one beam is mode greedy")
        if self.mode != "beam" and self.beams != 1:
            raise UserError(f"beams is {self.beams} but mode is {self.mode}; set mode to beam, or beams to 1")
        if self.samples < 1:
            raise UserError(f"samples is {self.samples}; it is at least 1")
        if self.mode == "greedy" and self.samples != 1:
            raise UserError(f"samples is {self.samples} but greedy writes one sequence; set mode to sample")
        if self.mode == "beam" and self.samples > self.beams:
            raise UserError(f"samples is {self.samples} of only {self.beams} beams")
        if self.temperature <= 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise UserError("temperature is positive, top_p lies in (0, 1], top_k is 0 or more")
        drawing = self.temperature != 1 or self.top_p != 1 or self.top_k != 0
        if self.mode != "sample" and drawing:
            raise UserError(f"temperature, top_p and top_k need mode sample, not {self.mode}")
        if self.min_length < 0 or (self.max_length is not None and self.max_length < max(1, self.min_length)):
            raise UserError(
                f"min_length {self.min_length} and max_length {self.max_length}: 0 <= min <= max, max >= 1"
            )
        if self.no_repeat_ngram < 0:
            raise UserError(f"no_repeat_ngram is {self.no_repeat_ngram}; it is 0 (off) or more")
        if self.batch_tokens < 1:
            raise UserError(f"batch_tokens is {self.batch_tokens}; it is at least 1")

    def longest(self, limit: int) -> int:
        """The longest output in tokens of a model.

        Args:
            limit: the model's own.

        Raises:
            UserError: `max_length` is beyond it.
        """
        if self.max_length is None:
            return limit
        if self.max_length > limit:
            raise UserError(f"max_length is {self.max_length}, but the model writes at most {limit} tokens")
        return self.max_length
