"""From raw text to pre-training documents: pieces and word numbers, in shards that any run can read.

A document is kept as the ids of its pieces and the numbers of its words, both with the ends of its
sentences, so that gap sentences can be selected afresh in every epoch without touching text again. Also kept
is the selection that the build was asked for, to be looked at, or trained on as it stands.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nonet.data.text import Record
from nonet.errors import UserError
from pegasus.gap_sentences import select
from pegasus.options import CorpusOptions, GapOptions, WordOptions
from pegasus.sentences import (
    SentenceWords,
    check_script,
    cut_texts,
    number_words,
    split_sentences,
    words_of_sentences,
    words_of_texts,
)

if TYPE_CHECKING:
    from pegasus.tokenizer import Tokenizer

TEXT_FIELDS = ("text", "document", "article", "abstract", "body", "content", "source")
"""where the text of a record is looked for, in this order"""

FORMAT = 1
"""version of the shards' layout"""


class Source(NamedTuple):
    """A document as it comes from a file."""

    text: str | list[str]
    """the text, or its sentences"""
    where: str


class Encoded(NamedTuple):
    """What a worker makes of a batch of documents."""

    rows: list[dict[str, np.ndarray]]
    counts: Counter[str]
    consumed: int
    """source records behind the rows"""


def source(record: Record, text_field: str | None) -> Source:
    """The text of a record: the field asked for, or the first of `TEXT_FIELDS` that is there.

    A list of strings is taken as the document's sentences.

    Raises:
        UserError: no such field, or neither a text nor a list of texts.
    """
    names = (text_field,) if text_field else TEXT_FIELDS
    for name in names:
        if name in record.fields:
            value = record.fields[name]
            if isinstance(value, str):
                return Source(value, record.where)
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return Source(value, record.where)
            raise UserError(f"{record.where}: field {name!r} is neither a text nor a list of sentences")
    there = ", ".join(record.fields) or "none"
    wanted = f"field {text_field!r}" if text_field else "text field"
    raise UserError(f"{record.where}: no {wanted}; fields are {there}: name one with --text-field")


