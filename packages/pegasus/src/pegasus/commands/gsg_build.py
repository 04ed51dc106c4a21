"""Build pre-training shards from raw text, and show what gap sentences look like in it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pegasus.options import CorpusOptions, GapOptions, MaskOptions, WordOptions, part

if TYPE_CHECKING:
    from nonet.data.shards import Shards
    from pegasus.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Places:
    """What is read and written."""

    input: tuple[Path, ...]
    """corpus: .txt, .jsonl, .json, .csv, .tsv, .parquet, also .gz or .zst; folders and globs; - for standard
    input"""
    tokenizer: Path
    """folder of the tokenizer, or its SentencePiece model"""
    out: Path
    """folder for the shards"""


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions, WordOptions, GapOptions, Places):
    """Build pre-training shards from raw text; an interrupted build goes on when given again."""

    text_field: str | None = None
    """field with the text, or with a list of sentences; none: the first of text, document, article, abstract,
    body, content, source"""
    unit: Literal["line", "paragraph", "file", "wikitext"] = "line"
    """what a document is in .txt files"""
    format: str | None = None
    """of the files: jsonl, json, csv, tsv, parquet, text; none: by suffix, standard input as text"""
    seed: int = 0
    """of the stored selection"""
    workers: int = 0
    """encoding processes; 0 encodes in this one"""
    engine: Literal["local", "ray"] = "local"
    """where the encoding processes run; ray needs the extra `ray`"""
    rows_per_shard: int = 16_384
    """documents a shard, at least; an interrupted build repeats the last unfinished shard"""
    skip_bad: bool = False
    """leave out records that cannot be read, and count them"""
    stats: bool = False
    """print sizes, shares and the most frequently cut sentences; also written to OUT/statistics.json and
    report.html"""
    show: int = 0
    """print this many documents with their gap sentences, inputs and targets"""
    masks: MaskOptions = field(default_factory=MaskOptions)
    """what replaces a cut sentence, for --show and --stats alone; pre-training has its own"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        for kind in (GapOptions, CorpusOptions):
            part(self, kind)
        for name, least in (("workers", 0), ("rows_per_shard", 1), ("show", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")


def run(options: Options) -> int:
    """Build the shards and print the account."""
    from nonet.cli.progress import progress
    from nonet.data.text import TextReader
    from nonet.files import write_json
    from pegasus.building import build_shards
    from pegasus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(options.tokenizer)
    bad: Literal["raise", "skip"] = "skip" if options.skip_bad else "raise"
    reader = TextReader(options.input, unit=options.unit, format=options.format, on_bad=bad)
    with progress(label="encoding", unit="documents") as bar:  # type: ignore[var-annotated]
        shards, counts = build_shards(
            reader, tokenizer, options.out, words=part(options, WordOptions), gaps=part(options, GapOptions),
            corpus=part(options, CorpusOptions), seed=options.seed, text_field=options.text_field,
            skip_bad=options.skip_bad, workers=options.workers, engine=options.engine,
            rows_per_shard=options.rows_per_shard, progress=bar.advance,
        )  # fmt: skip
    print(f"{options.out}: {len(shards):,} documents, {int(shards.lengths('pieces').sum()):,} tokens")
    for name, number in sorted(counts.items()):
        if number:
            print(f"  {name}: {number:,}")
    if options.stats:
        from pegasus.statistics import corpus_statistics

        statistics = corpus_statistics(shards, tokenizer, options.masks)
        write_json(options.out / "statistics.json", statistics)
        _print_statistics(statistics)
        page(statistics, shards).save(options.out / "report.html")
        print(f"page: {options.out / 'report.html'}")
    for index in range(min(options.show, len(shards))):
        _show(shards, index, tokenizer, options)
    return 0


def _print_statistics(statistics: dict[str, Any]) -> None:
    for name, value in statistics.items():
        if name == "frequent":
            continue
        if isinstance(value, dict):
            text = ", ".join(f"{key} {number:,.1f}" for key, number in value.items())
        else:
            text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        print(f"  {name.replace('_', ' ')}: {text}")
    if statistics["frequent"]:
        print("  most frequently cut sentences:")
        for entry in statistics["frequent"]:
            print(f"    {entry['count']:>7,}  {entry['sentence'][:100]}")


def page(statistics: dict[str, Any], shards: "Shards") -> Any:
    """The statistics as a page with the distributions drawn."""
    import numpy as np

    from nonet.report import Page

    sheet = Page("Gap sentences", f"{statistics['documents']:,} documents, {statistics['tokens']:,} tokens")
    sheet.table(
        [
            {"measure": name.replace("_", " "), "value": value}
            for name, value in statistics.items()
            if not isinstance(value, dict | list)
        ]
    )
    for column, label in (("ends", "sentences a document"), ("pieces", "tokens a document")):
        values = shards.lengths(column)
        top = float(np.percentile(values, 99)) if len(values) else 1.0
        heights, edges = np.histogram(values, bins=30, range=(0, max(top, 1)))
        points = [(float(edge), float(height)) for edge, height in zip(edges[:-1], heights, strict=True)]
        sheet.lines(f"{label.capitalize()}", {"documents": points}, x=label, y="documents")
    if statistics["frequent"]:
        sheet.table(statistics["frequent"], caption="Most frequently cut sentences")
    return sheet


def _show(shards: "Shards", index: int, tokenizer: "Tokenizer", options: Options) -> None:
    from pegasus.masking import build

    row = shards[index]
    example = build(
        row["pieces"], row["ends"], row["chosen"], options.masks, tokenizer.starts_word,
        seed=options.seed, document=index,
    )  # fmt: skip
    starts = [0, *row["ends"][:-1].tolist()]
    print(f"\ndocument {index} (record {int(row['record'][0])}); > marks gap sentences")
    for number, (start, end) in enumerate(zip(starts, row["ends"].tolist(), strict=True)):
        mark = ">" if number in row["chosen"] else " "
        print(f" {mark} {tokenizer.decode(row['pieces'][start:end].tolist())}")
    print(f"   input:  {tokenizer.decode(example.input_ids, reserved=True)}")
    print(f"   target: {tokenizer.decode(example.target_ids, reserved=True)}")
