"""Pairs of word sets in files, a JSON object for each document, in the layout of the released code.

    {"doc_id": "471", "rep_word_sets": [[["drag wing", -13.2], ["flow theory", -17.9]], ...],
     "bert_tokenized_content": ["the", "boundary", ...]}

The code that reads it takes the first set of a pair as the better one if its score is higher, and else the
second; so the better set is written first, and of equal sets last.

A folder gets files of `DOCUMENTS` documents each, whole or not at all, and an interrupted export goes on. One
file is written at once. Either way the bytes do not depend on the workers.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from nonet.data.parallel import ordered_map
from nonet.data.shard_index import same_settings
from nonet.errors import UserError, needs
from nonet.files import replacing, write_json
from prop_ir.word_sets import PairSampler

DOCUMENTS = 4096  # of a file in a folder, and of what a worker does at once
INDEX = "pairs.json"
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")


class Lines:
    """The JSON lines of some documents' pairs; it pickles as its sampler does.

    Args:
        sampler: draws the pairs.
        epoch: which epoch's.
        each: pairs of a document.
        vocabulary: the tokenizer's pieces by number, to write the documents' pieces too; none: they are left
            out.
    """

    def __init__(
        self, sampler: PairSampler, epoch: int, each: int, vocabulary: Sequence[str] | None = None
    ) -> None:
        self.sampler, self.epoch, self.each, self.vocabulary = sampler, epoch, each, vocabulary

    def __call__(self, rows: NDArray[np.int64]) -> bytes:
        """UTF-8 lines, one for each row."""
        store, each = self.sampler.store, self.each
        batch = self.sampler.pairs(rows, self.epoch, each)
        names, types = store.ids, store.types
        ends = batch.offsets.tolist()
        sets = [
            [" ".join([types[t] for t in flat[a:b]]) for a, b in pairwise(ends)]
            for flat in (batch.positive.tolist(), batch.negative.tolist())
        ]
        scores = batch.positive_score.tolist(), batch.negative_score.tolist()
        lines = []
        for r, row in enumerate(rows.tolist()):
            pairs: list[list[list[Any]]] = []
            for i in range(r * each, (r + 1) * each):
                better, worse = ([words[i], score[i]] for words, score in zip(sets, scores, strict=True))
                pairs.append([better, worse] if better[1] > worse[1] else [worse, better])
            line: dict[str, Any] = {"doc_id": names[row], "rep_word_sets": pairs}
            if self.vocabulary is not None:
                pieces = store.pieces(row).tolist()
                line["bert_tokenized_content"] = [self.vocabulary[piece] for piece in pieces]
            lines.append(json.dumps(line, ensure_ascii=False))
        return ("\n".join(lines) + "\n").encode()


def vocabulary_of(tokenizer: Any) -> list[str]:
    """A tokenizer's pieces by number."""
    numbers: dict[str, int] = tokenizer.get_vocab()
    pieces = [""] * (max(numbers.values()) + 1)
    for piece, number in numbers.items():
        pieces[number] = piece
    return pieces


def check_target(path: Path) -> None:
    """Refuse a place that an export cannot go to, before anything is done.

    Raises:
        UserError: the file is there already, or the folder holds something else.
    """
    if path.name.endswith(SUFFIXES):
        if path.exists():
            raise UserError(f"{path}: exists; name another file, or a folder for an export that can go on")
        if path.name.endswith(".zst"):
            needs("zstandard", to="write .zst files", install="nonet[text]")
    elif path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file, but not {', '.join(SUFFIXES)}; name one of these, or a folder")
    elif path.is_dir() and any(path.iterdir()) and not (path / INDEX).exists():
        raise UserError(f"{path}: holds other files; name an empty folder or a new one")


def export_pairs(
    lines: Lines,
    rows: NDArray[np.int64],
    path: Path,
    *,
    settings: dict[str, Any],
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
    progress: Callable[[int], None] = lambda documents: None,
) -> int:
    """Write the pairs of documents.

    Args:
        lines: makes the lines.
        rows: the documents, in the order to write.
        path: a file by the suffixes `SUFFIXES`, or a folder, which gets `pairs-00000.jsonl.zst` and so on.
        settings: what the lines depend on, as JSON values; a folder is gone on with only if they are equal.
        workers: processes; 0 draws in this one.
        engine: `local` processes, or `ray` for those of a Ray cluster.
        progress: called with the number of documents done since the last call.

    Returns:
        How many documents were there already.

    Raises:
        UserError: see `check_target`; or the folder was begun with other settings.
    """
    check_target(path)
    parts = [rows[first : first + DOCUMENTS] for first in range(0, len(rows), DOCUMENTS)]
    if path.name.endswith(SUFFIXES):
        with _packed(path) as target:
            made: Iterator[bytes] = ordered_map(lines, parts, workers=workers, engine=engine)
            for part, text in zip(parts, made, strict=True):
                target.write(text)
                progress(len(part))
        return 0
    index = path / INDEX
    if index.exists():
        same_settings(path, json.loads(index.read_text(encoding="utf-8")), settings)
    else:
        write_json(index, settings)
    files = [path / f"pairs-{number:05d}.jsonl.zst" for number in range(len(parts))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    there = len(rows) - sum(len(parts[number]) for number in missing)
    progress(there)
    made = ordered_map(lines, [parts[number] for number in missing], workers=workers, engine=engine)
    for number, text in zip(missing, made, strict=True):
        with _packed(files[number]) as target:
            target.write(text)
        progress(len(parts[number]))
    return there


@contextmanager
def _packed(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, packed as its name says; the same text gives the same bytes."""
    with replacing(path) as part, open(part, "wb") as raw, ExitStack() as stack:
        target: Any = raw
        if path.suffix == ".gz":  # no name and no time in it
            target = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
        elif path.suffix == ".zst":
            zstandard: Any = needs("zstandard", to="write .zst files", install="nonet[text]")
            target = stack.enter_context(zstandard.ZstdCompressor().stream_writer(raw, closefd=False))
        yield target
