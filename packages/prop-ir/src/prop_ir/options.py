"""Options that several verbs share; plain data, so that help loads no torch."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

LEAST_DOCUMENT = 64
"""pieces of a document that are kept when a long query has to be cut"""


@dataclass(frozen=True)
class ReadOptions:
    """How collections are read."""

    layout: Literal["auto", "trec", "jsonl", "msmarco", "beir", "smart"] = "auto"
    """trec: <DOC> files (SGML or XML); jsonl: id, title and text under their usual names; msmarco: docid,
    url, title and body with tabs; beir: a folder with corpus.jsonl; smart: .I .T .W files; auto: by name and
    content"""
    fields: tuple[str, ...] = ()
    """fields whose text is joined, in this order; none: title and body under their usual names"""
    on_error: Literal["fail", "skip"] = "fail"
    """what a line that cannot be read leads to; skip: it is left out and counted"""
    encoding: str = "utf-8"
    """of the files; bytes that are none are replaced and counted; older TREC collections are latin-1"""


@dataclass(frozen=True)
class WordOptions:
    """What a word of the document language model is."""

    regex: str = "[a-zA-Z]+"
    """pattern of a word; for other alphabets \\w+"""
    lower: bool = True
    """lower-case first"""
    stop_words: Literal["english", "none"] = "english"
    """english: the 475 words of the NLTK and INQUERY lists together, which are not counted"""


@dataclass(frozen=True)
class SamplerOptions:
    """How pairs of word sets are drawn from a document's language model."""

    sampler: Literal["exact", "topk500", "uniform", "bprop"] = "exact"
    """exact: the smoothed model itself (paper); topk500: the released code's restricted vocabulary; uniform:
    any word of the document, an ablation; bprop: contrastive terms of B-PROP"""
    background: Literal["df", "ctf"] = "df"
    """the collection's model: df: shares of document frequencies (released code); ctf: of occurrences"""
    floor: int = 10
    """words that occur less often in the collection are left out"""
    keep: float = 1e-4
    """t of word2vec's subsampling of frequent words: a drawn word stays with probability sqrt(t/f) + t/f;
    0: all stay"""
    mean_length: float = 3.0
    """lambda of the Poisson distribution of a set's length; lengths of 0 are drawn again"""
    stem: bool = False
    """model Porter stems; a drawn stem is written as one of its forms"""
    ties: Literal["drop", "second"] = "drop"
    """pairs of equal likelihood; drop: drawn again; second: the second set counts as the better one"""
    skip_short: int = 0
    """documents of fewer word pieces are left out of an epoch with a probability of 0.8; 0: none are (the
    released code has 100)"""
    saturation: Literal["ratio", "sqrt", "logistic"] = "ratio"
    """what becomes of a word's attention a (bprop); ratio: a / (a + 0.01); sqrt: its root; logistic: 1 / (1 +
    exp(-200 (a - 0.02)))"""
    contrast: Literal["entropy", "subtract"] = "entropy"
    """how the document's and the random distribution are set against each other (bprop); entropy: -p_D log2
    p_R; subtract: max(0, p_D - p_R)"""
    temperature: float = 1.0
    """of the softmax over contrastive terms (bprop); the released code has 1 (subtract: 0.1), which is nearly
    uniform"""
    normalise: Literal["softmax", "linear"] = "softmax"
    """how contrastive terms become probabilities (bprop)"""

    def __post_init__(self) -> None:
        if self.floor < 1:
            raise UserError(f"floor is {self.floor}; it is 1 or more")
        if self.keep < 0:
            raise UserError(f"keep is {self.keep:g}; it is 0 or more")
        if not self.mean_length > 0:
            raise UserError(f"mean_length is {self.mean_length:g}; it is positive")
        if self.skip_short < 0:
            raise UserError(f"skip_short is {self.skip_short}; it is 0 or more")
        if not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature:g}; it is positive")


@dataclass(frozen=True)
class MaskOptions:
    """Which words of the document are masked in pre-training."""

    share: float = 0.15
    """masked pieces, as a share of the document's words; 0: no masked-word loss"""
    most: int = 60
    """masked pieces of a document at most"""
    mask: float = 0.8
    """share of masked pieces that become the mask"""
    random: float = 0.1
    """share that become another piece; the rest stay"""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError(f"masks.share is {self.share:g}; it lies in [0, 1]")
        if self.most < 1:
            raise UserError(f"masks.most is {self.most}; it is 1 or more")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1:
            raise UserError(
                f"masks.mask {self.mask:g} and masks.random {self.random:g} are shares of one whole"
            )
