"""Builds shards from a corpus: one reader, any number of encoding processes, one writer.

The bytes written depend on the corpus and the options alone, not on the number or kind of workers, nor on
whether the build was interrupted.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nonet.data.parallel import ordered_map
from nonet.data.shards import Shards, ShardWriter
from nonet.data.text import Record, TextReader
from nonet.errors import UserError
from pegasus.corpus import Encoder, Source, batches, check_sources, meta, source, unique_only
from pegasus.options import CorpusOptions, GapOptions, WordOptions

if TYPE_CHECKING:
    from pegasus.tokenizer import Tokenizer

BATCH = 256  # documents a worker gets at once
SHARD = 16_384  # rows a shard, at least
SAMPLE = 200  # documents that are looked at before the work begins


def build_shards(
    reader: TextReader,
    tokenizer: "Tokenizer",
    folder: Path,
    *,
    words: WordOptions,
    gaps: GapOptions,
    corpus: CorpusOptions,
    seed: int = 0,
    text_field: str | None = None,
    skip_bad: bool = False,
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
    rows_per_shard: int = SHARD,
    progress: Callable[[int], None] = lambda documents: None,
) -> tuple[Shards, Counter[str]]:
    """Encode a corpus into a shard folder, or go on where an interrupted build stopped.

    Args:
        reader: the corpus.
        tokenizer: what makes pieces of text.
        folder: where the shards go.
        words: sentence and word rules.
        gaps: the selection to store beside the text.
        corpus: what is kept.
        seed: of the stored selection.
        text_field: the records' field with the text; by default the first known name.
        skip_bad: count records without a text instead of stopping at them.
        workers: encoding processes; 0 encodes in this one.
        engine: `local` processes, or `ray` for those of a Ray cluster.
        rows_per_shard: least number of documents in a shard.
        progress: called with the number of documents done since the last call.

    Returns:
        The shards, and counts of this build's documents: kept, skipped by reason, repeated, and what the
        reader mended.

    Raises:
        UserError: the folder was built with other options, or a record has no text.
    """
    counts: Counter[str] = Counter()
    about = meta(tokenizer, words, gaps, corpus, seed=seed, batch=BATCH)
    with ShardWriter.open(folder, about, rows_per_shard=rows_per_shard) as writer:
        done = writer.position
        counts["already done"] = done
        progress(done)
        encoder = Encoder(tokenizer, words, gaps, corpus, seed=seed)
        for encoded in ordered_map(
            encoder,
            _numbered(_sources(reader, text_field, skip_bad, words, corpus, counts), done),
            workers=workers,
            engine=engine,
        ):
            for row in encoded.rows:
                writer.append(row)
            writer.consumed(encoded.consumed)
            counts.update(encoded.counts)
            progress(encoded.consumed)
    counts.update({f"mended: {name}": reader.counts[name] for name in ("invalid_utf8", "nul", "blank")})
    counts.update({f"skipped: {reason}": number for reason, number in reader.skipped.items()})
    return Shards(folder), counts


def _sources(
    reader: Iterable[Record],
    text_field: str | None,
    skip_bad: bool,
    words: WordOptions,
    corpus: CorpusOptions,
    counts: Counter[str],
) -> Iterator[Source]:
    found = _texts(reader, text_field, skip_bad, counts)
    sample = list(itertools.islice(found, SAMPLE))
    check_sources(sample, words)
    found = itertools.chain(sample, found)
    return unique_only(found, counts) if corpus.unique else found


def _texts(
    reader: Iterable[Record], text_field: str | None, skip_bad: bool, counts: Counter[str]
) -> Iterator[Source]:
    """The records' texts; with `skip_bad` a record without one becomes empty, so that numbers stay."""
    for record in reader:
        try:
            yield source(record, text_field)
        except UserError:
            if not skip_bad:
                raise
            counts["skipped: no text field"] += 1
            yield Source("", record.where)


def _numbered(sources: Iterator[Source], done: int) -> Iterator[tuple[int, list[Source]]]:
    """Batches with the number of their first record, beginning behind the records that are done."""
    for _ in itertools.islice(sources, done):
        pass
    for i, batch in enumerate(batches(sources, BATCH)):
        yield done + i * BATCH, batch
