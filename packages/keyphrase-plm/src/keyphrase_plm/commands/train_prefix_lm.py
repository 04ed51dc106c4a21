"""Train one encoder-only model to write phrases."""

from dataclasses import dataclass, field

from keyphrase_plm.prefix_options import PrefixOptions
from keyphrase_plm.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """Train an encoder to write phrases behind the document it reads (UniLM: seq2seq attention mask)."""

    init: str
    """folder or hub name of a BERT-like masked language model: bert-base-uncased, a folder of `pretrain`"""
    model: PrefixOptions = field(default_factory=PrefixOptions)
    """what the model reads, writes and learns from"""


def run(options: Options) -> int:
    """Train, keep the best weights, save the model with its card and the run's page."""
    from keyphrase_plm.prefix_family import PrefixLM
    from keyphrase_plm.training_run import train_family

    return train_family(
        options, "train prefix-lm", lambda: PrefixLM.create(options.init, options.model), options.init
    )
