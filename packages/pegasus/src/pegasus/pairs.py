"""Document-summary pairs from the files that users have.

    for pair in PairReader(["train.jsonl"], limit=100):
        print(pair.where, pair.document, pair.summaries[0])

JSON lines, JSON, CSV, TSV and Parquet with the fields that `pegasus.layouts` knows or that are named;
parallel files of one document and one summary a line (`test.source`, `test.target`); TFRecord files of
Examples; AESLC's `.subject` files. Everything streams.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.data.text import Record
from nonet.errors import UserError
from pegasus.layouts import Layout, detect
from pegasus.pair_files import Files, find_files

__all__ = ["Pair", "PairReader", "read_pairs"]


class Pair(NamedTuple):
    """A document and what people wrote to sum it up."""

    document: str
    summaries: list[str]
    """at least one; the first is the one to learn"""
    where: str
    """such as `mails.jsonl:12`"""
    sentences: list[str] | None = None
    """the document's sentences where the file has them one by one"""
    number: int = 0
    """place among all records of the files, bad ones included, from 0"""
    title: str = ""
    """the record's field `title`, where that is neither document nor summary"""


class PairReader:
    """The pairs of files, in order.

    Args:
        paths: files, folders and globs; `-` is standard input (JSON lines, unless `format` says otherwise).
        text_field: the document's field; found by itself if None.
        summary_field: the summary's field; found by itself if None.
        dataset: one of the paper's data sets, which names both fields.
        annotations: with AESLC, take `ann0` to `ann2` as further references.
        summary_list: what a summary that is a list of texts means: `references`, or the `sentences` of one
            summary.
        limit: only the first so many pairs.
        skip_bad: leave bad pairs out and count them, instead of stopping at the first.
        longer: a summary with more words than its document is `bad`, or only to `count`.
        format: of the files, as for `nonet.data.text.TextReader`; by default each suffix decides.

    Attributes:
        counts: what the current or last pass has met: `pairs`, `references`, `longer`, `skipped` and more.
        skipped: reason -> bad pairs left out.
        skipped_examples: the messages of the first five.

    Raises:
        UserError: nothing to read; while iterating, a bad pair.
    """

    def __init__(
        self,
        paths: Sequence[Path | str] | Path | str,
        *,
        text_field: str | None = None,
        summary_field: str | None = None,
        dataset: str | None = None,
        annotations: bool = False,
        summary_list: Literal["references", "sentences"] = "references",
        limit: int | None = None,
        skip_bad: bool = False,
        longer: Literal["bad", "count"] = "bad",
        format: str | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise UserError(f"limit is {limit}; it is at least 1 pair")
        named = [paths] if isinstance(paths, Path | str) else list(paths)
        self.files: Files = find_files([Path(path) for path in named], format, skip_bad=skip_bad)
        self.text_field, self.summary_field, self.dataset = text_field, summary_field, dataset
        self.annotations, self.summary_list, self.limit = annotations, summary_list, limit
        self.skip_bad, self.longer = skip_bad, longer
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.skipped_examples: list[str] = []
        self._layout: Layout | None = None
        self._held: Iterator[Record] | None = None

    @property
    def layout(self) -> Layout:
        """Which fields are what, from the first record.

        Raises:
            UserError: there is no record, or its fields are unknown.
        """
        if self._layout is None:
            records = iter(self.files)
            first = next(records, None)
            if first is None:
                raise UserError(f"{self.files.name}: no records; is this the right file?")
            self._held = itertools.chain([first], records)  # standard input cannot be read again
            self._layout = detect(
                first.fields,
                first.where,
                text_field=self.text_field,
                summary_field=self.summary_field,
                named=self.dataset,
                annotations=self.annotations,
            )
        return self._layout

    def describe(self) -> str:
        """What was detected, and after a pass over the pairs what it met, in a line."""
        layout = self.layout
        name = f", laid out as {layout.name}" if layout.name else ""
        text = f"{self.files.name}: {self.files.kind}{name}"
        text += f"; document: {layout.document!r}, summary: {layout.summary!r}"
        if layout.further:
            text += f", further references: {', '.join(layout.further)}"
        if self.limit is not None:
            text += f"; the first {self.limit:,} pairs"
        return f"{text}; {self.account()}" if self.counts else text

    def __iter__(self) -> Iterator[Pair]:
        """Read from the beginning; the counts start again."""
        layout = self.layout
        records, self._held = self._held or iter(self.files), None
        self.counts, self.skipped, self.skipped_examples = Counter(), Counter(), []
        for number, record in enumerate(records):
            if self.limit is not None and self.counts["pairs"] == self.limit:
                break
            pair = self._pair(record, number, layout)
            self.counts["records"] += 1
            if pair is not None:
                self.counts["pairs"] += 1
                self.counts["references"] += len(pair.summaries)
                yield pair
        self.counts["skipped"] += self.files.unreadable
        if self.files.unreadable:
            self.skipped["cannot be read"] += self.files.unreadable

    def account(self) -> str:
        """What the last pass met, in one line."""
        parts = [f"{self.counts['pairs']:,} pairs"]
        if self.counts["references"] > self.counts["pairs"]:
            parts.append(f"{self.counts['references']:,} references")
        if self.counts["longer"]:
            parts.append(f"{self.counts['longer']:,} summaries longer than their documents")
        parts += [f"{count:,} skipped ({reason})" for reason, count in sorted(self.skipped.items())]
        parts += [
            f"{count:,} {reason} mended" for reason, count in sorted(self.files.mended().items()) if count
        ]
        return "; ".join(parts)

    def _pair(self, record: Record, number: int, layout: Layout) -> Pair | None:
        try:
            sentences, document = self._texts(record, layout.document, layout.join, "--text-field")
            summaries = self._summaries(record, layout)
            self._check(document, summaries[0], record.where, layout)
        except _Bad as bad:
            if not self.skip_bad:
                raise UserError(f"{record.where}: {bad.what}; {bad.remedy}") from None
            self.skipped[bad.reason] += 1
            self.counts["skipped"] += 1
            if len(self.skipped_examples) < 5:
                self.skipped_examples.append(f"{record.where}: {bad.what}")
            return None
        title = record.fields.get("title") if "title" not in (layout.document, layout.summary) else ""
        return Pair(
            document, summaries, record.where, sentences, number, title if isinstance(title, str) else ""
        )

    def _texts(self, record: Record, name: str, join: str, option: str) -> tuple[list[str] | None, str]:
        """A field as its sentences (None where it is one text) and as one text."""
        if name not in record.fields:
            there = ", ".join(record.fields) or "none"
            raise _Bad(
                f"no field {name!r}", f"no field {name!r}; fields are {there}", f"name one with {option}"
            )
        value = record.fields[name]
        if isinstance(value, str):
            sentences, text = None, value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            sentences, text = value, join.join(item.rstrip("\n") for item in value)
        elif value is None:
            sentences, text = None, ""
        else:
            kind = type(value).__name__
            raise _Bad(
                f"{name!r} is no text",
                f"field {name!r} is a {kind}, neither a text nor a list of texts",
                _MEND,
            )
        if not text.strip():
            raise _Bad(f"empty {name!r}", f"field {name!r} is empty", _MEND)
        return sentences, text

    def _summaries(self, record: Record, layout: Layout) -> list[str]:
        listed, text = self._texts(record, layout.summary, "\n", "--summary-field")
        found = [text] if listed is None or self.summary_list == "sentences" else listed
        for name in layout.further:
            value = record.fields.get(name)
            if isinstance(value, str):
                found = [*found, value]
        return [text for text in found if text.strip()]

    def _check(self, document: str, summary: str, where: str, layout: Layout) -> None:
        long, short = len(summary.split()), len(document.split())
        if long <= short:
            return
        if self.longer == "bad":
            raise _Bad(
                "summary longer than document",
                f"the summary {layout.summary!r} ({long} words) is longer than the document "
                f"{layout.document!r} ({short})",
                "are the fields the other way round (--text-field, --summary-field)? "
                "--skip-bad leaves such pairs out",
            )
        self.counts["longer"] += 1


_MEND = "mend it, or leave such pairs out with --skip-bad"


class _Bad(Exception):
    """A pair that cannot be used."""

    def __init__(self, reason: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.reason, self.what, self.remedy = reason, what, remedy


def read_pairs(paths: Sequence[Path | str] | Path | str, **options: Any) -> PairReader:
    """The pairs of files, to be iterated over; the options are those of `PairReader`."""
    return PairReader(paths, **options)
