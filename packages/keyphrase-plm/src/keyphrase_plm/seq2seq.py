"""BART and T5 that write phrases (Wu et al. 2022, section on sequence-to-sequence models)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from keyphrase_plm.encoder_decoder import EncoderDecoder, special_ids
from keyphrase_plm.scibart_tokenizer import load_scibart_tokenizer, scibart_file
from keyphrase_plm.seq2seq_options import Seq2SeqOptions
from keyphrase_plm.sequences import SEP
from keyphrase_plm.tokenizers import load_tokenizer
from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_or_hub

T5_PREFIX = "generate keyphrases: "
ROOMY = 10**6  # pieces, where positions are relative and a model sets no limit


class Seq2Seq(EncoderDecoder):
    """A BART or T5 of transformers, or a checkpoint of their form such as KeyBART.

    Args:
        model: `BartForConditionalGeneration` or `T5ForConditionalGeneration`.
        tokenizer: fast, of transformers.
        prefix: text in front of the source; T5 is used to `"generate keyphrases: "`.
        max_source: longest source, in pieces with the special ones.
        max_target: longest target and output, likewise.
        targets: `"one2seq"`: all phrases; `"one2one"`: one phrase.
        label_smoothing: share of the target's probability that is spread over the vocabulary.
        between: text between title and body of a source.

    Raises:
        UserError: the model is of another kind, or has fewer positions.
    """

    name: ClassVar[str] = "seq2seq"
    notes = "prefix", "between", "max_source", "max_target", "targets", "label_smoothing"

    def __init__(
        self, model: Any, tokenizer: Any, *, prefix: str = "", max_source: int = 1024, max_target: int = 128,
        targets: str = "one2seq", label_smoothing: float = 0.0, between: str = SEP,
    ) -> None:  # fmt: skip
        kind = model.config.model_type
        if kind not in ("bart", "t5", "mt5"):
            raise UserError(f"a {kind} is not a sequence-to-sequence model known here: take BART or T5")
        limit = model.config.max_position_embeddings if kind == "bart" else ROOMY
        if max(max_source, max_target) > limit:
            raise UserError(
                f"max_source {max_source} or max_target {max_target} is beyond the model's {limit} positions"
            )
        start = model.config.decoder_start_token_id
        if start is None:
            raise UserError(
                "the model's config has no decoder_start_token_id, which a BART or T5 starts from"
            )
        front, back = special_ids(tokenizer)
        super().__init__(
            model, tokenizer, start=int(start), end=int(back[-1]), front=front,
            prefix=prefix, max_source=max_source, max_target=max_target, max_output=max_target,
            targets=targets, label_smoothing=label_smoothing, between=between,
        )  # fmt: skip

    def hidden(self, inputs: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """What goes into the output layer, (B, T, D), for decoder inputs (B, T)."""
        bart = self.model.config.model_type == "bart"
        decoder = self.model.model.decoder if bart else self.model.decoder
        hidden = decoder(
            input_ids=inputs, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
        )[0]
        if not bart and self.model.config.scale_decoder_outputs:
            hidden = hidden * self.model.config.d_model**-0.5
        return hidden  # type: ignore[no-any-return]

    def output(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, D) and bias (V,) of the output layer."""
        bias = self.model.final_logits_bias[0] if self.model.config.model_type == "bart" else None
        return self.model.lm_head.weight, bias

    @classmethod
    def create(cls, init: str, options: Seq2SeqOptions) -> "Seq2Seq":
        """A model to train, from weights of transformers.

        Args:
            init: folder or hub name of a BART or T5.
            options: lengths and targets.

        Raises:
            UserError: there is no such model, it is of another kind, or has fewer positions.
        """
        model, tokenizer = load_parts(init)
        prefix = options.prefix
        if prefix is None:
            prefix = T5_PREFIX if model.config.model_type in ("t5", "mt5") else ""
        return cls(
            model, tokenizer, prefix=prefix, max_source=options.max_source, max_target=options.max_target,
            targets=options.targets, label_smoothing=options.label_smoothing,
        )  # fmt: skip

    @classmethod
    def tiny(
        cls, tokenizer: Any, *, seed: int = 0, layers: int = 2, width: int = 32, heads: int = 2,
        positions: int = 128, dropout: float = 0.0, targets: str = "one2seq",
    ) -> "Seq2Seq":  # fmt: skip
        """A BART with random weights, for tests and made-up data.

        Args:
            tokenizer: with padding, begin and end.
            seed: of the weights.
            layers: of encoder and decoder, each.
            width: of the hidden states.
            heads: of attention.
            positions: longest source and target, in pieces.
            dropout: in training.
            targets: `"one2seq"` or `"one2one"`.
        """
        from keyphrase_plm.small_models import new_bart

        if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
            raise UserError(
                "the tokenizer has no begin and end tokens, as BART's has; train_vocabulary(kind='bpe') does"
            )
        model = new_bart(
            len(tokenizer), tokenizer, layers=layers, width=width, heads=heads, positions=positions,
            dropout=dropout, seed=seed,
        )  # fmt: skip
        return cls(model, tokenizer, max_source=positions, max_target=min(positions, 64), targets=targets)

    @classmethod
    def load(cls, folder: str | Path) -> "Seq2Seq":
        """Read a folder that `save` has written.

        Raises:
            UserError: a file is missing or damaged; it is named.
        """
        values = cls.noted(folder)
        return cls(*load_parts(str(folder)), **values)


def load_parts(name: str, *, say: Callable[[str], None] = print) -> tuple[Any, Any]:
    """Model and tokenizer of a BART or T5; `say` takes the account of weights that do not match.

    Raises:
        UserError: there is none, or it is of another kind.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    where = local_or_hub(name)
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: no config to be read: {' '.join(str(error).split())[:200]}") from error
    kind = config.model_type
    if kind not in ("bart", "t5", "mt5"):
        raise UserError(f"{name}: a {kind}, not a BART or T5")
    file = scibart_file(where) if kind == "bart" else None
    if file is not None:
        tokenizer = load_scibart_tokenizer(
            file, vocab_size=config.vocab_size, positions=config.max_position_embeddings
        )
        return load_pretrained(AutoModelForSeq2SeqLM, name, say=say), tokenizer
    return load_pretrained(AutoModelForSeq2SeqLM, name, say=say), load_tokenizer(name)
