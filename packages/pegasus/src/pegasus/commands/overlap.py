"""Find test documents that a pre-training corpus contains."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nonet.data.text import Record, TextReader
    from pegasus.overlap import Hit, OverlapFinder

BATCH = 1024  # documents of the corpus at once


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find test items that a corpus contains, and write the corpus without them; the corpus is read once."""

    test: tuple[Path, ...]
    """test pairs, in any layout that `finetune` reads"""
    corpus: tuple[Path, ...]
    """.txt, .jsonl, .json, .csv, .tsv, .parquet, also .gz or .zst; folders and globs; - for standard input"""
    dataset: str | None = None
    """field layout of --test by the data set's name; none: found by looking at the fields"""
    text_field: str | None = None
    """field of --test with the document; none: the first known name"""
    summary_field: str | None = None
    """field of --test with the summary; none: the first known name"""
    corpus_field: str | None = None
    """field of --corpus with the text; none: the first known name"""
    unit: Literal["line", "paragraph", "file", "wikitext"] = "line"
    """what a document is in .txt files of the corpus"""
    summary_recall: float = 0.8
    """drop documents with this ROUGE-2 recall of a test summary, 0 to 1; above 1: never"""
    document_recall: float = 0.5
    """drop documents with this ROUGE-2 recall of a test document, 0 to 1; above 1: never"""
    least_words: int = 8
    """shorter summaries are measured, but no reason to drop a document"""
    beginning: int = 20
    """drop documents whose first so many words are those of a test document; 0: do not"""
    title_words: int = 4
    """drop documents with a test item's title, if it has at least so many words; 0: do not"""
    ngram: int = 2
    """words an n-gram; 2 is ROUGE-2"""
    stemmer: bool = True
    """compare Porter stems"""
    drop_list: Path | None = None
    """file for what is to be dropped: JSON lines with place, id, reason, recall and test item"""
    write_clean: Path | None = None
    """file for the corpus without it: .jsonl, .jsonl.gz or .jsonl.zst"""
    exclude_list: Path | None = None
    """file for the numbers of contaminated test items, for `evaluate --exclude`"""
    out: Path | None = None
    """file for the account, .json"""
    skip_bad: bool = False
    """leave out records that cannot be read, and count them"""


def run(options: Options) -> int:
    """Go through the corpus once, print the account and write the lists."""
    import sys

    from nonet.cli.progress import progress
    from nonet.data.text import TextReader
    from nonet.errors import UserError
    from nonet.files import write_json, write_text
    from pegasus.overlap import Item, OverlapFinder, Rules
    from pegasus.pairs import read_pairs

    if options.write_clean and not options.write_clean.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
        raise UserError(f"--write-clean {options.write_clean}: name a .jsonl, .jsonl.gz or .jsonl.zst file")
    inputs = {path.resolve() for path in (*options.test, *options.corpus)}
    for path in (options.drop_list, options.write_clean, options.exclude_list, options.out):
        if path is not None and path.resolve() in inputs:
            raise UserError(f"{path} is an input; name another file to write")
    tests = read_pairs(
        options.test,
        dataset=options.dataset,
        text_field=options.text_field,
        summary_field=options.summary_field,
        skip_bad=options.skip_bad,
        longer="count",
    )
    pairs = list(tests)
    print(tests.describe(), file=sys.stderr)
    finder = OverlapFinder(
        [Item(pair.document, pair.summaries, pair.title) for pair in pairs],
        Rules(**{name: getattr(options, name) for name in Rules.__dataclass_fields__}),
    )
    reader = TextReader(options.corpus, unit=options.unit, on_bad="skip" if options.skip_bad else "raise")
    with _lines(options.drop_list) as drop, _lines(options.write_clean) as keep:
        found = _checked(finder, reader, options)
        for record, hit in progress(found, label="comparing", unit="documents"):
            if hit is None:
                keep(record.fields)
                continue
            pair = pairs[hit.item]
            drop(
                {
                    "where": record.where, "id": record.fields.get("id"), "reason": hit.reason,
                    "recall": round(hit.recall, 4), "test_item": pair.number + 1, "test_where": pair.where,
                }
            )  # fmt: skip
    account = finder.as_dict()
    _print(account, reader)
    if options.exclude_list:
        numbers = "".join(f"{pairs[i].number + 1}\n" for i in finder.contaminated)
        heading = f"# items of {tests.files.name} (from 1) that the corpus contains\n"
        write_text(options.exclude_list, heading + numbers)
    if options.out:
        summary, document = finder.summary_recall, finder.texts.best
        account["items"] = [
            {"item": pair.number + 1, "summary": round(float(a), 4), "document": round(float(b), 4)}
            for pair, a, b in zip(pairs, summary, document, strict=True)
        ]
        write_json(options.out, account)
    for path in (options.drop_list, options.write_clean, options.exclude_list, options.out):
        if path:
            print(f"written: {path}")
    return 0


