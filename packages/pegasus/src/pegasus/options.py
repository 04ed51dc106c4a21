"""The options that several verbs share; plain data, so that asking for help loads nothing heavy."""

from dataclasses import dataclass, fields
from typing import Literal, TypeVar

from nonet.errors import UserError

T = TypeVar("T")

Strategy = Literal[
    "ind-orig", "ind-uniq", "ind-log", "seq-orig", "seq-uniq", "seq-log",
    "continuous-orig", "continuous-uniq", "continuous-log", "lead", "random", "hybrid", "none",
]  # fmt: skip


@dataclass(frozen=True)
class GapOptions:
    """Which sentences are cut out of a document (Zhang et al. 2020, section 3.1)."""

    strategy: Strategy = "ind-orig"
    """ind: each sentence scored alone; seq: greedily, as a growing set; continuous: the best run of
    neighbours; lead: the first ones; hybrid: random, lead or ind-orig by lot, told by a task token; none:
    no gaps. orig counts repeated words, uniq does not, log counts log(1 + count)"""
    ratio: float = 0.3
    """share of a document's sentences to cut, in (0, 1]; at least one sentence"""
    ratio_low: float | None = None
    """lower end of the share: each document draws its own between this and `ratio`; none: always `ratio`"""
    noise: Literal["none", "uniform", "gauss", "gauss-shared"] = "none"
    """perturbation of the importance (ind strategies): factor 1 + scale*U(-1, 1), or 1 + scale*N(0, 1);
    gauss-shared draws the same numbers for every document, as the released code does"""
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
            raise UserError(
                f"the shares of what replaces a sentence are {text} = {sum(shares.values()):g}; "
                "they add up to 1"
            )
        if not 0 <= self.words <= 1:
            raise UserError(f"words is {self.words}; the share of masked words lies in [0, 1]")
        if self.word_mask < 0 or self.word_random < 0 or self.word_mask + self.word_random > 1 + 1e-6:
            raise UserError(
                f"word_mask {self.word_mask:g} + word_random {self.word_random:g} is more than 1, "
                "or one is negative"
            )
        if self.max_input < 2 or self.max_target < 2:
            raise UserError(
                f"max_input {self.max_input} and max_target {self.max_target} are at least 2 tokens"
            )


@dataclass(frozen=True)
class WordOptions:
    """How text becomes sentences and the words that measure importance."""

    sentences: Literal["pegasus", "unicode", "newline", "sentencex"] = "pegasus"
    """sentence rule; pegasus: after . ! ? and whitespace; unicode: also the full stops of other scripts;
    newline: a line is a sentence; sentencex: the package of that name (extra `segment`)"""
    language: str = "en"
    """language for sentencex, an ISO 639-1 code"""
    words: Literal["ascii", "unicode", "subword"] = "ascii"
    """word rule; ascii: a-z and 0-9 as PEGASUS; unicode: any script; subword: the tokenizer's pieces"""
    stop_words: bool = True
    """leave English stop-words out of the importance (rules ascii and unicode)"""


@dataclass(frozen=True)
class CorpusOptions:
    """Which documents are kept, and in what size."""

    min_sentences: int = 3
    """documents of fewer sentences are left out: one that is all gap teaches nothing"""
    min_target: int = 1
    """documents whose gap sentences have fewer tokens are left out"""
    chunk: int = 512
    """cut longer documents at sentence ends into parts of about this many tokens, so that a target never
    refers to text that the model cannot see; 0: keep them whole"""
    max_words: int = 50_000
    """longest document, in words; longer ones are cut at a sentence end"""
    unique: bool = False
    """leave out documents whose text occurred before"""

    def __post_init__(self) -> None:
        if self.min_sentences < 1 or self.min_target < 1 or self.max_words < 1:
            raise UserError("min_sentences, min_target and max_words are at least 1")
        if self.chunk < 0 or 0 < self.chunk < 16:
            raise UserError(f"chunk is {self.chunk}; it is 0 (keep documents whole) or at least 16 tokens")


