"""Train a tagger of present phrases."""

from dataclasses import dataclass, field

from keyphrase_plm.tagger_options import TaggerOptions
from keyphrase_plm.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """Train an encoder to mark the words of present phrases, with or without a CRF."""

    init: str
    """folder or hub name of an encoder: bert-base-uncased, roberta-base, a folder of `pretrain`"""
    model: TaggerOptions = field(default_factory=TaggerOptions)
    """what the tagger reads, its labels and its head"""


def run(options: Options) -> int:
    """Train, keep the best weights, save the model with its card and the run's page."""
    from keyphrase_plm.tagger import Tagger
    from keyphrase_plm.training_run import train_family

    return train_family(
        options, "train tag", lambda: Tagger.create(options.init, options.model), options.init
    )
