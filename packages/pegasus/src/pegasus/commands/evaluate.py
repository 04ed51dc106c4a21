"""Score predictions, or a model, against references."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pegasus.options import DecodeOptions, part

if TYPE_CHECKING:
    from pegasus.data_sets import RougeL
    from pegasus.evaluation import Report


@dataclass(frozen=True, kw_only=True)
class Options(DecodeOptions):
    """Score summaries: --pred with --ref or --data, or --model (to which decoding belongs) with --data."""

    pred: Path | None = None
    """predictions: one a line, or .jsonl with the field prediction or summary"""
    ref: tuple[Path, ...] = ()
    """references, one a line; several files are several references of each item"""
    data: tuple[Path, ...] = ()
    """document-summary pairs, in any layout that `finetune` reads"""
    docs: Path | None = None
    """with --ref: the documents, one a line, for the measures of copying"""
    model: str | None = None
    """folder of a model with its tokenizer, or a hub name; it summarises --data"""
    against: Path | None = None
    """another system's predictions, for a paired comparison"""
    exclude: Path | None = None
    """file with the numbers (from 1) of items to leave out as well, as `overlap --exclude-list` writes it"""
    dataset: str | None = None
    """one of the paper's data sets, such as cnn_dailymail: its fields and its ROUGE-L; none: found out"""
    text_field: str | None = None
    """field with the document; none: the first known name"""
    summary_field: str | None = None
    """field with the reference, or list of references; none: the first known name"""
    annotations: bool = False
    """with AESLC, take ann0 to ann2 as further references; the paper does not"""
    limit: int | None = None
    """score the first so many pairs of --data alone"""
    skip_bad: bool = False
    """leave out pairs that cannot be used, with their predictions, and count them"""
    rouge_l: Literal["auto", "rougeL", "rougeLsum"] = "auto"
    """which measure to call ROUGE-L; auto: rougeLsum for cnn_dailymail, else rougeL"""
    lines: Literal["auto", "given", "split"] = "auto"
    """sentences for rougeLsum; given: lines; split: one-line texts are split; auto: that if lines are rare"""
    newline: Literal["plain", "escaped"] = "plain"
    """escaped: the two characters \\n in line files are a line end, as `summarize --newline keep` writes"""
    level: float = 0.95
    """of the intervals, 0 to 1"""
    resamples: int = 1000
    """bootstrap samples of the intervals"""
    bootstrap_seed: int = 0
    """of the bootstrap"""
    examples: int = 5
    """best and worst summaries on the page, each"""
    batch_tokens: int = 8192
    """padded document tokens a batch, for a model"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    threads: int = 2
    """threads for ROUGE"""
    out: Path | None = None
    """run folder: scores.json, items.jsonl, report.html, ...; none: print only, or runs/... for a model"""

    def __post_init__(self) -> None:
        part(self, DecodeOptions)


def run(options: Options) -> int:
    """Read, perhaps summarise, score, print, and write the files."""
    from contextlib import nullcontext

    from nonet.runs import Run
    from pegasus.evaluation import compare
    from pegasus.evaluation_page import comparison_text, text
    from pegasus.predictions import read_numbers

    _check(options)
    items = _items(options)
    said = items.said(options)  # a missing file or model is noticed before there is a run folder
    others = items.chosen(_read(options, options.against), str(options.against)) if options.against else None
    left_out = read_numbers(options.exclude, items.records) if options.exclude else None
    folder = options.out is not None or options.model is not None
    seed = options.seed if options.model else options.bootstrap_seed
    record = Run.create("pegasus", "evaluate", options, seed=seed, folder=options.out) if folder else None
    with record or nullcontext():
        report = _score(options, items, list(said))
        print(text(report))
        found: dict[str, Any] = {"scores": report.as_dict()}
        comparison = []
        if others is not None:
            other = _score(options, items, others)
            comparison = compare(report, other, seed=options.bootstrap_seed)
            print(comparison_text(comparison, (options.model or str(options.pred), str(options.against))))
            found["against"] = other.as_dict()
            found["comparison"] = [vars(row) for row in comparison]
        if left_out is not None:
            rest = report.select([i for i, number in enumerate(items.numbers) if number not in left_out])
            print(f"without {len(report) - len(rest):,} items of {options.exclude}:\n{text(rest)}")
            found["without_excluded"] = rest.as_dict()
        if record is not None:
            _write(record, report, comparison, found, items, options)
            print(record.folder)
    return 0


@dataclass(frozen=True)
class _Items:
    """What is to be scored."""

    references: list[list[str]]
    documents: list[str] | None
    numbers: list[int]
    """place of each item among the records, from 0"""
    records: int
    limited: bool
    rouge_l: "RougeL"

    def said(self, options: Options) -> Iterator[str]:
        """The predictions: read, or written by the model, which is loaded and has written the first one."""
        if options.pred is not None:
            return iter(self.chosen(_read(options, options.pred), str(options.pred)))
        written = _summaries(options, self.documents or [])
        return itertools.chain(list(itertools.islice(written, 1)), written)

    def chosen(self, texts: list[str], name: str) -> list[str]:
        """The predictions that belong to the items, out of one for each record."""
        from nonet.errors import UserError

        if len(texts) < self.records or (len(texts) > self.records and not self.limited):
            raise UserError(
                f"{name} has {len(texts):,} predictions but there are {self.records:,} references: "
                "they must pair up one to one"
            )
        return [texts[number] for number in self.numbers]


def _read(options: Options, path: Path) -> list[str]:
    from pegasus.predictions import read_lines

    return read_lines(path, escaped=options.newline == "escaped")


def _check(options: Options) -> None:
    from nonet.errors import UserError

    if (options.pred is None) == (options.model is None):
        raise UserError("give either --pred PREDICTIONS or --model MODEL")
    if bool(options.ref) == bool(options.data):
        raise UserError("give either --ref REFERENCES or --data PAIRS")
    if options.model and not options.data:
        raise UserError("--model needs documents to summarise: give --data PAIRS instead of --ref")
    if options.docs and options.data:
        raise UserError("--data has the documents already; --docs goes with --ref")
    if options.limit and options.ref:
        raise UserError("--limit goes with --data")


def _items(options: Options) -> _Items:
    """References, and documents where there are any."""
    import sys

    from nonet.errors import UserError
    from pegasus.data_sets import data_set
    from pegasus.pairs import read_pairs
    from pegasus.predictions import read_lines

    named = data_set(options.dataset).rouge_l if options.dataset else None
    if options.data:
        reader = read_pairs(
            options.data,
            dataset=options.dataset,
            text_field=options.text_field,
            summary_field=options.summary_field,
            annotations=options.annotations,
            limit=options.limit,
            skip_bad=options.skip_bad,
            longer="count",
        )
        pairs = list(reader)
        print(reader.describe(), file=sys.stderr)
        if not pairs:
            raise UserError(f"{reader.files.name}: no pair that can be scored")
        rouge_l = named or reader.layout.rouge_l
        return _Items(
            [pair.summaries for pair in pairs],
            [pair.document for pair in pairs],
            [pair.number for pair in pairs],
            reader.counts["records"],
            options.limit is not None,
            _chosen(options, rouge_l),
        )
    names = ("reference", "summary", "target", "text")
    sides = [read_lines(path, names, escaped=options.newline == "escaped") for path in options.ref]
    for path, side in zip(options.ref[1:], sides[1:], strict=True):
        if len(side) != len(sides[0]):
            raise UserError(
                f"{options.ref[0]} has {len(sides[0]):,} references and {path} has {len(side):,}: "
                "they must pair up"
            )
    references = [[text for text in item if text.strip()] or [""] for item in zip(*sides, strict=True)]
    documents = read_lines(options.docs, ("document", "text")) if options.docs else None
    if documents is not None and len(documents) != len(references):
        raise UserError(
            f"{options.docs} has {len(documents):,} documents but there are {len(references):,} references"
        )
    count = len(references)
    return _Items(
        references, documents, list(range(count)), count, False, _chosen(options, named or "rougeL")
    )


def _chosen(options: Options, found: "RougeL") -> "RougeL":
    return found if options.rouge_l == "auto" else options.rouge_l


def _summaries(options: Options, documents: list[str]) -> Iterator[str]:
    from nonet.cli.progress import progress
    from pegasus.predict import summarize_texts

    written = summarize_texts(
        str(options.model),
        documents,
        part(options, DecodeOptions),
        batch_tokens=options.batch_tokens,
        device=options.device,
    )
    yield from progress(written, total=len(documents), label="summarising", unit="documents")


def _score(options: Options, items: _Items, predictions: list[str]) -> "Report":
    from pegasus.evaluation import evaluate

    return evaluate(
        predictions,
        items.references,
        items.documents,
        rouge_l=items.rouge_l,
        lines=options.lines,
        level=options.level,
        resamples=options.resamples,
        seed=options.bootstrap_seed,
        threads=options.threads,
    )


def _write(
    record: Any, report: "Report", comparison: Any, found: dict[str, Any], items: _Items, options: Options
) -> None:
    import json

    from nonet.files import write_json, write_text
    from pegasus.evaluation_page import page

    write_json(record.folder / "scores.json", found)
    rows = []
    for i, number in enumerate(items.numbers):
        scores = {name: round(float(values[i]), 6) for name, values in report.scores.items()}
        rows.append(json.dumps({"item": number + 1, **scores}))
    write_text(record.folder / "items.jsonl", "".join(f"{row}\n" for row in rows))
    said = (
        {"item": n + 1, "prediction": text} for n, text in zip(items.numbers, report.predictions, strict=True)
    )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in said)
    write_text(record.folder / "predictions.jsonl", lines)
    title = f"Scores of {Path(options.model or str(options.pred)).name}"
    page(report, title=title, comparison=comparison, examples=options.examples).save(
        record.folder / "report.html"
    )
