"""Train an encoder-decoder made of two encoder-only models."""

from dataclasses import dataclass, field

from keyphrase_plm.bert2bert_options import Bert2BertOptions
from keyphrase_plm.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """Train an encoder-decoder whose halves are BERTs; what lies between them begins at random."""

    encoder: str
    """folder or hub name of the encoder's BERT; the decoder's is model.decoder, or the same"""
    decoder: str = ""
    """folder or hub name of the decoder's BERT; empty: the encoder's"""
    model: Bert2BertOptions = field(default_factory=Bert2BertOptions)
    """which halves, how deep, and what they read and write"""


def run(options: Options) -> int:
    """Train, keep the best weights, save the model with its card and the run's page."""
    from dataclasses import replace

    from keyphrase_plm.bert2bert import Bert2Bert
    from keyphrase_plm.training_run import train_family
    from nonet.errors import UserError

    if options.decoder and options.model.decoder not in ("", options.decoder):
        raise UserError(f"decoder is {options.decoder} and model.decoder {options.model.decoder}: give one")
    seed = options.trainer.seed if options.model.seed is None else options.model.seed
    model = replace(options.model, decoder=options.decoder or options.model.decoder, seed=seed)
    init = f"{options.encoder} + {model.decoder}" if model.decoder else options.encoder
    return train_family(options, "train b2b", lambda: Bert2Bert.create(options.encoder, model), init)
