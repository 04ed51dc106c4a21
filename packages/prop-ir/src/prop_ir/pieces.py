"""Word pieces of a document's beginning, with the places where words begin, by any fast tokenizer (ours).

Only as much text is tokenised as the pieces that are kept need, and the result is that of the whole text.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nonet.errors import UserError

SETTLED = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel", "Metaspace"}
"""pre-tokenizers that cut at every blank, so that text behind a blank cannot change the pieces before it"""

_WORDS_A_PIECE = 0.85  # a first guess: English has about 1.25 pieces a word
_ENCODED = 4096  # types that are tokenised at once

Ids = NDArray[np.uint16] | NDArray[np.uint32]


class Pieces(NamedTuple):
    """The pieces of some texts."""

    flat: Ids
    """(n,) piece ids of all texts, one text after the other; uint16, or uint32 for large vocabularies"""
    starts: NDArray[np.bool_]
    """(n,) True where a word of the tokenizer's begins"""
    offsets: NDArray[np.int64]
    """(texts + 1,) where each text begins"""


def load_tokenizer(name: str | Path) -> Any:
    """A tokenizer of transformers.

    Args:
        name: a folder with a tokenizer, or a name on the hub.

    Raises:
        UserError: none there, or one without a fast implementation.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from nonet.training.hub import local_folder

    path = Path(name)
    if not (path.is_dir() and (path / "tokenizer.json").is_file()):
        path = local_folder(name)
    try:
        if (path / "config.json").is_file() or (path / "tokenizer_config.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        else:
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception for files that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: holds no tokenizer that can be read: {reason}") from error
    backend_of(tokenizer)
    return tokenizer


def backend_of(tokenizer: Any) -> Tokenizer:
    """The fast tokenizer within one of transformers; a fast tokenizer is itself.

    Raises:
        UserError: it has none.
    """
    backend = tokenizer if isinstance(tokenizer, Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        kind = type(tokenizer).__name__
        raise UserError(f"{kind} is no fast tokenizer; save it with its tokenizer.json, or take another")
    return backend


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of what decides on the pieces: vocabulary, merges, normaliser and the cutting of words.

    Truncation, padding, and the pieces that are put around a text have no part in it.
    """
    parts = json.loads(backend_of(tokenizer).to_str())
    deciding = {name: parts.get(name) for name in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


class PieceEncoder:
    """Makes pieces of texts, at most `max_pieces` of each, without special ones; it can be pickled.

    Args:
        tokenizer: of transformers (fast), or of tokenizers.
        max_pieces: of a text.

    Raises:
        UserError: no fast tokenizer.
    """

    def __init__(self, tokenizer: Any, max_pieces: int) -> None:
        backend = backend_of(tokenizer)
        written = backend.to_str()
        parts = json.loads(written)
        self.vocabulary = max(backend.get_vocab().values(), default=0) + 1
        self.max_pieces = max_pieces
        self._tokenizer = Tokenizer.from_str(written)  # a copy, as the settings of the caller's stay
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        blank = any(re.search(r"\s", token["content"]) for token in parts["added_tokens"])
        self._settled = not blank and _cuts_at_blanks(parts["pre_tokenizer"])
        self._bert = parts["model"]["type"] == "WordPiece" and _kinds(parts["pre_tokenizer"]) == {
            "BertPreTokenizer"
        }
        self._prefix = parts["model"].get("continuing_subword_prefix", "")

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint16, or uint32 if the vocabulary has more than 65,536 pieces."""
        return np.dtype(np.uint16 if self.vocabulary <= 1 << 16 else np.uint32)

    def __call__(self, texts: Sequence[str]) -> Pieces:
        """The first pieces of each text, equal to those of tokenising it whole."""
        found: list[tuple[NDArray[Any], NDArray[np.bool_]]] = [self._nothing] * len(texts)
        waiting = list(range(len(texts)))
        words = int(self.max_pieces * _WORDS_A_PIECE) + 1
        while waiting:
            heads = [head(texts[i], words) if self._settled else texts[i] for i in waiting]
            short = []
            encodings = self._tokenizer.encode_batch(heads, add_special_tokens=False)
            for i, text, encoding in zip(waiting, heads, encodings, strict=True):
                ids = np.array(encoding.ids, self.dtype)
                if len(ids) < self.max_pieces and len(text) < len(texts[i]):
                    short.append(i)
                else:
                    ids = ids[: self.max_pieces]
                    found[i] = ids, self._starts(encoding, ids, text)
            waiting, words = short, words * 2
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(ids) for ids, _ in found], out=offsets[1:])
        flat = np.concatenate([self._nothing[0], *(ids for ids, _ in found)])
        starts = np.concatenate([self._nothing[1], *(begin for _, begin in found)])
        return Pieces(flat, starts, offsets)

    def of_words(self, words: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        """The pieces of words as they are within a text, behind a blank.

        Args:
            words: words, each on its own.

        Returns:
            (n,) pieces of all words, and (words + 1,) where each word begins.
        """
        lists: list[NDArray[Any]] = [self._nothing[0]]
        for first in range(0, len(words), _ENCODED):
            texts = [f" {word}" for word in words[first : first + _ENCODED]]
            encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
            lists += [np.array(encoding.ids, self.dtype) for encoding in encodings]
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(ids) for ids in lists[1:]], out=offsets[1:])
        return np.concatenate(lists), offsets

    @cached_property
    def _nothing(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return np.zeros(0, self.dtype), np.zeros(0, bool)

    @cached_property
    def _begins(self) -> NDArray[np.bool_]:
        """(vocabulary,) whether a piece of WordPiece begins a word; BERT's words hold no mark inside."""
        begins = np.ones(self.vocabulary, bool)
        for piece, number in self._tokenizer.get_vocab().items():
            begins[number] = not piece.startswith(self._prefix)
        return begins

    def _starts(self, encoding: Any, ids: NDArray[Any], text: str) -> NDArray[np.bool_]:
        if self._bert:  # the same as by word numbers, which take as long as a tenth of the tokenising
            return self._begins[ids]
        words = np.array([-1 if word is None else word for word in encoding.word_ids[: len(ids)]], np.int64)
        starts = np.ones(len(ids), bool)
        if len(ids) and (words == words[0]).all() and not self._settled:  # one "word": cut at blanks instead
            places = [begin for begin, _ in encoding.offsets[: len(ids)]]
            starts[1:] = [text[p : p + 1].isspace() or text[p - 1 : p].isspace() for p in places[1:]]
        else:
            starts[1:] = words[1:] != words[:-1]
        return starts


def head(text: str, words: int) -> str:
    """The text up to the end of its first `words` runs of anything but blanks; the whole of a shorter one."""
    found = re.match(rf"[ \t\r\n]*+(?:[^ \t\r\n]++[ \t\r\n]++){{{words}}}", text)
    return found.group().rstrip(" \t\r\n") if found else text


def _cuts_at_blanks(pre_tokenizer: Any) -> bool:
    """Whether a pre-tokenizer surely cuts at blanks; where nobody knows, whole texts are tokenised."""
    if pre_tokenizer is None:
        return False
    if pre_tokenizer["type"] == "Sequence":
        return any(map(_cuts_at_blanks, pre_tokenizer["pretokenizers"]))
    if pre_tokenizer["type"] == "ByteLevel":
        return bool(pre_tokenizer.get("use_regex", True))
    if pre_tokenizer["type"] == "Metaspace":
        return bool(pre_tokenizer.get("split", True))
    return pre_tokenizer["type"] in SETTLED


def _kinds(pre_tokenizer: Any) -> set[str]:
    if pre_tokenizer is None:
        return set()
    if pre_tokenizer["type"] == "Sequence":
        return set().union(*map(_kinds, pre_tokenizer["pretokenizers"]))
    return {pre_tokenizer["type"]}