@dataclass(frozen=True)
class ModelOptions:
    """The shape of a new model (Zhang et al. 2020, section 4)."""

    size: Literal["tiny", "small", "base", "large"] = "base"
    """tiny: 2+2 layers, 128 wide; small: 6+6, 512; base: 12+12, 768; large: 16+16, 1024"""
    layers: int | None = None
    """layers of encoder and of decoder, each; none: those of `size`"""
    width: int | None = None
    """width of the hidden states; none: that of `size`"""
    feed_forward: int | None = None
    """width of the feed-forward layers; none: four times `width`"""
    heads: int | None = None
    """attention heads; none: those of `size`"""
    dropout: float = 0.1
    """share of activations dropped in training: embeddings, residual branches, attention, ReLU"""
    max_positions: int = 1024
    """positions in the stored table; longer inputs extend it as they come"""
    long: bool = False
    """PEGASUS-X: block-local encoder attention with global tokens, for long inputs (Phang et al. 2022)"""
    block: int = 512
    """tokens a block of local attention (PEGASUS-X)"""
    global_tokens: int = 128
    """learned global tokens (PEGASUS-X)"""

    def __post_init__(self) -> None:
        names = ("layers", "width", "feed_forward", "heads", "max_positions", "block", "global_tokens")
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"model.{name} is {value}; it is at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout is {self.dropout:g}; the share dropped lies in [0, 1)")


@dataclass(frozen=True)
class DecodeOptions:
    """How summaries are written."""

    beams: int = 8
    """beam width; 1: greedy"""
    alpha: float = 0.8
    """power of the length normalisation; 0: none"""
    length_norm: Literal["gnmt", "hf"] = "gnmt"
    """gnmt: sum of log-probabilities / ((5 + length) / 6)^alpha as PEGASUS; hf: / length^alpha as
    transformers"""
    max_length: int = 64
    """longest summary, in tokens with the end token"""
    min_length: int = 0
    """shortest summary, in tokens with the end token; shorter ones score 1000 less"""
    max_input: int = 512
    """longest document, in tokens with the end token; the rest is cut and counted"""
    top_k: int = 0
    """sample among the k likeliest tokens instead of searching; 0: off"""
    top_p: float = 0.0
    """sample among the likeliest tokens that hold this share of the probability; 0: off"""
    temperature: float = 1.0
    """divides the logits when sampling"""
    seed: int = 0
    """of the sampling"""

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise UserError(f"beams is {self.beams}; it is at least 1")
        if not 0 <= self.min_length <= self.max_length or self.max_length < 1:
            raise UserError(
                f"min_length {self.min_length} and max_length {self.max_length}: 0 <= min <= max, max >= 1"
            )
        if self.max_input < 2:
            raise UserError(f"max_input is {self.max_input}; a document has at least 2 tokens")
        if self.top_k and self.top_p:
            raise UserError(f"top_k {self.top_k} and top_p {self.top_p:g} exclude each other: set one to 0")
        if (self.top_k or self.top_p) and self.beams > 1:
            raise UserError(f"sampling (top_k, top_p) keeps one sequence: set beams to 1, not {self.beams}")
        if self.top_k < 0 or not 0 <= self.top_p <= 1 or self.temperature <= 0:
            raise UserError("top_k is 0 or more, top_p lies in [0, 1], temperature is positive")


def check_training(*, batch: int, max_tokens: int | None, label_smoothing: float) -> None:
    """Refuse batches and smoothing out of range, for the verbs that train."""
    if batch < 1:
        raise UserError(f"batch is {batch}; it is at least 1")
    if max_tokens is not None and max_tokens < 1:
        raise UserError(f"max_tokens is {max_tokens}; it is at least 1, or none")
    if not 0 <= label_smoothing < 1:
        raise UserError(f"label_smoothing is {label_smoothing:g}; it lies in [0, 1)")


def part(options: object, kind: type[T]) -> T:
    """The fields of `kind` out of a verb's options that inherit from it; checked again by its own rules."""
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})  # type: ignore[arg-type]
