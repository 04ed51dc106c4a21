"""Builds a store from a collection: one reader, any number of encoding processes, one writer (ours).

The bytes written depend on the collection and the settings alone, not on the number or kind of workers, nor
on whether the build was interrupted. Types are numbered in the order of first appearance.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from nonet.data.parallel import ordered_map
from nonet.data.safetensors_file import write_tensors
from nonet.data.shard_index import INDEX, read_index
from nonet.data.shards import ShardWriter
from nonet.errors import UserError
from nonet.files import write_json
from prop_ir.collections import Collection
from prop_ir.documents import Document, unique
from prop_ir.encoding import Encoder
from prop_ir.options import WordOptions
from prop_ir.pieces import PieceEncoder, tokenizer_hash
from prop_ir.store import FORMAT, KIND, META, STATISTICS, Store, bytes_of_texts, is_store
from prop_ir.store_tally import StoreTally
from prop_ir.words import Words

SAMPLE = 200  # documents that are looked at before the work begins
SHARD = 65_536  # documents of a shard at most; 128 MB end it earlier

Existing = Literal["refuse", "resume", "overwrite"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def build_store(
    collection: Iterable[Document],
    tokenizer: Any,
    folder: Path | str,
    *,
    words: WordOptions | None = None,
    max_pieces: int = 509,
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
    on_error: Literal["fail", "skip"] = "fail",
    existing: Existing = "refuse",
    rows_per_shard: int = SHARD,
    progress: Callable[[int], None] | None = None,
) -> tuple[Store, Counter[str]]:
    """Tokenise and count a collection once, or go on where an interrupted build stopped.

    Args:
        collection: documents; a resumed build has to be given the same ones.
        tokenizer: of transformers (fast), or of tokenizers.
        folder: where the store goes.
        words: what a word of the language model is; None for the released code's.
        max_pieces: word pieces kept of a document.
        workers: encoding processes; 0 encodes in this one.
        engine: `local` processes, or `ray` for those of a Ray cluster.
        on_error: what a repeated document id leads to; `skip` leaves all but the first out. A `Collection`
            has its own rule.
        existing: what a complete store in the folder leads to: `refuse`, `resume` (it is returned if it was
            made with the same settings) or `overwrite`. An unfinished one is always gone on with, but for
            `overwrite`.
        rows_per_shard: documents after which a shard ends; an interrupted build repeats the last shard.
        progress: called with the number of documents done since the last call.

    Returns:
        The store, and counts of what was read: `read`, `documents` (kept), `left out: REASON`, `duplicates`,
        and what was mended in texts.

    Raises:
        UserError: no documents, or none that has a word; a repeated id; the folder holds something else, or
            was begun with other settings or another collection.
    """
    if max_pieces < 1 or workers < 0:
        raise UserError(f"max_pieces is {max_pieces}, workers {workers}; they are at least 1 and 0")
    found = Words(words)
    encoder = Encoder(PieceEncoder(tokenizer, max_pieces), found)
    folder = Path(folder)
    refuse(folder, existing)
    mended: Counter[str] = Counter()
    documents = _mended(collection, mended)
    if not isinstance(collection, Collection):
        documents = unique(documents, mended, on_error)
    sample = list(islice(documents, SAMPLE))
    _check_sample(sample, found)
    about = {
        "tokenizer": tokenizer_hash(tokenizer),
        "vocabulary": encoder.pieces.vocabulary,
        "words": asdict(found.options),
        "max_pieces": max_pieces,
        "source": collection.source if isinstance(collection, Collection) else {},
    }

    def read() -> Counter[str]:
        if isinstance(collection, Collection):
            mended.update({name: count for name, count in collection.counts.items() if name != "documents"})
        return mended

    return write_store(
        chain(sample, documents), encoder, folder, about, existing=existing, workers=workers, engine=engine,
        rows_per_shard=rows_per_shard, read=read, progress=progress,
    )  # fmt: skip


def write_store(
    documents: Iterator[Document],
    encoder: Encoder,
    folder: Path,
    about: Mapping[str, Any],
    *,
    existing: Existing = "refuse",
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
    rows_per_shard: int = SHARD,
    read: Callable[[], Counter[str]] = Counter,
    progress: Callable[[int], None] | None = None,
) -> tuple[Store, Counter[str]]:
    """The writing half of `build_store`, for documents whose ids are known to differ.

    Args:
        documents: what is encoded.
        encoder: what makes arrays of them.
        folder: where the store goes.
        about: settings, as JSON values; a resumed build has to have the same.
        existing: see `build_store`.
        workers: see `build_store`.
        engine: see `build_store`.
        rows_per_shard: see `build_store`.
        read: called in the end, for counts of the reading that the store is to keep.
        progress: see `build_store`.

    Returns:
        The store and all counts.

    Raises:
        UserError: no document has words, or an unfinished store there is of other documents or settings.
    """
    about = {"format": FORMAT, "kind": KIND, **about}
    refuse(folder, existing)
    if existing == "overwrite":
        remove_store(folder)
    tally = StoreTally()
    with _begun(folder, about, rows_per_shard) as writer:
        if (folder / META).is_file():
            return Store(folder), Counter(Store(folder).meta["counts"])
        tally.restore(folder)
        todo = tally.behind(documents, writer.position, encoder, folder)
        if progress is not None:
            progress(writer.position)
        for encoded in ordered_map(encoder, todo, workers=workers, engine=engine):
            if writer.complete:
                raise UserError(f"{folder}: the collection has grown; add --overwrite to build it again")
            for row in tally.rows(encoded):
                if row is not None:
                    writer.append(row)
                writer.consumed()
            if progress is not None:
                progress(len(encoded.ids))
    counts = read() + tally.counts
    if not tally.ids:
        remove_store(folder)
        reasons = ", ".join(f"{number:,} with {why}" for why, number in tally.left_out().items())
        raise UserError(f"all {counts['read']:,} documents were left out: {reasons}; see --words.regex")
    _finish(folder, about, tally, counts, encoder.pieces)
    return Store(folder), counts


@contextmanager
def _begun(folder: Path, about: Mapping[str, Any], rows_per_shard: int) -> Iterator[ShardWriter]:
    """A writer; if work ends badly before there is anything to go on from, nothing is left."""
    with ShardWriter.open(folder, about, rows_per_shard=rows_per_shard) as writer:
        try:
            yield writer
        except BaseException:
            if not writer.position:
                remove_store(folder)
            raise


def remove_store(folder: Path) -> None:
    """Take a store out of its folder, and the folder too if nothing else is in it."""
    if not folder.is_dir():
        return
    (folder / META).unlink(missing_ok=True)  # first: what is left is an unfinished store, not a broken one
    for entry in [*folder.glob("shard-*.safetensors"), folder / STATISTICS, folder / INDEX]:
        entry.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _finish(
    folder: Path, about: dict[str, Any], tally: StoreTally, counts: Counter[str], encoder: PieceEncoder
) -> None:
    types = list(tally.numbers)
    tensors: dict[str, NDArray[Any]] = {"ctf": tally.ctf[: len(types)], "df": tally.df[: len(types)]}
    tensors["types"], tensors["types.offsets"] = bytes_of_texts(types)
    tensors["ids"], tensors["ids.offsets"] = bytes_of_texts(tally.ids)
    tensors["type_pieces"], tensors["type_pieces.offsets"] = encoder.of_words(types)
    size, digest = write_tensors(folder / STATISTICS, tensors)
    files = [
        {name: entry[name] for name in ("file", "rows", "bytes", "sha256")}
        for entry in read_index(folder)["shards"]
    ]
    counts["types"] = len(types)
    meta = {
        **about,
        "counts": dict(sorted(counts.items())),
        "empty": tally.empty,
        "files": files,
        "statistics": {"file": STATISTICS, "bytes": size, "sha256": digest},
    }
    write_json(folder / META, meta)


def refuse(folder: Path, existing: Existing) -> None:
    """Refuse a folder that no store may be written into.

    Raises:
        UserError: it is a file, holds something else, or a complete store that is not to be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder for the store")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_store(folder):
        raise UserError(f"{folder}: holds something else than a store; name another folder")
    if existing == "refuse" and (folder / META).is_file():
        raise UserError(
            f"{folder}: holds a complete store; add --overwrite to replace it, --resume to keep it if it was "
            "made with these settings, or name another folder"
        )


def _check_sample(sample: list[Document], words: Words) -> None:
    """Refuse an empty collection, and one whose alphabet the pattern of words does not know."""
    if not sample:
        raise UserError("the collection has no documents; check --corpus and --read.layout")
    texts = [document.text for document in sample if any(map(str.isalpha, document.text))]
    without = sum(not words.pattern.search(text.lower() if words.options.lower else text) for text in texts)
    if without > len(sample) / 2:
        raise UserError(
            f"{sample[0].where}: {without} of the first {len(sample)} documents have text but no word "
            f"{words.options.regex}; for other alphabets add --words.regex '\\w+' --words.stop-words none"
        )


def _mended(documents: Iterable[Document], counts: Counter[str]) -> Iterator[Document]:
    """Documents without NULs and lone surrogates, which neither tokenizers nor files can hold."""
    for document in documents:
        text = document.text
        if "\0" in text:
            counts["mended: NUL characters"] += text.count("\0")
            text = text.replace("\0", " ")
        if not text.isascii() and _SURROGATE.search(text):
            text, number = _SURROGATE.subn("\ufffd", text)
            counts["mended: lone surrogates"] += number
        yield document if text is document.text else document._replace(text=text)
