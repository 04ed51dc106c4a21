"""The parts of a tagger: token classifiers from encoders of any form, tokenizers, folders (ours)."""

from pathlib import Path
from typing import Any

from keyphrase_plm.loading import NOTE, read_note
from keyphrase_plm.tags import LABELS
from keyphrase_plm.tokenizers import load_tokenizer
from nonet.errors import UserError
from nonet.training.hub import load_pretrained, local_or_hub

ROOMY = 10**6  # pieces, where positions are relative and a model sets no limit
VALUES = ("max_words", "max_pieces", "labels", "begin_weight", "inside_weight", "stem")


def load_classifier(name: str) -> tuple[Any, Any]:
    """A token classifier with O, B and I whose encoder has the weights of a checkpoint, and its tokenizer.

    The weights of other heads are left out. Those of the classifier are drawn from torch's generator.

    Raises:
        UserError: there is no such model, no token classifier of its kind, or part of the encoder is missing.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    where, level, bars = local_or_hub(name), logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # a new classifier is what is wanted, and transformers would warn of it
    logging.disable_progress_bar()
    try:
        model, info = AutoModelForTokenClassification.from_pretrained(
            where, output_loading_info=True, num_labels=len(LABELS), ignore_mismatched_sizes=True,
            id2label=dict(enumerate(LABELS)), label2id={label: at for at, label in enumerate(LABELS)},
        )  # fmt: skip
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: cannot be loaded as a token classifier: {reason}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    inner = f"{model.base_model_prefix}."
    other_shape = [entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]]
    lost = sorted(key for key in [*info["missing_keys"], *other_shape] if key.startswith(inner))
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(f"{name}: {lost[0]}{more} missing or of another shape: the checkpoint is no encoder")
    return model, load_tokenizer(name, words=True)


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special ids that a tokenizer puts in front of a text and behind it; either may be empty."""
    coded = tokenizer(["a"], is_split_into_words=True, verbose=False)
    owners = coded.word_ids()
    inner = [at for at, owner in enumerate(owners) if owner is not None]
    ids = list(coded["input_ids"])
    if not inner:  # `a` has no piece: then nothing tells front from back but that one is first
        return ids[:1], ids[1:]
    return ids[: inner[0]], ids[inner[-1] + 1 :]


def most_pieces(config: Any) -> int:
    """The pieces that a model has positions for; RoBERTa's begin behind the padding's id."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or limit < 1:
        return ROOMY
    if "roberta" in config.model_type or config.model_type in ("camembert", "longformer", "mpnet"):
        return int(limit) - int(config.pad_token_id) - 1
    return int(limit)


def tiny_classifier(
    tokenizer: Any, *, seed: int, layers: int, width: int, heads: int, positions: int, dropout: float
) -> Any:
    """A BERT with random weights, which leave the caller's random numbers as they were."""
    import torch
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=positions, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)), label2id={label: at for at, label in enumerate(LABELS)},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForTokenClassification(config).eval()


def read_parts(folder: Path, *, crf_file: str) -> tuple[Any, Any, dict[str, Any], dict[str, Any] | None]:
    """Model, tokenizer, the constructor's values, and the CRF's weights or None, of a folder of a tagger.

    Raises:
        UserError: a file is missing or damaged, or the folder is of another family.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoModelForTokenClassification

    note = read_note(folder)
    if note["family"] != "tag":
        raise UserError(f"{folder}: is a model of family {note['family']}, not tag")
    if missing := [name for name in ("crf", *VALUES) if name not in note]:
        raise UserError(f"{folder / NOTE}: {', '.join(missing)} missing")
    weights = None
    if note["crf"]:
        try:
            weights = load_file(folder / crf_file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{folder / crf_file}: cannot be read: {error}") from error
    model = load_pretrained(AutoModelForTokenClassification, folder)
    return model, load_tokenizer(str(folder), words=True), {name: note[name] for name in VALUES}, weights
