"""The options that several verbs share; plain data, so that asking for help loads nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

Strategy = Literal[
    "ind-orig", "ind-uniq", "ind-log", "seq-orig", "seq-uniq", "seq-log",
    "continuous-orig", "continuous-uniq", "continuous-log", "lead", "random", "hybrid", "none",
]  # fmt: skip


@dataclass(frozen=True)
class GapOptions:
    """Which sentences are cut out of a document (Zhang et al. 2020, section 3.1)."""

    strategy: Strategy = "ind-orig"
    """ind: each sentence scored alone; seq: greedily, as a growing set; continuous: the best run of neighbours; lead: the first ones; hybrid: random, lead or ind-orig by lot, told by a task token; none: no gaps. orig counts repeated words, uniq does not, log counts log(1 + count)"""
    ratio: float = 0.3
    """share of a document's sentences to cut, in (0, 1]; at least one sentence"""
    ratio_low: float | None = None
    """lower end of the share: each document draws its own between this and `ratio`; none: always `ratio`"""
    noise: Literal["none", "uniform", "gauss", "gauss-shared"] = "none"
    """perturbation of the importance (ind strategies): factor 1 + scale*U(-1, 1), or 1 + scale*N(0, 1); gauss-shared draws the same numbers for every document, as the released code does"""
    noise_scale: float = 0.2
    """size of the perturbation, a share of the score"""
    metric: Literal["f", "precision", "recall"] = "f"
    """which side of ROUGE measures importance"""
    ngram: int = 1
    """words an n-gram, from 1"""
    ties: Literal["later", "first"] = "later"
    """which of two equally important sentences is taken"""
    first_sentences: int = 0
    """choose among this many sentences from the start alone; 0: among all"""

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise UserError(f"ratio is {self.ratio}; the share of sentences to cut lies in (0, 1]")
        if self.ratio_low is not None and not 0 < self.ratio_low <= self.ratio:
            raise UserError(f"ratio_low is {self.ratio_low}; it lies in (0, ratio = {self.ratio}]")
        if self.ngram < 1:
            raise UserError(f"ngram is {self.ngram}; an n-gram has at least one word")
        if self.noise_scale < 0:
            raise UserError(f"noise_scale is {self.noise_scale}; it cannot be negative")
        if self.first_sentences < 0:
            raise UserError(f"first_sentences is {self.first_sentences}; it is 0 or more")


@dataclass(frozen=True)
class MaskOptions:
    """What stands in the input where a sentence was cut, and which words are masked besides."""

    mask: float = 0.8
    """share of cut sentences replaced by the mask token"""
    random: float = 0.0
    """share replaced by a random sentence of the same document"""
    intact: float = 0.2
    """share left standing, which teaches copying"""
    remove: float = 0.0
    """share removed without a trace"""
    words: float = 0.0
    """share of whole words masked in the input (masked language modelling); 0: none"""
    word_mask: float = 0.8
    """share of these words whose pieces become the word-mask token"""
    word_random: float = 0.1
    """share whose pieces become random ones; the rest stays"""
    max_input: int = 512
    """longest input, in tokens"""
    max_target: int = 256
    """longest target, in tokens"""
    end_cut_inputs: bool = True
    """end a cut input with the end token; the released code drops it"""
    end_cut_targets: bool = False
    """end a cut target with the end token, which teaches to stop in the middle of a sentence"""

    def __post_init__(self) -> None:
        shares = {"mask": self.mask, "random": self.random, "intact": self.intact, "remove": self.remove}
        if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
            text = " + ".join(f"{name} {share:g}" for name, share in shares.items())
            raise UserError(f"the shares of what replaces a sentence are {text} = {sum(shares.values()):g}; they add up to 1")
        if not 0 <= self.words <= 1:
            raise UserError(f"words is {self.words}; the share of masked words lies in [0, 1]")
        if self.word_mask < 0 or self.word_random < 0 or self.word_mask + self.word_random > 1 + 1e-6:
            raise UserError(
                f"word_mask {self.word_mask:g} + word_random {self.word_random:g} is more than 1, or one is negative"
            )
        if self.max_input < 2 or self.max_target < 2:
            raise UserError(f"max_input {self.max_input} and max_target {self.max_target} are at least 2 tokens")
