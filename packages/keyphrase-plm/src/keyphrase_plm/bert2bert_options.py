"""Which halves an encoder-decoder of two BERTs has; plain data, so that help loads nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from keyphrase_plm.seq2seq_options import check_lengths
from nonet.errors import UserError


@dataclass(frozen=True)
class Bert2BertOptions:
    """Which halves, how deep, and what they read and write (Wu et al. 2022: the defaults)."""

    decoder: str = ""
    """folder or hub name of the decoder's BERT; empty: the encoder's"""
    encoder_layers: int = 8
    """layers of the encoder; a model that has fewer is refused, one with more is cut"""
    decoder_layers: int = 4
    """layers of the decoder, likewise"""
    keep_layers: Literal["first", "even"] = "first"
    """which layers of a deeper model stay: the first ones, or evenly spaced ones from first to last"""
    random_encoder: bool = False
    """start the encoder from random weights of the same shape (RND2BERT)"""
    random_decoder: bool = False
    """start the decoder from random weights of the same shape (BERT2RND)"""
    share: bool = False
    """one table of embeddings for encoder and decoder; they have to be of one shape and vocabulary"""
    dropout: float = 0.0
    """of hidden states and attention, in both halves"""
    max_source: int = 512
    """longest source, in pieces with [CLS] and [SEP]"""
    max_target: int = 80
    """longest target in training, in pieces with [SEP]"""
    max_output: int = 100
    """longest output, in pieces with [SEP]"""
    targets: Literal["one2seq", "one2one"] = "one2seq"
    """one2seq: all phrases in one string; one2one: one phrase, drawn anew each epoch, for DeSel's scorer"""
    label_smoothing: float = 0.0
    """share of the target's probability that is spread over the vocabulary"""
    seed: int | None = None
    """of random weights, the cross-attention among them; none: the run's"""

    def __post_init__(self) -> None:
        check_lengths(self.max_source, self.max_target, self.label_smoothing)
        if self.encoder_layers < 1 or self.decoder_layers < 1:
            raise UserError(
                f"encoder_layers is {self.encoder_layers} and decoder_layers {self.decoder_layers}; "
                "both are at least 1"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout:g}; the share dropped lies in [0, 1)")
        if self.max_output < 1:
            raise UserError(f"max_output is {self.max_output}; it is at least 1")
