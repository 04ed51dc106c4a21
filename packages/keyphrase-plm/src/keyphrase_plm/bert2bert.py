"""An encoder-decoder of two encoder-only models (Rothe et al. 2020; Wu et al. 2022: its depth and budget).

The halves come from checkpoints, whole or cut to fewer layers, or from random weights; the cross-attention
between them is always new. Encoder and decoder have tables of embeddings of their own unless they are shared;
the decoder's output layer is tied to its embeddings.

Labels have no leading [CLS]: [CLS] is what the decoder starts from. Old versions of transformers shifted the
labels inside the decoder; a port that still hands labels in as decoder inputs learns to copy its own input.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from keyphrase_plm.bert2bert_options import Bert2BertOptions
from keyphrase_plm.bert_halves import KINDS, half, joined, share, unshare
from keyphrase_plm.encoder_decoder import EncoderDecoder
from keyphrase_plm.step_decoders import first_position, head_of_bert
from keyphrase_plm.tokenizers import load_tokenizer
from nonet.errors import UserError
from nonet.training.hub import load_pretrained


class Bert2Bert(EncoderDecoder):
    """Two BERTs (or RoBERTas) as one `EncoderDecoderModel` of transformers.

    Args:
        model: with its start, end and padding ids set, as `joined` does.
        tokenizer: fast, of transformers.
        max_source: longest source, in pieces with the special ones.
        max_target: longest target in training, in pieces with the end.
        max_output: longest output, likewise.
        targets: `"one2seq"`: all phrases; `"one2one"`: one phrase.
        label_smoothing: share of the target's probability that is spread over the vocabulary.
        shared: whether both halves have one table of embeddings.
        built: what the halves were made of, kept in `keyphrase.json`.

    Raises:
        UserError: the model is of another kind, or has fewer positions.
    """

    name: ClassVar[str] = "b2b"
    notes = "max_source", "max_target", "max_output", "targets", "label_smoothing", "shared", "built"

    def __init__(
        self, model: Any, tokenizer: Any, *, max_source: int = 512, max_target: int = 80,
        max_output: int = 100, targets: str = "one2seq", label_smoothing: float = 0.0, shared: bool = False,
        built: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if model.config.model_type != "encoder-decoder":
            raise UserError(f"a {model.config.model_type} is not an encoder-decoder of two BERTs")
        for config, most in (
            (model.config.encoder, max_source),
            (model.config.decoder, max(max_target, max_output)),
        ):
            limit = config.max_position_embeddings - first_position(config)
            if config.model_type not in KINDS:
                raise UserError(
                    f"a {config.model_type} is no half of an encoder-decoder here; take {' or '.join(KINDS)}"
                )
            if most > limit:
                raise UserError(f"{most} pieces are beyond the {limit} positions of a half")
        super().__init__(
            model, tokenizer, start=int(model.config.decoder_start_token_id),
            end=int(model.config.eos_token_id), max_source=max_source, max_target=max_target,
            max_output=max_output, targets=targets, label_smoothing=label_smoothing,
        )  # fmt: skip
        self.shared, self.built = shared, built or {}
        if getattr(model.encoder, "pooler", None) is not None:
            model.encoder.pooler.requires_grad_(False)  # nothing reads it; kept as in the original
        if shared:
            share(model)

    def encoded(self, source: Tensor, mask: Tensor) -> Tensor:
        """Source states (B, L, D), brought to the decoder's width where the encoder's is another."""
        states: Tensor = super().encoded(source, mask)
        project = getattr(self.model, "enc_to_dec_proj", None)
        return states if project is None else project(states)

    def hidden(self, inputs: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """What goes into the output layer, (B, T, D), for decoder inputs (B, T)."""
        decoder = self.model.decoder
        states = decoder.base_model(
            input_ids=inputs, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
        )[0]
        transform, _ = head_of_bert(decoder)
        return transform(states)  # type: ignore[no-any-return]

    def output(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, D) and bias (V,) of the output layer."""
        _, out = head_of_bert(self.model.decoder)
        return out.weight, out.bias

    @classmethod
    def create(cls, init: str, options: Bert2BertOptions) -> "Bert2Bert":
        """A model to train, from one or two encoder-only models.

        Args:
            init: folder or hub name of the encoder, whose tokenizer is taken.
            options: the decoder, depths, lengths, and the seed, which is 0 where it is none.

        Raises:
            UserError: there is no such model, it is of another kind, has fewer layers or positions, or the
                halves have different vocabularies.
        """
        other, seed = options.decoder or init, options.seed or 0
        tokenizer = load_tokenizer(init)
        if other != init and load_tokenizer(other).get_vocab() != tokenizer.get_vocab():
            raise UserError(
                f"{init} and {other} have different vocabularies; take two models with the same one"
            )
        first, chosen = half(
            init, layers=options.encoder_layers, keep=options.keep_layers, decoder=False,
            dropout=options.dropout, random=options.random_encoder, seed=seed,
        )  # fmt: skip
        second, chosen_too = half(
            other, layers=options.decoder_layers, keep=options.keep_layers, decoder=True,
            dropout=options.dropout, random=options.random_decoder, seed=seed + 1,
        )  # fmt: skip
        built = {
            "encoder": init, "decoder": other, "encoder_layers": chosen, "decoder_layers": chosen_too,
            "random_encoder": options.random_encoder, "random_decoder": options.random_decoder,
        }  # fmt: skip
        return cls(
            joined(first, second, tokenizer, seed=seed), tokenizer, max_source=options.max_source,
            max_target=options.max_target, max_output=options.max_output, targets=options.targets,
            label_smoothing=options.label_smoothing, shared=options.share, built=built,
        )  # fmt: skip

    @classmethod
    def from_shapes(
        cls, tokenizer: Any, *, encoder_layers: int, decoder_layers: int, width: int, heads: int,
        feed_forward: int | None = None, positions: int = 512, dropout: float = 0.0, seed: int = 0,
        **lengths: Any,
    ) -> "Bert2Bert":  # fmt: skip
        """Two BERTs with random weights.

        Args:
            tokenizer: of BERT's kind, with [CLS] and [SEP].
            encoder_layers: e.
            decoder_layers: d.
            width: H of both.
            heads: of attention, which divide the width.
            feed_forward: width of the feed-forward layers; without it four times H.
            positions: of both tables.
            dropout: in training.
            seed: of the weights.
            **lengths: for the constructor: `max_source`, `max_target`, `max_output`, `targets`, ...

        Raises:
            UserError: heads do not divide the width.
        """
        from transformers import BertConfig, BertLMHeadModel, BertModel

        if heads < 1 or width % heads:
            raise UserError(f"{heads} heads do not divide a width of {width}")
        shape = {
            "vocab_size": len(tokenizer), "hidden_size": width, "num_attention_heads": heads,
            "intermediate_size": feed_forward or 4 * width, "max_position_embeddings": positions,
            "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
            "pad_token_id": tokenizer.pad_token_id,
        }  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = BertModel(BertConfig(**shape, num_hidden_layers=encoder_layers))
            decoder = BertLMHeadModel(
                BertConfig(
                    **shape, num_hidden_layers=decoder_layers, is_decoder=True, add_cross_attention=True
                )
            )
        return cls(joined(encoder, decoder, tokenizer, seed=seed), tokenizer, **lengths)

    @classmethod
    def tiny(
        cls, tokenizer: Any, *, seed: int = 0, layers: int = 2, width: int = 32, heads: int = 2,
        positions: int = 128, dropout: float = 0.0, targets: str = "one2seq",
    ) -> "Bert2Bert":  # fmt: skip
        """Two small BERTs with random weights, for tests and made-up data; arguments as in `from_shapes`."""
        return cls.from_shapes(
            tokenizer, encoder_layers=layers, decoder_layers=layers, width=width, heads=heads,
            positions=positions, dropout=dropout, seed=seed, max_source=positions,
            max_target=min(positions, 64), max_output=min(positions, 64), targets=targets,
        )  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path) -> "Bert2Bert":
        """Read a folder that `save` has written.

        Raises:
            UserError: a file is missing or damaged; it is named.
        """
        from transformers import EncoderDecoderModel

        values = cls.noted(folder)
        model = load_pretrained(EncoderDecoderModel, str(folder))
        return cls(model, load_tokenizer(str(folder)), **values)

    def save(self, folder: Path) -> None:
        """As `EncoderDecoder.save`; a shared table is written twice: transformers knows none."""
        if self.shared:
            unshare(self.model)
        try:
            super().save(folder)
        finally:
            if self.shared:
                share(self.model)
