"""Text to ids and back, with the id layout of PEGASUS (Zhang et al. 2020; released code).

A SentencePiece model supplies the pieces; its ids from 2 on are shifted by 103 so that there is room for

    0 pad    1 end    2 sentence mask    3 word mask    4..104 reserved    105 unknown    106.. pieces

A newline is the piece `<n>`. It is made from newlines alone: text that happens to contain `<n>`, `<mask_1>`,
`<pad>` or `</s>` is spelt with ordinary pieces and comes back as it was. Masks are put in as ids alone.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from nonet.errors import UserError
from nonet.files import replacing
from pegasus import sentencepiece_model, tokenizer_files

OFFSET = 103
"""what is added to a SentencePiece id above 1"""
NEWLINE = "<n>"

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Ids:
    """The ids with a meaning of their own."""

    pad: int = 0
    eos: int = 1
    mask_sentence: int = 2
    mask_word: int = 3
    unk: int = 2 + OFFSET
    first_piece: int = 2 + OFFSET
    newline: int | None = None
    """the piece that stands for a newline; none if there is no `<n>`, then a newline counts as a space"""


class Tokenizer:
    """A SentencePiece model in the id layout of PEGASUS; it can be pickled."""

    def __init__(self, model: bytes, notes: Sequence[str] = ()) -> None:
        """Wrap a serialized SentencePiece model.

        Args:
            model: with pad 0, eos 1, unknown 2 and no beginning-of-sentence piece.
            notes: what had to be assumed when it was read, for `pegasus info`.

        Raises:
            UserError: the bytes are no such model.
        """
        self.model = model
        self.notes = tuple(notes)
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"these {len(model)} bytes are no SentencePiece model; spiece.model is expected"
            ) from error
        layout = tuple(
            f() for f in (self._pieces.pad_id, self._pieces.eos_id, self._pieces.unk_id, self._pieces.bos_id)
        )
        if layout != (0, 1, 2, -1):
            raise UserError(
                "the SentencePiece model has pad {}, eos {}, unknown {}, beginning {}; PEGASUS needs 0, 1, 2 "
                "and none (-1): train one with `pegasus tokenizer train`".format(*layout)
            )
        newline = self._pieces.piece_to_id(NEWLINE)
        self._newline = newline if newline != 2 else None
        self._inside: sentencepiece.SentencePieceProcessor | None = None
        self._starts_word: np.ndarray | None = None
        self.ids = Ids(newline=None if self._newline is None else self._newline + OFFSET)

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "notes": self.notes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["model"], state["notes"])  # type: ignore[misc]

    def __len__(self) -> int:
        """The vocabulary size V: pieces + 103."""
        return int(self._pieces.get_piece_size()) + OFFSET

    @property
    def sha256(self) -> str:
        """The SHA-256 of the SentencePiece model, in hexadecimal; the same number means the same ids."""
        return hashlib.sha256(self.model).hexdigest()

    @property
    def starts_word(self) -> np.ndarray:
        """(V,) bool: which ids begin a word. Pieces with the boundary symbol do, and so does the newline."""
        if self._starts_word is None:
            table = np.zeros(len(self), bool)
            for i in range(3, len(self) - OFFSET):
                table[i + OFFSET] = self._pieces.id_to_piece(i).startswith("\u2581") or i == self._newline
            table.flags.writeable = False
            self._starts_word = table
        return self._starts_word

    # To ids

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without EOS; leading, trailing and repeated spaces are dropped."""
        return self.encode_sentences([text])[0].tolist()  # type: ignore[no-any-return]

    def encode_sentences(
        self, sentences: Sequence[str], *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""The ids of many texts, each encoded by itself, without EOS.

        Args:
            sentences: n texts; `\r\n` and `\r` count as `\n`.
            threads: threads to encode with; the result does not depend on it.

        Returns:
            ids: (P,) int32, one text after the other.
            ends: (n,) int64, where each text ends in `ids`.
        """
        symbol = " " if self._newline is None else NEWLINE
        texts = [
            sentence if sentence.isprintable() else _mended(sentence).replace("\n", symbol)
            for sentence in sentences
        ]
        pieces = self._pieces.encode(texts, return_type="numpy", num_threads=threads)
        for i, sentence in enumerate(sentences):
            # A newline piece that no newline accounts for was spelt out, or became one by normalisation.
            if self._newline is not None and (NEWLINE in sentence or _may_become_newline(sentence)):
                pieces[i] = self._spelt_out(sentence)
        ends = np.cumsum([len(part) for part in pieces], dtype=np.int64)
        ids = np.concatenate(pieces) if pieces else np.empty(0, np.int32)
        return ids + np.int32(OFFSET), ends

    def _spelt_out(self, text: str) -> np.ndarray:
        """SentencePiece ids of a text whose literal `<n>` must stay three characters: cut after each `<`."""
        text = unicodedata.normalize("NFKC", _mended(text))
        parts = text.split(NEWLINE)
        parts = [
            ("" if i == 0 else NEWLINE[1:]) + part + ("" if i == len(parts) - 1 else NEWLINE[:1])
            for i, part in enumerate(parts)
        ]
        if self._inside is None:
            self._inside = sentencepiece.SentencePieceProcessor()
            self._inside.LoadFromSerializedProto(sentencepiece_model.without_dummy_prefix(self.model))
        first, *rest = (part.replace("\n", NEWLINE) for part in parts)
        encoded = [self._pieces.encode(first, return_type="numpy")]
        encoded += [self._inside.encode(part, return_type="numpy") for part in rest]
        return np.concatenate(encoded)

    # To text

    def decode(self, ids: Iterable[int] | np.ndarray, *, reserved: bool = False) -> str:
        """The text of ids.

        Args:
            ids: V > id >= 0; what follows the first EOS is left out.
            reserved: write pad, end, masks and reserved ids as `<pad>`, `</s>`, `<mask_1>`, ..., and go on
                after EOS; for people who look at examples.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        values = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.int64)
        if values.size and not 0 <= values.min() <= values.max() < len(self):
            bad = values[(values < 0) | (values >= len(self))][0]
            raise ValueError(f"id {bad} is outside the vocabulary of {len(self)} ids")
        if not reserved:
            return self._text(_until_end(values))
        cuts = np.flatnonzero(values < self.ids.first_piece)
        parts = []
        for begin, end in zip([0, *(cuts + 1)], [*cuts, len(values)], strict=True):
            parts.append(self._text(values[begin:end]))
            if end < len(values):
                parts.append(tokenizer_files.reserved_names()[values[end]])
        return " ".join(part for part in parts if part)

    def decode_batch(self, rows: Iterable[Iterable[int] | np.ndarray]) -> list[str]:
        """The text of each row of ids, as `decode` gives it."""
        return [self.decode(row) for row in rows]

    def _text(self, values: np.ndarray) -> str:
        pieces = values[values >= self.ids.first_piece] - OFFSET
        if self._newline is None:
            return str(self._pieces.decode(pieces.tolist()))
        cuts = np.flatnonzero(pieces == self._newline)
        if not len(cuts):
            return str(self._pieces.decode(pieces.tolist()))
        # SentencePiece drops the space before a text's first word; a line after a newline keeps it.
        lines = [
            pieces[: cuts[0]],
            *(pieces[i:j] for i, j in zip(cuts, [*cuts[1:], len(pieces)], strict=True)),
        ]
        first, *rest = self._pieces.decode([line.tolist() for line in lines])
        return "".join([first, *("\n" + line.removeprefix(NEWLINE) for line in rest)])

    # To and from files

    @classmethod
    def load(cls, source: str | Path) -> "Tokenizer":
        """Read a tokenizer from our folder, a Hugging Face folder, or a SentencePiece file.

        Args:
            source: a `.model` file, or a folder with `spiece.model` (or one other `.model` file) or
                `tokenizer.json`.

        Raises:
            UserError: nothing of the kind is there, or its ids are laid out for another model.
        """
        model, notes = tokenizer_files.read(Path(source))
        try:
            return cls(model, notes)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error

    def save(self, folder: str | Path) -> None:
        """Write `spiece.model`, `tokenizer.json` and `tokenizer_config.json`.

        `transformers.AutoTokenizer` and `PegasusTokenizer` load the folder with the same ids.
        """
        folder = Path(folder)
        with replacing(folder / "spiece.model") as part:
            part.write_bytes(self.model)
        tokenizer_files.write_json_files(folder, sentencepiece_model.parse(self.model))

    save_pretrained = save  # what transformers and `nonet.training.hub.save_folder` call it

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, out: str | Path | None = None, **options: Any
    ) -> "Tokenizer":
        """Learn a vocabulary; see `pegasus.tokenizer_training.train` for the options."""
        from pegasus.tokenizer_training import train

        tokenizer = cls(train(texts, vocab_size, **options))
        if out is not None:
            tokenizer.save(out)
        return tokenizer


def _mended(text: str) -> str:
    """The text with one kind of newline, without NUL characters, and without halves of surrogate pairs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return _SURROGATE.sub("\ufffd", text)


def _may_become_newline(text: str) -> bool:
    """Whether compatibility characters (full-width brackets, say) spell `<n>` once they are normalised."""
    return not text.isascii() and NEWLINE in unicodedata.normalize("NFKC", text)


def _until_end(values: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(values == 1)
    return values[: ends[0]] if len(ends) else values


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a tokenizer is, in numbers: for `pegasus info`."""
    model = sentencepiece_model.parse(tokenizer.model)
    kinds = {sentencepiece_model.UNIGRAM: "unigram", sentencepiece_model.BPE: "bpe"}
    return {
        "vocabulary": len(tokenizer),
        "pieces": len(model.pieces),
        "characters": sum(
            len(text.removeprefix("\u2581")) == 1 for text, _, kind in model.pieces if kind == 1
        ),
        "type": kinds.get(model.model_type, f"type {model.model_type}"),
        **{f"{name} id": value for name, value in asdict(tokenizer.ids).items()},
        "sha256": tokenizer.sha256,
        "notes": "; ".join(tokenizer.notes) or "none",
    }
