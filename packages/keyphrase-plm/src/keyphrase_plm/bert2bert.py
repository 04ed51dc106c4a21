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
from torch import Tensor, nn

from keyphrase_plm.bert2bert_options import Bert2BertOptions
from keyphrase_plm.encoder_decoder import EncoderDecoder
from keyphrase_plm.seq2seq import load_tokenizer
from keyphrase_plm.step_decoders import first_position, head_of_bert
from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_or_hub

KINDS = ("bert", "roberta")


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
        for half, most in (
            (model.config.encoder, max_source),
            (model.config.decoder, max(max_target, max_output)),
        ):
            limit = half.max_position_embeddings - first_position(half)
            if half.model_type not in KINDS:
                raise UserError(
                    f"a {half.model_type} is no half of an encoder-decoder here; take {' or '.join(KINDS)}"
                )
            if most > limit:
                raise UserError(f"{most} pieces are beyond the {limit} positions of the model's half")
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
            options: the decoder, depths and lengths.

        Raises:
            UserError: there is no such model, it is of another kind, has fewer layers or positions, or the
                halves have different vocabularies.
        """
        other = options.decoder or init
        tokenizer = load_tokenizer(init)
        if other != init and load_tokenizer(other).get_vocab() != tokenizer.get_vocab():
            raise UserError(
                f"{init} and {other} have different vocabularies; take two models with the same one"
            )
        first, chosen = half(
            init, layers=options.encoder_layers, keep=options.keep_layers, decoder=False,
            dropout=options.dropout, random=options.random_encoder, seed=options.seed,
        )  # fmt: skip
        second, chosen_too = half(
            other, layers=options.decoder_layers, keep=options.keep_layers, decoder=True,
            dropout=options.dropout, random=options.random_decoder, seed=options.seed + 1,
        )  # fmt: skip
        built = {
            "encoder": init, "decoder": other, "encoder_layers": chosen, "decoder_layers": chosen_too,
            "random_encoder": options.random_encoder, "random_decoder": options.random_decoder,
        }  # fmt: skip
        return cls(
            joined(first, second, tokenizer, seed=options.seed), tokenizer, max_source=options.max_source,
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


def half(
    name: str, *, layers: int, keep: str, decoder: bool, dropout: float, random: bool, seed: int
) -> tuple[Any, list[int]]:
    """One half out of an encoder-only model.

    Args:
        name: folder or hub name.
        layers: how many stay.
        keep: `"first"` ones, or `"even"`: evenly spaced.
        decoder: with cross-attention, which is random, causal attention and an output layer; else a bare
            encoder.
        dropout: of hidden states and attention.
        random: random weights of this shape instead of the model's.
        seed: of random weights.

    Returns:
        The model, and which of its layers stayed, numbered from 0.

    Raises:
        UserError: there is no such model, or it is of another kind, or has fewer layers.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    where = local_or_hub(name)
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: no config to be read: {' '.join(str(error).split())[:200]}") from error
    if config.model_type not in KINDS:
        raise UserError(f"{name}: a {config.model_type}, not one of {', '.join(KINDS)}")
    depth = config.num_hidden_layers
    if layers > depth:
        raise UserError(f"{name}: has {depth} layers, {layers} are asked for")
    chosen = kept_layers(depth, layers, keep)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    config.is_decoder = config.add_cross_attention = decoder
    config.num_hidden_layers = layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (AutoModelForCausalLM if decoder else AutoModel).from_config(config)
        if random:
            return model, chosen
        whole = load_pretrained(AutoModelForMaskedLM if decoder else AutoModel, where)
    stack = whole.base_model.encoder
    stack.layer = nn.ModuleList(stack.layer[place] for place in chosen)
    missing, unexpected = model.load_state_dict(whole.state_dict(), strict=False)
    new = [name for name in missing if "crossattention" not in name]
    if new or unexpected:
        raise UserError(f"{name}: weights do not fit: {', '.join([*new, *unexpected][:5])}")
    return model, chosen


def kept_layers(depth: int, layers: int, keep: str) -> list[int]:
    """Which layers of a model stay: `"first"` 0, 1, ..., or `"even"`, from the first to the last.

    12 layers cut to 4 evenly are 0, 4, 7, 11.
    """
    if keep == "first":
        return list(range(layers))
    if keep != "even":
        raise UserError(f"keep_layers is {keep!r}; choose first or even")
    if layers == 1:
        return [0]
    return [(2 * place * (depth - 1) + layers - 1) // (2 * (layers - 1)) for place in range(layers)]


def joined(encoder: Any, decoder: Any, tokenizer: Any, *, seed: int = 0) -> Any:
    """Two halves as an `EncoderDecoderModel` that trains and generates.

    Args:
        encoder: a bare model.
        decoder: with cross-attention and output layer.
        tokenizer: gives the ids of start ([CLS]), end ([SEP]) and padding, set in both configs: training
            shifts by the one, `generate` reads the other.
        seed: of the projection between halves of different width.

    Raises:
        UserError: the tokenizer has no such tokens.
    """
    from transformers import EncoderDecoderConfig, EncoderDecoderModel, GenerationConfig

    ids = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
    if None in ids:
        raise UserError("the tokenizer needs a [CLS], a [SEP] and a padding token")
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = ids
    config.vocab_size = decoder.config.vocab_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EncoderDecoderModel(encoder=encoder, decoder=decoder, config=config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids[0], eos_token_id=ids[1], pad_token_id=ids[2]
    )
    return model.eval()


def share(model: Any) -> None:
    """Give both halves the encoder's table of embeddings, to which the output layer is tied then.

    Raises:
        UserError: the tables are of different shapes.
    """
    table, other = (part.get_input_embeddings().weight for part in (model.encoder, model.decoder))
    if table.shape != other.shape:
        raise UserError(
            f"halves with embeddings of {tuple(table.shape)} and {tuple(other.shape)} cannot share them"
        )
    model.decoder.get_input_embeddings().weight = table
    model.decoder.get_output_embeddings().weight = table


def unshare(model: Any) -> None:
    """Give the decoder a copy of the table; its output layer stays tied to its own."""
    table = nn.Parameter(model.encoder.get_input_embeddings().weight.detach().clone())
    model.decoder.get_input_embeddings().weight = table
    model.decoder.get_output_embeddings().weight = table
