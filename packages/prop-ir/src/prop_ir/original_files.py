"""The files that the released code writes on its way (`prop/*.py`, Ma et al. 2021), read into our layout.

    bert_tokenized_docs.json   a line a document: {id, contents: pieces}, of at most 512 words
    doc_tf_file.json           a line a document: {id, tf: {word: count}, word_num}
    corpus_tf_file.json, corpus_df_file.json, info_file.json      totals of these
    stem2pos_file.json         stem -> {form: count}, where it was run with --stem
    instances_epoch_0.json     a line a document: {doc_id, rep_word_sets, bert_tokenized_content}
    epoch_0.json               a line a row: {input_ids, segment_ids, masked_lm_positions, masked_label_ids,
                               label}; a pair is two lines, the better set first
    epoch_0_metrics.json       {num_training_examples, max_seq_len}

A store made of them has lost the order of words: every word stands as often as it occurs, in the order of
first occurrence. A stem is written as its most frequent form, so that counts are those of stems.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nonet.data.text import Record, TextReader
from nonet.data.text_sources import Tally
from nonet.errors import UserError
from nonet.files import sha256
from prop_ir.building import Existing, refuse, remove_store, write_store
from prop_ir.documents import Document, checked_id, unique
from prop_ir.encoding import NO_PIECES, NO_WORDS, Encoded, Encoder
from prop_ir.options import WordOptions
from prop_ir.pieces import PieceEncoder, Pieces, backend_of, tokenizer_hash
from prop_ir.store import Store
from prop_ir.words import CountedWords, Words

PIECES = "bert_tokenized_docs.json"
FREQUENCIES = "doc_tf_file.json"
TOTALS = "info_file.json"
FORMS = "stem2pos_file.json"


class OriginalPair(NamedTuple):
    """A pair of word sets of a document."""

    document: str
    positive: list[str]
    negative: list[str]
    positive_score: float
    negative_score: float


class OriginalRow(NamedTuple):
    """What the model reads, with its masks."""

    input_ids: list[int]
    segment_ids: list[int]
    masked_positions: list[int]
    masked_ids: list[int]


def is_original(folder: Path) -> bool:
    """Whether a folder has what `import_original` reads."""
    return (folder / PIECES).is_file() and (folder / FREQUENCIES).is_file()


def import_original(
    folder: Path | str,
    tokenizer: Any,
    out: Path | str,
    *,
    max_pieces: int = 509,
    workers: int = 0,
    existing: Existing = "refuse",
) -> Store:
    """A store of what the released `preprocessing_data.py` has written.

    Args:
        folder: with bert_tokenized_docs.json and doc_tf_file.json; info_file.json is compared if it is there,
            and stem2pos_file.json says that words are stems.
        tokenizer: the one that the pieces are from: transformers' fast one, or of tokenizers.
        out: folder of the store.
        max_pieces: word pieces kept of a document.
        workers: encoding processes; 0 encodes in this one.
        existing: what a complete store in `out` leads to; see `build_store`.

    Raises:
        UserError: a file is missing, the files are not of one run, or a piece is unknown to the tokenizer.
    """
    folder, out = Path(folder), Path(out)
    for name in (PIECES, FREQUENCIES):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: no {name} here; name the folder that preprocessing_data.py wrote")
    refuse(out, existing)
    told = _total_words(folder / TOTALS) if (folder / TOTALS).is_file() else None
    forms = _forms(folder / FORMS) if (folder / FORMS).is_file() else {}
    options = WordOptions()
    vocabulary = backend_of(tokenizer).get_vocab(with_added_tokens=True)
    encoder = OriginalEncoder(PieceEncoder(tokenizer, max_pieces), Words(options), vocabulary, forms)
    about = {
        "tokenizer": tokenizer_hash(tokenizer),
        "vocabulary": encoder.pieces.vocabulary,
        "words": asdict(options),
        "max_pieces": max_pieces,
        "source": {"original": sha256(folder / FREQUENCIES), "stems": bool(forms)},
    }
    read = Counter[str]()
    documents = unique(_documents(folder), read, "skip")
    encoder.check(next(documents, None), folder)
    store, counts = write_store(
        unique(_documents(folder), read, "skip"), encoder, out, about,
        existing=existing, workers=workers, read=lambda: read,
    )  # fmt: skip
    if told not in (None, counts["words"]) and not read["duplicates"]:
        remove_store(out)
        raise UserError(
            f"{folder}: {TOTALS} says {told} words, {FREQUENCIES} has {counts['words']}: not of one run"
        )
    return store


class OriginalEncoder(Encoder):
    """Encodes documents whose text is a line of doc_tf_file.json and one of bert_tokenized_docs.json.

    Args:
        pieces: for the sizes, and for types.
        words: what the released code counts.
        vocabulary: piece -> id.
        forms: stem -> the form that it is written as; empty for words.
    """

    def __init__(
        self, pieces: PieceEncoder, words: Words, vocabulary: dict[str, int], forms: dict[str, str]
    ) -> None:
        super().__init__(pieces, words)
        self.vocabulary, self.forms = vocabulary, forms

    def check(self, document: Document | None, folder: Path) -> None:
        """Refuse files without documents, and pieces of another tokenizer, before anything is written."""
        if document is None:
            raise UserError(f"{folder / FREQUENCIES}: has no documents")
        _, pieces = map(json.loads, document.text.split("\n"))
        self._ids(pieces, document)

    def _encode(self, documents: list[Document]) -> Encoded:
        numbers: dict[str, int] = {}
        reasons: list[str] = []
        flat: list[np.ndarray] = [np.zeros(0, np.int64)]
        pieces: list[np.ndarray] = [np.zeros(0, self.pieces.dtype)]
        starts: list[np.ndarray] = [np.zeros(0, bool)]
        after: list[int] = []
        df: Counter[int] = Counter()
        for document in documents:
            frequencies, contents = map(json.loads, document.text.split("\n"))
            reasons.append("" if frequencies and contents else NO_PIECES if frequencies else NO_WORDS)
            if reasons[-1]:
                continue
            kept = contents[: self.pieces.max_pieces]
            words = [numbers.setdefault(self.forms.get(word, word), len(numbers)) for word in frequencies]
            flat.append(np.repeat(np.array(words, np.int64), list(frequencies.values())))
            pieces.append(np.array(self._ids(kept, document), self.pieces.dtype))
            starts.append(np.array([not piece.startswith("##") for piece in kept], bool))
            after.append(len(numbers))
            df.update(words)
        return Encoded(
            [document.id for document in documents],
            reasons,
            Pieces(np.concatenate(pieces), np.concatenate(starts), np.cumsum([len(part) for part in pieces])),
            CountedWords(
                list(numbers),
                np.concatenate(flat).astype(np.uint32),
                np.cumsum([len(part) for part in flat]),
                np.array(after, np.int64),
            ),
            np.array([df[number] for number in range(len(numbers))], np.int64),
        )

    def _ids(self, pieces: list[str], document: Document) -> list[int]:
        unknown = next((piece for piece in pieces if piece not in self.vocabulary), None)
        if unknown is not None:
            raise UserError(
                f"{document.where}: piece {unknown!r} of document {document.id!r} is none of this "
                "tokenizer's; name the one that the files were made with"
            )
        return [self.vocabulary[piece] for piece in pieces]


def read_instances(path: Path | str) -> Iterator[OriginalPair]:
    """The pairs of word sets in an `instances_epoch_N.json`; of equal scores the second set is the better.

    Args:
        path: the file, also packed as .gz or .zst.

    Raises:
        UserError: it is missing, or a line is none of such a file.
    """
    for record in _lines(Path(path)):
        try:
            name = str(record.fields["doc_id"])
            for (first, score1), (second, score2) in record.fields["rep_word_sets"]:
                one, two = (first.split(), float(score1)), (second.split(), float(score2))
                better, worse = (one, two) if one[1] > two[1] else (two, one)
                yield OriginalPair(name, better[0], worse[0], better[1], worse[1])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{record.where}: no line of word sets ({type(error).__name__}: {error}); "
                "name an instances_epoch_N.json"
            ) from error


def read_rows(path: Path | str) -> Iterator[tuple[OriginalRow, OriginalRow]]:
    """The training rows of an `epoch_N.json` in pairs, the better set first.

    Args:
        path: the file, also packed as .gz or .zst.

    Raises:
        UserError: it is missing, a line is none of such a file, or rows do not come in pairs.
    """
    names = ("input_ids", "segment_ids", "masked_lm_positions", "masked_label_ids")
    held: OriginalRow | None = None
    where = str(path)
    for record in _lines(Path(path)):
        where = record.where
        try:
            row = OriginalRow(*(record.fields[name] for name in names))
            label = record.fields["label"]
        except KeyError as error:
            raise UserError(f"{where}: no training row (no {error}); name an epoch_N.json") from error
        if label != (1 if held is None else 0):
            raise UserError(f"{where}: label {label}; rows come in pairs with labels 1 and 0")
        if held is None:
            held = row
        else:
            yield held, row
            held = None
    if held is not None:
        raise UserError(f"{where}: the last row has no partner; the file was cut")


def _lines(path: Path) -> Iterator[Record]:
    return iter(TextReader(path, format="jsonl"))


def _documents(folder: Path) -> Iterator[Document]:
    """Documents whose text is their frequencies and pieces, a JSON line each."""
    tally = Tally()
    for one, two in zip_longest(_lines(folder / FREQUENCIES), _lines(folder / PIECES)):
        if one is None or two is None or str(one.fields.get("id")) != str(two.fields.get("id")):
            where = (one or two).where
            raise UserError(
                f"{where}: {FREQUENCIES} and {PIECES} do not have the same documents in one order"
            )
        frequencies, pieces = one.fields.get("tf"), two.fields.get("contents")
        if not isinstance(frequencies, dict) or not isinstance(pieces, list):
            raise UserError(f"{one.where}: no line of {{id, tf}} beside one of {{id, contents}}")
        name = checked_id(one.fields["id"], one.where, tally)
        text = "\n".join(json.dumps(part, ensure_ascii=False) for part in (frequencies, pieces))
        yield Document(str(name), text, one.where)


def _forms(path: Path) -> dict[str, str]:
    """Stem -> its most frequent form, the first in the alphabet of several."""
    try:
        stems = json.loads(path.read_text(encoding="utf-8"))
        return {stem: min(forms, key=lambda form: (-forms[form], form)) for stem, forms in stems.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no JSON of stem -> {{form: count}}: {error}") from error


def _total_words(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["total_word_num"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no total_word_num ({error}); take it away or write it again") from error
