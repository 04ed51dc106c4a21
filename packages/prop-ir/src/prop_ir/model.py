"""A cross-encoder with a ranking head and a masked-word head over one pass (Ma et al. 2021, section 3.3).

Both parts are transformers' own classes, whatever the encoder: the ranker is the one for sequence
classification with one output, so that its folder is an ordinary model; the masked-word head is that of the
encoder's class for masked language modelling, run on the masked positions alone.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from nonet.errors import UserError
from nonet.files import replacing
from nonet.training.hub import load_account, save_folder
from prop_ir.loading import config_of, drawing, load_kind
from prop_ir.masked_words import MaskedWordHead
from prop_ir.pieces import load_tokenizer

# Shapes: R rows (pairs of query and document), L pieces, H width, M masked pieces.

Head = Literal["keep", "new", "require"]
Say = Callable[[str], None]

HEAD_FILE = "mlm_head.safetensors"
"""the masked-word head beside the ranker's model.safetensors, under the names of transformers"""
UNTRAINED = 0.012
"""std of a pooler's weights below which it is taken for untrained: BERT's are drawn with 0.02 and grow, the
MiniLM sentence encoders have 0.009"""
RAW_SCORES = {"activation_fn": "torch.nn.modules.linear.Identity"}
"""read by sentence-transformers' CrossEncoder, which would else put a sigmoid on the score"""


class PropModel(nn.Module):
    """A ranker and a masked-word head that read the same pass of one encoder.

    Args:
        ranker: transformers' model for sequence classification with one output.
        words: the masked-word head; it shares the input embeddings of the ranker.
    """

    def __init__(self, ranker: PreTrainedModel, words: MaskedWordHead) -> None:
        super().__init__()
        self.ranker, self.words = ranker, words
        self.segments = reads_segments(ranker)
        self._hidden: Tensor | None = None
        ranker.base_model.register_forward_hook(self._keep)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scores, and what the masked-word head makes of the masked positions.

        Args:
            batch: `input_ids`, `token_type_ids`, `attention_mask` (R, L) and `masked` (M,), positions in the
                flattened (R * L); all int64.

        Returns:
            `scores` (R,) and `hidden` (M, E), which times the embeddings (V, E) plus `words.bias` are logits.
        """
        scores = self.ranker(**encoder_inputs(batch, self.segments)).logits.squeeze(-1)
        hidden, self._hidden = self._hidden, None
        assert hidden is not None
        rows = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch["masked"])
        return {"scores": scores, "hidden": self.words(rows)}

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, E), the input embeddings, and bias (V,) of the masked-word head's last layer."""
        own = self.words.weight
        return (self.ranker.get_input_embeddings().weight if own is None else own), self.words.bias

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Write the ranker as transformers does, and the masked-word head beside it."""
        save_ranker_files(self.ranker, folder)
        save_words(self.words, folder)

    def _keep(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._hidden = output[0]


def encoder_inputs(batch: dict[str, Tensor], segments: bool) -> dict[str, Tensor]:
    """What of a batch a ranker takes: ids and mask, and token types if it has any."""
    names = ("input_ids", "attention_mask", *(("token_type_ids",) if segments else ()))
    return {name: batch[name] for name in names}


def reads_segments(ranker: PreTrainedModel) -> bool:
    """Whether an encoder tells segments apart (BERT, ELECTRA); others refuse or ignore token types."""
    return int(getattr(ranker.config, "type_vocab_size", 0) or 0) > 1


def agree(tokenizer: Any, ranker: PreTrainedModel) -> None:
    """Have a tokenizer give what its ranker reads, as other programs feed the one with the other.

    Token types if and only if there are any, and no more pieces than there are positions.
    """
    names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    names += ["token_type_ids"] if reads_segments(ranker) else []
    tokenizer.model_input_names = names
    limit = longest_input(ranker)
    if limit is not None and tokenizer.model_max_length > limit:
        tokenizer.model_max_length = limit
    # what is saved
    tokenizer.init_kwargs |= {"model_input_names": names, "model_max_length": tokenizer.model_max_length}


def longest_input(ranker: PreTrainedModel) -> int | None:
    """Pieces that the table of positions has room for; None where positions are relative alone."""
    if not getattr(ranker.config, "position_biased_input", True):  # DeBERTa v2 and v3
        return None
    limit = getattr(ranker.config, "max_position_embeddings", None)
    for name, part in ranker.base_model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            # RoBERTa's positions begin after the padding's
            limit = part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return None if limit is None or limit < 1 else int(limit)


def load_ranker(
    name: str | Path, *, head: Head = "keep", seed: int = 0, say: Say = print
) -> tuple[PreTrainedModel, Any]:
    """A cross-encoder with one score, and its tokenizer.

    Args:
        name: folder or hub name of any encoder that transformers classifies sequences with.
        head: the ranking head (pooler and classifier); keep: as it is in the folder, what is missing is
            drawn; new: drawn anew, weights normal with std 1/sqrt(width); require: it must be there.
        seed: of what is drawn; the global generator is left as it was.
        say: takes remarks on missing weights.

    Returns:
        The ranker in float32 on the CPU, in evaluation mode, and the tokenizer.

    Raises:
        UserError: no such model, weights of another one, or, with `require`, no ranking head.
    """
    folder, config = config_of(name)
    with drawing(seed):
        ranker, info = load_kind(AutoModelForSequenceClassification, folder, config)
    ranking = ranking_head(ranker)
    absent = {*info["missing_keys"], *info["mismatched_keys"]}
    account(ranker, info, ranking, say=say)
    lost = sorted(absent & ranking)
    if head == "require" and lost:
        raise UserError(
            f"{name}: has no ranking head ({lost[0]} is missing), its scores would be random: pre-train or "
            "fine-tune it first, or say --init-head"
        )
    if head == "new":
        draw_head(ranker, ranking, seed=seed)
    elif lost:
        draw_head(ranker, set(lost), seed=seed, std=float(getattr(config, "initializer_range", 0.02)))
        say(f"{name}: drawn anew, as the folder lacks it: {', '.join(lost)}")
    if head == "keep":
        warn_untrained(ranker, ranking - set(lost), name, say)
    return ranker.eval(), load_tokenizer(folder)


def load_prop(
    name: str | Path, *, head: Head = "keep", seed: int = 0, say: Say = print
) -> tuple[PropModel, Any]:
    """A ranker with the masked-word head of its encoder, and its tokenizer; see `load_ranker`.

    The masked-word head comes from `mlm_head.safetensors`, else from the weights of a masked language model;
    what neither has is drawn, which is said once.

    Raises:
        UserError: as in `load_ranker`, or transformers has no masked language model of this kind.
    """
    ranker, tokenizer = load_ranker(name, head=head, seed=seed, say=say)
    folder, config = config_of(name)
    with drawing(seed + 1):
        words, missing = MaskedWordHead.load(folder, config, ranker.get_input_embeddings().weight)
    beside = folder / HEAD_FILE
    if beside.is_file():
        try:
            words.set_tensors(load_file(beside))
        except (SafetensorError, ValueError) as error:
            raise UserError(f"{beside}: not the masked-word head of this model: {error}") from error
    elif missing:
        say(f"{name}: no masked-word head in it; starts from random weights: {', '.join(missing)}")
    return PropModel(ranker, words), tokenizer


def ranking_head(ranker: PreTrainedModel) -> set[str]:
    """Names of the weights between the encoder's last layer and the score: pooler and classifier."""
    base = f"{ranker.base_model_prefix}."
    return {
        name
        for name, _ in ranker.named_parameters()
        if not name.startswith(base) or name.removeprefix(base).startswith("pooler.")
    }


