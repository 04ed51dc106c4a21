"""Train BART or T5 to write phrases."""

from dataclasses import dataclass, field

from keyphrase_plm.seq2seq_options import Seq2SeqOptions
from keyphrase_plm.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """Train a sequence-to-sequence model on the string of all phrases, present ones first."""

    init: str
    """folder or hub name of a BART, T5 or like model: facebook/bart-base, a folder of `pretrain`"""
    model: Seq2SeqOptions = field(default_factory=Seq2SeqOptions)
    """what the model reads and writes"""


def run(options: Options) -> int:
    """Train, keep the best weights, save the model with its card and the run's page."""
    from keyphrase_plm.seq2seq import Seq2Seq
    from keyphrase_plm.training_run import train_family

    return train_family(
        options, "train seq2seq", lambda: Seq2Seq.create(options.init, options.model), options.init
    )
