"""Tokenizers for captions: one by its name, or word pieces learnt from the captions themselves.

WordPiece (Schuster and Nakajima 2012) with BERT's normalisation and special tokens, learnt by Hugging Face's
`tokenizers`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.training.hub import local_folder
from nonet.vision_language.pair_folders import load_tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
LEAST_COUNT = 2  # times that a pair of pieces is met before it becomes one piece


def named_tokenizer(name: str | os.PathLike[str]) -> Any:
    """The tokenizer of a folder (such as one that `train_tokenizer` wrote, or a model's) or of the hub.

    Raises:
        UserError: there is none.
    """
    path = Path(name).expanduser()
    if path.is_file() and path.name == "vocab.txt":
        path = path.parent
    folder = path if path.is_dir() else local_folder(os.fspath(name))
    found = load_tokenizer(folder)
    if found is None:
        raise UserError(f"{name}: no tokenizer in it (tokenizer.json or vocab.txt)")
    return found


def train_tokenizer(captions: Iterable[str], size: int = 8000, *, max_length: int = 512) -> Any:
    """Word pieces learnt from captions, as BERT's tokenizer.

    Args:
        captions: texts.
        size: word pieces at most, with the five special tokens.
        max_length: word pieces of a text that the tokenizer says it is made for.

    Returns:
        A `transformers.BertTokenizer`; the same captions give the same one.

    Raises:
        UserError: no captions, or a size below that of the alphabet.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    texts = list(captions)
    model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    model.normalizer = normalizers.BertNormalizer(lowercase=True)
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    signs = sorted({sign for text in texts for sign in model.normalizer.normalize_str(text)} - {" "})
    if not signs:
        raise UserError("no captions to learn word pieces from")
    # The trainer numbers continued characters in the order of a hash table, and breaks ties by these numbers:
    # named beforehand, they make the result the same in every process.
    named = [*SPECIAL, *signs, *(f"##{sign}" for sign in signs)]
    if len(named) > size:
        raise UserError(
            f"{size} word pieces are too few: characters and special tokens alone are {len(named)}"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=LEAST_COUNT, special_tokens=named, show_progress=False
    )
    model.train_from_iterator(texts, trainer)
    return BertTokenizer(vocab=model.get_vocab(), do_lower_case=True, model_max_length=max_length)
