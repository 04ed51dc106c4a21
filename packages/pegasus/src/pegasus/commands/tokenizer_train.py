"""The verb `tokenizer train`: a SentencePiece vocabulary with PEGASUS's ids from a corpus."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from nonet.data.text import TextReader
    from pegasus.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Options:
    """Learn a SentencePiece vocabulary with PEGASUS's ids; newlines are a piece of their own."""

    input: tuple[Path, ...]
    """corpus: .txt, .jsonl, .json, .csv, .tsv, .parquet, also .gz or .zst; folders and globs; - for standard
    input"""
    out: Path
    """folder for the tokenizer"""
    vocab_size: int = 32_000
    """pieces; the model's vocabulary has 103 more, for masks and reserved ids"""
    text_field: str | None = None
    """field with the text, or with a list of sentences; none: the first of text, document, article, abstract,
    body, content, source"""
    unit: Literal["line", "paragraph", "file", "wikitext"] = "line"
    """what a document is in .txt files"""
    sample: int | None = None
    """learn from this many lines, drawn evenly; none: from all, which are held in memory"""
    character_coverage: float = 0.9995
    """share of the text's characters that get a piece of their own, in (0, 1]; the rest is unknown"""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """how pieces are chosen; PEGASUS uses unigram"""
    threads: int = 2
    """threads to learn with"""
    seed: int = 0
    """of the sample"""
    skip_bad: bool = False
    """leave out records that cannot be read, and count them"""
    overwrite: bool = False
    """replace a tokenizer in the folder"""

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise UserError(f"sample is {self.sample}; it is a number of lines, from 1")
        if self.threads < 1:
            raise UserError(f"threads is {self.threads}; it is at least 1")


def run(options: Options) -> int:
    """Learn, save and describe the tokenizer."""
    import time

    from nonet.data.text import TextReader
    from pegasus.tokenizer import Tokenizer
    from pegasus.tokenizer_training import sample

    if (options.out / "spiece.model").exists() and not options.overwrite:
        raise UserError(f"{options.out} holds a tokenizer; name another folder, or say --overwrite")
    start = time.monotonic()
    reader = TextReader(options.input, options.unit, on_bad="skip" if options.skip_bad else "raise")
    characters: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    lines: Iterator[str] | list[str] = _lines(reader, options, characters, counts)
    if options.sample is not None:
        lines = sample(lines, options.sample, options.seed)
    tokenizer = Tokenizer.train(
        lines,
        options.vocab_size,
        options.out,
        character_coverage=options.character_coverage,
        model_type=options.model_type,
        threads=options.threads,
        seed=options.seed,
    )
    seconds = time.monotonic() - start
    print(f"{options.out}: {len(tokenizer) - 103:,} pieces, {len(tokenizer):,} ids, in {seconds:.1f} s")
    used = f", {options.sample:,} of them used" if options.sample and counts["lines"] > options.sample else ""
    print(f"  documents: {reader.counts['records']:,}, lines: {counts['lines']:,}{used}")
    print(f"  {_coverage(tokenizer, characters)}")
    for name in ("invalid_utf8", "nul", "skipped"):
        if reader.counts[name]:
            print(f"  {name.replace('_', ' ')}: {reader.counts[name]:,}")
    return 0


def _lines(
    reader: "TextReader", options: Options, characters: Counter[str], counts: Counter[str]
) -> Iterator[str]:
    """The corpus line by line, with its characters counted and the progress shown."""
    from nonet.progress import Progress, progress
    from pegasus.corpus import source
    from pegasus.tokenizer_training import lines_of

    read = 0
    bar: Progress[str] = progress(total=reader.total_bytes or None, label="reading", unit="bytes")
    with bar:
        for record in reader:
            text = source(record, options.text_field).text
            for part in [text] if isinstance(text, str) else text:
                for line in lines_of(part):
                    characters.update(line)
                    counts["lines"] += 1
                    yield line
            bar.advance(reader.bytes_read - read)
            read = reader.bytes_read


def _coverage(tokenizer: "Tokenizer", characters: Counter[str]) -> str:
    """How much of the text the tokenizer can write."""
    kinds = sorted(characters)
    ids, ends = tokenizer.encode_sentences(kinds)
    known = [
        tokenizer.ids.unk not in ids[begin:end]
        for begin, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)
    ]
    covered = sum(characters[kind] for kind, is_known in zip(kinds, known, strict=True) if is_known)
    total = sum(characters.values())
    return (
        f"characters covered: {covered / max(total, 1):.4%} of {total:,}, "
        f"{sum(known):,} of {len(kinds):,} different ones"
    )
