"""What a tagger reads and how it is taught; plain data, so that asking for help loads no torch (ours)."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True)
class TaggerOptions:
    """What the tagger reads and how it is taught (Wu et al. 2022; ours where it says so)."""

    crf: bool = False
    """a conditional random field over the words' labels, instead of each word's label alone"""
    labels: Literal["longest", "compat"] = "longest"
    """of phrases that overlap, label the longest (ours), or let later ones overwrite earlier ones as the
    original does"""
    max_words: int = 510
    """longest text in words"""
    max_pieces: int | None = None
    """longest input in pieces, special ones included; none: the model's positions, at most 512"""
    begin_weight: float = 1.0
    """of words that begin a phrase in the loss, where other words weigh 1; about 4 keeps a small model on few
    documents from never labelling anything; without a CRF only"""
    inside_weight: float = 1.0
    """of the further words of a phrase, likewise"""
    stemmer: str = "porter"
    """by which gold phrases are found in the text: porter, none or snowball:LANGUAGE"""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise UserError(f"max_words is {self.max_words}; it is at least 1")
        if self.max_pieces is not None and self.max_pieces < 3:
            raise UserError(f"max_pieces is {self.max_pieces}; it is at least 3, as two pieces are special")
        if self.begin_weight <= 0 or self.inside_weight <= 0:
            raise UserError(
                f"begin_weight {self.begin_weight:g} and inside_weight {self.inside_weight:g} are above 0"
            )
        if self.crf and (self.begin_weight, self.inside_weight) != (1, 1):
            raise UserError(
                "begin_weight and inside_weight weigh words one by one, and a CRF knows only whole texts: "
                "leave them at 1, or crf out"
            )