def _checked(
    finder: "OverlapFinder", reader: "TextReader", options: Options
) -> "Iterator[tuple[Record, Hit | None]]":
    """The corpus's records, each with the test item that it contains."""
    from nonet.errors import UserError
    from pegasus.corpus import source
    from pegasus.overlap import Item

    batch: list[Record] = []
    items: list[Item] = []
    for record in reader:
        try:
            found = source(record, options.corpus_field)
        except UserError as error:
            if options.skip_bad:
                reader.counts["skipped"] += 1
                continue
            raise UserError(str(error).replace("--text-field", "--corpus-field")) from None
        text = found.text if isinstance(found.text, str) else " ".join(found.text)
        title = record.fields.get("title")
        batch.append(record)
        items.append(Item(text, (), title if isinstance(title, str) else ""))
        if len(batch) == BATCH:
            yield from zip(batch, finder.check(items), strict=True)
            batch, items = [], []
    if batch:
        yield from zip(batch, finder.check(items), strict=True)


def _lines(path: Path | None) -> AbstractContextManager[Callable[[dict[str, Any]], None]]:
    """A writer of JSON lines, packed as the suffix says; of nothing if there is no path."""
    import contextlib
    import gzip
    import io
    import json

    from nonet.errors import needs
    from nonet.files import replacing

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[dict[str, Any]], None]]:
        if path is None:
            yield lambda row: None
            return
        with replacing(path) as part, open(part, "wb") as raw, contextlib.ExitStack() as stack:
            target: Any = raw
            if path.suffix == ".gz":  # without a name and a time in it: the same corpus gives the same bytes
                target = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
            elif path.suffix == ".zst":
                zstandard = needs("zstandard", to="write .zst files", install="nonet[text]")
                target = stack.enter_context(zstandard.ZstdCompressor().stream_writer(raw, closefd=False))
            text = stack.enter_context(io.TextIOWrapper(target, encoding="utf-8", newline="\n"))
            yield lambda row: print(json.dumps(row, ensure_ascii=False, default=str), file=text)

    return opened()


def _print(account: dict[str, Any], reader: "TextReader") -> None:
    items, documents = account["test_items"], account["corpus_documents"]
    print(f"{items:,} test items against {documents:,} documents")
    bad = account["contaminated_items"]
    print(f"contaminated test items: {bad:,} ({bad / items:.1%})")
    for reason, number in account["items_by_reason"].items():
        dropped = account["dropped_documents"].get(reason, 0)
        print(f"  {reason + ':':18} {number:>7,} items   {dropped:>7,} documents dropped")
    print("test items with at least this highest ROUGE-n recall:")
    print("  recall   of the summary   of the document")
    for limit, numbers in account["items_at_least"].items():
        print(f"  {limit:>6}   {numbers['summary']:>14,}   {numbers['document']:>15,}")
    for name, number in sorted(reader.counts.items()):
        if number and name in ("skipped", "invalid_utf8", "nul", "blank"):
            print(f"corpus: {number:,} {name.replace('_', ' ')}")
