"""Vocabularies for models from scratch: WordPiece as BERT's, byte-level BPE as BART's, by `tokenizers`.

The ids of the special tokens are those of the models that they are for: [PAD] [UNK] [CLS] [SEP] [MASK] are
0..4; <s> <pad> </s> <unk> are 0..3, and <mask> is the last one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np

from nonet.errors import UserError

BERT_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BART_MARKS = ["<s>", "<pad>", "</s>", "<unk>"]
BYTES = 256
ALPHABET = 1000
"""characters of a WordPiece vocabulary at most, as in BERT's training"""


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    *,
    kind: Literal["wordpiece", "bpe"],
    lower: bool = True,
    positions: int = 512,
) -> Any:
    """Learn a vocabulary from texts; the same texts give the same one.

    Args:
        texts: gone through twice, and not held; an iterator, which ends with its first loop, is.
        size: pieces at most, special ones among them.
        kind: `wordpiece` for encoders, `bpe` (byte-level) for BART.
        lower: lower-case first (WordPiece alone).
        positions: pieces of the longest input.

    Returns:
        A `PreTrainedTokenizerFast`.

    Raises:
        UserError: too small a size, or no text.
    """
    least = len(BERT_MARKS) + 1 if kind == "wordpiece" else BYTES + len(BART_MARKS) + 2
    if size < least:
        raise UserError(f"a {kind} vocabulary of {size} pieces is too small: it has at least {least}")
    tokenizer = (_wordpiece if kind == "wordpiece" else _byte_bpe)(texts, size, lower, positions)
    if kind == "wordpiece" and len(tokenizer) <= len(BERT_MARKS):
        raise UserError("there is no text to learn a vocabulary from")
    return tokenizer


def starts_word(tokenizer: Any) -> np.ndarray:
    """(V,) bool: which pieces begin a word; special tokens do.

    WordPiece marks the pieces that go on (`##`), byte-level BPE and SentencePiece those that begin, with
    U+0120 and U+2581 for the space.
    """
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    marks = [mark for mark in ("\u0120", "\u2581") if any(piece.startswith(mark) for piece in pieces)]
    special = set(tokenizer.all_special_tokens)
    if marks:
        return np.array([piece in special or piece.startswith(marks[0]) for piece in pieces])
    return np.array([not piece.startswith("##") for piece in pieces])


def _wordpiece(texts: Iterable[str], size: int, lower: bool, positions: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    texts = list(texts) if isinstance(texts, Iterator) else texts
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    characters = _alphabet(texts, backend.normalizer, min(ALPHABET, (size - len(BERT_MARKS)) // 2))
    first = [*BERT_MARKS, *characters, *(f"##{character}" for character in characters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=first, initial_alphabet=characters, limit_alphabet=len(characters),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(texts, trainer=trainer)
    # anew, for the trainer has made special tokens of what only had to have its place
    pieces = backend.get_vocab(with_added_tokens=True)
    normalizer, splitter = backend.normalizer, backend.pre_tokenizer
    backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.add_special_tokens(BERT_MARKS)
    ends = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=positions, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _alphabet(texts: Iterable[str], normalizer: Any, most: int) -> list[str]:
    """The commonest characters, sorted.

    Left to the trainer, their ids, and with them all ties between merges, would follow the order of a hash
    map, which is another one each time.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    counts = Counter({character: n for character, n in counts.items() if not character.isspace()})
    return sorted(sorted(counts, key=lambda character: (-counts[character], character))[:most])


def _byte_bpe(texts: Iterable[str], size: int, lower: bool, positions: int) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, special_tokens=BART_MARKS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    backend.train_from_iterator(texts, trainer=trainer)
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    ends = [(name, backend.token_to_id(name)) for name in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token=AddedToken("<mask>", lstrip=True),
        model_max_length=positions, clean_up_tokenization_spaces=False,
    )  # fmt: skip