def batches(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Lists of `size` documents, the last one shorter."""
    batch: list[Source] = []
    for item in sources:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class Encoder:
    """Turns batches of documents into rows; callable in any process, with the same result in each.

    Args:
        tokenizer: what makes pieces of text; it travels to the workers.
        words: sentence and word rules.
        gaps: the selection to store.
        corpus: what is kept.
        seed: of the stored selection.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        words: WordOptions,
        gaps: GapOptions,
        corpus: CorpusOptions,
        *,
        seed: int = 0,
    ) -> None:
        self.tokenizer, self.words, self.gaps, self.corpus, self.seed = tokenizer, words, gaps, corpus, seed

    def __call__(self, batch: tuple[int, list[Source]]) -> Encoded:
        """Encode documents; `batch` is the number of the first record and the records themselves."""
        first, sources = batch
        counts: Counter[str] = Counter(documents=len(sources))
        documents = self._split(sources)
        parts: list[tuple[int, list[str], np.ndarray, np.ndarray]] = []  # record, sentences, pieces, ends
        for number, sentences in enumerate(documents):
            if not any(sentence.strip() for sentence in sentences):
                counts["skipped: no text"] += 1
                continue
            if len(sentences) < self.corpus.min_sentences:
                counts[f"skipped: fewer than {self.corpus.min_sentences} sentences"] += 1
                continue
            pieces, ends = self.tokenizer.encode_sentences([sentence.strip() for sentence in sentences])
            own = list(self._parts(sentences, pieces, ends))
            counts["parts of long documents"] += len(own) - 1
            parts += [(first + number, *part) for part in own]
        numbered = number_words(
            [part[1] for part in parts], self.words.words, stop_words=self.words.stop_words,
            encode=self.tokenizer.encode,
        )  # fmt: skip
        rows = self._rows(parts, numbered, counts)
        counts["parts kept"] += len(rows)
        return Encoded(rows, counts, len(sources))

    def _split(self, sources: list[Source]) -> list[list[str]]:
        if self.words.sentences == "pegasus" and all(isinstance(item.text, str) for item in sources):
            texts = [str(item.text) for item in sources]
            words, ends = words_of_texts(texts, stop_words=self.words.stop_words)
            return cut_texts(texts, words, ends)
        rule, language = self.words.sentences, self.words.language
        return [
            item.text if isinstance(item.text, list) else split_sentences(item.text, rule, language)
            for item in sources
        ]

    def _parts(
        self, sentences: list[str], pieces: np.ndarray, ends: np.ndarray
    ) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """A document in parts of at most `chunk` tokens (one longer sentence may be a part of its own)."""
        limit = self.corpus.chunk or None
        words = np.cumsum([len(sentence.split()) for sentence in sentences])
        start = 0
        while start < len(sentences):
            begin, words_before = (int(ends[start - 1]), words[start - 1]) if start else (0, 0)
            stop = int(np.searchsorted(words, words_before + self.corpus.max_words, side="right"))
            if limit is not None:
                stop = min(stop, int(np.searchsorted(ends, begin + limit, side="right")))
            stop = max(stop, start + 1)
            yield sentences[start:stop], pieces[begin : ends[stop - 1]], ends[start:stop] - begin
            start = stop

    def _rows(
        self,
        parts: list[tuple[int, list[str], np.ndarray, np.ndarray]],
        numbered: SentenceWords,
        counts: Counter[str],
    ) -> list[dict[str, np.ndarray]]:
        chosen, _ = select(
            numbered, self.gaps, seed=self.seed, documents=np.array([part[0] for part in parts], np.int64)
        )
        rows: list[dict[str, np.ndarray]] = []
        for p, (record, sentences, pieces, ends) in enumerate(parts):
            words, word_ends = numbered.document(p)
            if len(sentences) < self.corpus.min_sentences:
                counts[f"skipped: part of fewer than {self.corpus.min_sentences} sentences"] += 1
                continue
            lengths = np.diff(ends, prepend=0)
            if not len(words):
                counts["skipped: no words"] += 1
                continue
            if self.gaps.strategy != "none" and lengths[chosen[p]].sum() < self.corpus.min_target:
                counts[f"skipped: fewer than {self.corpus.min_target} target tokens"] += 1
                continue
            rows.append(
                {
                    "pieces": pieces.astype(np.int32),
                    "ends": ends.astype(np.int32),
                    "words": words.astype(np.int32),
                    "word_ends": word_ends.astype(np.int32),
                    "chosen": chosen[p].astype(np.int32),
                    "record": np.array([record], np.int64),
                }
            )
        return rows


def unique_only(sources: Iterable[Source], counts: Counter[str]) -> Iterator[Source]:
    """Documents whose text is new; the others become empty, so that records keep their numbers."""
    seen: set[bytes] = set()
    for item in sources:
        text = item.text if isinstance(item.text, str) else "\n".join(item.text)
        key = hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if text.strip() and key in seen:
            counts["repeated"] += 1
            yield Source("", item.where)
            continue
        seen.add(key)
        yield item


def check_sources(sample: list[Source], words: WordOptions) -> None:
    """Refuse a corpus that the word rule cannot count (see `sentences.check_script`)."""
    if words.words != "ascii" or not sample:
        return
    sentences = [
        sentence
        for item in sample
        for sentence in (item.text if isinstance(item.text, list) else split_sentences(item.text, "unicode"))
    ]
    numbered = words_of_sentences([sentences], stop_words=False)
    check_script(sentences, len(numbered.words), sample[0].where)


def meta(
    tokenizer: "Tokenizer",
    words: WordOptions,
    gaps: GapOptions,
    corpus: CorpusOptions,
    *,
    seed: int,
    batch: int,
) -> dict[str, Any]:
    """What a shard folder was made with; a resumed build must ask for the same."""
    return {
        "format": FORMAT,
        "tokenizer": tokenizer.sha256,
        "vocabulary": len(tokenizer),
        "words": asdict(words),
        "gaps": asdict(gaps),
        "corpus": asdict(corpus),
        "seed": seed,
        "batch": batch,
    }