@torch.no_grad()
def draw_head(ranker: PreTrainedModel, names: set[str], *, seed: int, std: float | None = None) -> None:
    """Draw weights of the ranking head: matrices normal, biases 0; norms keep their gains.

    Args:
        ranker: is changed.
        names: which of its weights.
        seed: of the draws.
        std: of the matrices; None: 1/sqrt(input width), so that scores of different inputs differ.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in ranker.named_parameters():
        if name in names and weight.ndim == 2:
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(drawn * (weight.shape[1] ** -0.5 if std is None else std))
        elif name in names and name.endswith("bias"):
            weight.zero_()


def warn_untrained(ranker: PreTrainedModel, names: set[str], where: str | Path, say: Say) -> None:
    """Say that a kept pooler looks as if it was never trained."""
    for name, weight in ranker.named_parameters():
        if name in names and weight.ndim == 2 and weight.shape[0] == weight.shape[1]:
            std = weight.std().item()
            if std < UNTRAINED:
                say(
                    f"{where}: {name} looks untrained (std {std:.3f}), all scores start nearly equal: "
                    "draw the head anew with --head new"
                )


def account(ranker: PreTrainedModel, info: dict[str, Any], ranking: set[str], *, say: Say) -> None:
    """Refuse weights of another model; heads may be missing, and other heads may be there.

    Raises:
        UserError: over a tenth of the encoder's weights does not fit.
    """
    base = f"{ranker.base_model_prefix}."
    missing = set(info["missing_keys"]) - ranking
    mismatched = set(info["mismatched_keys"]) - ranking
    unexpected = {name for name in info["unexpected_keys"] if name.startswith(base)}
    trunk = [name for name in ranker.state_dict() if name not in ranking]
    if missing or mismatched or unexpected:
        load_account(missing, unexpected, mismatched, len(trunk), say=say)


def save_ranker_files(ranker: PreTrainedModel, folder: str | Path, *, without: Collection[str] = ()) -> None:
    """Write config.json and model.safetensors as transformers and sentence-transformers read them.

    Args:
        ranker: with one score.
        folder: where.
        without: weights that are not written, as they mean nothing.
    """
    ranker.config.num_labels = 1
    ranker.config.sentence_transformers = dict(RAW_SCORES)
    kept = {name: value for name, value in ranker.state_dict().items() if name not in without}
    ranker.save_pretrained(folder, state_dict=kept)


def save_words(words: MaskedWordHead, folder: str | Path) -> None:
    """Write the masked-word head beside a ranker."""
    with replacing(Path(folder) / HEAD_FILE) as part:
        save_file(words.named_tensors(), part)


class _RankerFiles:
    def __init__(self, ranker: PreTrainedModel) -> None:
        self.ranker = ranker

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        save_ranker_files(self.ranker, folder)


def save_ranker(
    ranker: PreTrainedModel, tokenizer: Any, folder: str | Path, card: str, *, overwrite: bool = False
) -> Path:
    """Write a ranker as a folder, whole or not at all; see `nonet.training.hub.save_folder`."""
    agree(tokenizer, ranker)
    return save_folder(_RankerFiles(ranker), tokenizer, folder, card, overwrite=overwrite)


def save_prop(
    model: PropModel, tokenizer: Any, folder: str | Path, card: str, *, overwrite: bool = False
) -> Path:
    """Write ranker and masked-word head as a folder, whole or not at all.

    The folder is what `AutoModelForSequenceClassification` and sentence-transformers' `CrossEncoder` load;
    `mlm_head.safetensors` beside it is for going on with pre-training.
    """
    agree(tokenizer, model.ranker)
    return save_folder(model, tokenizer, folder, card, overwrite=overwrite)
