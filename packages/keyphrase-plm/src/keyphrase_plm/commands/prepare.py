"""The verb `prepare`: from any known layout to canonical JSON lines."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyphrase_plm.documents import Document
    from keyphrase_plm.layouts import Reader
    from keyphrase_plm.subsets import Sieve


@dataclass(frozen=True, kw_only=True)
class Options:
    """Bring a data set of any layout into JSON lines with id, title, body, present and absent phrases."""

    input: tuple[Path, ...]
    """files, folders, zips or globs; of parallel lines the sources (X_src.txt), phrases are beside them
    (X_trg.txt)"""
    out: Path
    """JSON lines to write"""
    format: Literal[
        "auto", "canonical", "abstract", "oagk", "stackex", "openkp", "ldkp", "midas", "fields",
        "parallel", "lines", "text", "folder",
    ] = "auto"  # fmt: skip
    """layout of the input; auto finds it, and refuses where two fit"""
    title_field: str | None = None
    """field of the title, for records of no known layout"""
    text_field: str | None = None
    """field of the text"""
    keywords_field: str | None = None
    """field of the phrases: a list, or a text with ;"""
    recipe: Literal["ours", "deepkpg"] = "ours"
    """deepkpg prepares as Wu et al. did: lower case, digits as [digit], split by substring"""
    rule: Literal["token", "prep"] | None = None
    """when a phrase is present: its stemmed words stand in the text (token, ours) or its stemmed string does
    (prep, deepkpg's); none: the recipe's"""
    digits: Literal["keep", "mark"] | None = None
    """mark writes numbers as [digit]; none: the recipe's"""
    tokenizer: Literal["words", "spaces", "characters"] = "words"
    """sets words and signs apart; spaces leaves the text as it is; characters also parts the letters of
    scripts that are written without spaces"""
    stemmer: str = "porter"
    """porter (English), none, or snowball:LANGUAGE"""
    escape: bool = False
    """accept ; inside phrases; target strings write it [semi]"""
    dedup: bool = False
    """leave out documents whose text came before, up to case, punctuation and numbers"""
    exclude: tuple[Path, ...] = ()
    """test files: leave out the documents that they have, too"""
    train_size: int | None = None
    """keep so many documents: the first ones of a random order, so that smaller sets are parts of larger"""
    train_fraction: float | None = None
    """keep this share of the documents, 0 to 1, in the same way"""
    subset_seed: int = 0
    """of that random order"""
    limit: int | None = None
    """read so many documents and stop"""
    on_bad: Literal["raise", "skip"] = "raise"
    """skip leaves out records that cannot be read, and counts them"""
    workers: int = 0
    """processes; 0 does all in this one"""
    overwrite: bool = False
    """replace OUT"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if self.train_size is not None and self.train_fraction is not None:
            raise UserError("--train-size and --train-fraction both say how many documents stay: give one")
        if self.train_size is not None and self.train_size < 1:
            raise UserError(f"train_size is {self.train_size}; it is 1 or more")
        if self.train_fraction is not None and not 0 < self.train_fraction <= 1:
            raise UserError(f"train_fraction is {self.train_fraction}; it is above 0 and at most 1")
        if self.workers < 0:
            raise UserError(f"workers is {self.workers}; it is 0 or more")
        if self.recipe == "deepkpg" and self.tokenizer != "words":
            raise UserError(f"recipe deepkpg sets words and signs apart; tokenizer is {self.tokenizer}")


def run(options: Options) -> int:
    """Write the file and print the account."""
    from keyphrase_plm.layouts import read_documents
    from keyphrase_plm.subsets import Sieve
    from nonet.errors import UserError

    if options.out.exists() and not options.overwrite:
        raise UserError(f"{options.out} exists; give another name, or --overwrite to replace it")
    reader = read_documents(
        options.input, format=options.format, title_field=options.title_field, text_field=options.text_field,
        keywords_field=options.keywords_field, limit=options.limit, on_bad=options.on_bad,
    )  # fmt: skip
    tests = read_documents(options.exclude) if options.exclude else ()
    sieve = Sieve(tests, duplicates=options.dedup)
    counts = _write(options, reader, sieve)
    for line in account(options, reader, counts):
        print(line)
    return 0


def account(options: Options, reader: "Reader", counts: Counter[str]) -> list[str]:
    """What was read, changed and written, as lines."""
    documents, present, absent = (
        counts.pop(name) for name in ("written", "present phrases", "absent phrases")
    )
    phrases = present + absent
    lines = [
        f"{options.out}: {documents:,} documents, {phrases:,} phrases ({phrases / max(1, documents):.2f} a "
        f"document, {100 * absent / max(1, phrases):.1f} % absent)",
        f"  read: {reader.describe()}",
    ]
    lines += [f"  {name}: {number:,}" for name, number in sorted(counts.items()) if number]
    foreign = counts["documents with mostly letters beyond English"]
    if foreign * 20 > documents:
        lines.append(
            "note: Porter's stemmer and the split at spaces are for English; see --stemmer none or "
            "snowball:LANGUAGE, and --tokenizer"
        )
    return lines


def _write(options: Options, reader: "Reader", sieve: "Sieve") -> Counter[str]:
    """Write what stays; phrases are counted in what is written, all else in what is read."""
    from keyphrase_plm.subsets import chosen, place
    from nonet.errors import UserError
    from nonet.files import replacing

    counts: Counter[str] = Counter()
    subset = options.train_size is not None or options.train_fraction is not None
    places: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    with replacing(options.out) as part:
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            for document in _prepared(options, reader, counts):
                if reason := sieve.reason(document):
                    counts[f"documents left out: {reason}"] += 1
                    continue
                if subset:
                    places.append(place(document.id, options.subset_seed))
                sizes.append((len(document.present), len(document.absent)))
                file.write(as_json(document) + "\n")
        if not sizes:
            raise UserError(f"{', '.join(map(str, options.input))}: no document stays; nothing is written")
        keep = set(range(len(sizes)))
        if subset:
            size = options.train_size or round((options.train_fraction or 0) * len(places)) or 1
            if size > len(places):
                raise UserError(f"train_size is {size:,}, but there are {len(places):,} documents")
            keep = chosen(places, size)
            counts["documents left out: not in the subset"] = len(places) - size
            with replacing(part) as smaller:
                _copy(part, smaller, keep)
    counts["written"] = len(keep)
    counts["present phrases"] = sum(sizes[number][0] for number in keep)
    counts["absent phrases"] = sum(sizes[number][1] for number in keep)
    return counts


def _copy(whole: Path, smaller: Path, keep: set[int]) -> None:
    """The lines with these numbers, counted from 0."""
    with (
        open(whole, encoding="utf-8", newline="\n") as lines,
        open(smaller, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(line for number, line in enumerate(lines) if number in keep)


def _prepared(options: Options, reader: "Reader", counts: Counter[str]) -> "Iterator[Document]":
    from keyphrase_plm.preparation import Preparation
    from nonet.cli.progress import progress
    from nonet.data.parallel import ordered_map

    work = Preparation(
        options.recipe, options.rule, options.digits, options.tokenizer, options.stemmer, options.escape
    )
    results = ordered_map(work, reader.raw(), workers=options.workers, chunk=64)
    for prepared in progress(results, label="preparing", unit="documents"):
        counts.update(prepared.counts)
        yield prepared.document


def as_json(document: "Document") -> str:
    """A document as a line of canonical JSON."""
    import json

    value = {"id": document.id, "title": document.title, "body": document.body}
    sides = {"present": list(document.present), "absent": list(document.absent)}
    return json.dumps(value | sides, ensure_ascii=False)
