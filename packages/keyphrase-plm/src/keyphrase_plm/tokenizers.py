"""The tokenizers of models: one way to load them for all families and for pre-training (ours)."""

from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.training.hub import local_or_hub


def load_tokenizer(name: str, *, words: bool = False) -> Any:
    """The tokenizer of a folder or hub name.

    Args:
        name: of the folder, or on the hub.
        words: for texts that are split into words, whose pieces have to be told apart. One that marks spaces,
            as RoBERTa's, is then told to put one in front of every word, or the pieces would be those of
            words' middles.

    Raises:
        UserError: there is none, it has no padding, or it is to tell words apart and is not fast.
    """
    from transformers import AutoTokenizer

    alone = (Path(name) / "tokenizer_config.json").is_file()  # a tokenizer may be there without a model
    where = name if alone else local_or_hub(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where)
        if words and getattr(tokenizer, "add_prefix_space", None) is False:
            tokenizer = AutoTokenizer.from_pretrained(where, add_prefix_space=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: no tokenizer to be read: {' '.join(str(error).split())[:200]}") from error
    if words:
        _set_spaces(tokenizer, name)
    if tokenizer.pad_token_id is None:
        raise UserError(f"{name}: the tokenizer has no padding token")
    return tokenizer


def _set_spaces(tokenizer: Any, name: str) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    if not tokenizer.is_fast:
        raise UserError(f"{name}: the tokenizer does not say which word a piece is of")
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(splitter, ByteLevel):
        splitter.add_prefix_space = True  # where the tokenizer's class has no such option
