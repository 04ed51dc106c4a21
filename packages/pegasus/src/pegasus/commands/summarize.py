"""Write summaries of documents."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pegasus.options import DecodeOptions, part


@dataclass(frozen=True, kw_only=True)
class Places:
    """What is read and written."""

    model: str
    """folder of a model with its tokenizer, or a hub name such as owner/name"""
    input: tuple[Path, ...] = (Path("-"),)
    """documents: .txt, .jsonl, .csv, .tsv, .parquet, also .gz or .zst; - for standard input"""
    out: Path | None = None
    """file for the summaries: .jsonl gets text, score, tokens and place of each, anything else a line each;
    none: standard output"""


@dataclass(frozen=True, kw_only=True)
class Options(DecodeOptions, Places):
    """Write one summary a line, in the documents' order; an interrupted run goes on when given again."""

    text_field: str | None = None
    """field with the document; none: the first known name"""
    unit: Literal["line", "paragraph", "file", "wikitext"] = "line"
    """what a document is in .txt files"""
    format: str | None = None
    """of the files: jsonl, json, csv, tsv, parquet, text; none: by suffix, standard input as text"""
    batch_tokens: int = 8192
    """padded document tokens a batch"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    newline: Literal["space", "keep"] = "space"
    """line ends inside a summary, in line output: a space, or kept as the two characters \\n"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        part(self, DecodeOptions)
        if self.batch_tokens < 1:
            raise UserError(f"batch_tokens is {self.batch_tokens}; it is at least 1")


def run(options: Options) -> int:
    """Summarise; counts of cut and empty ones go to standard error."""
    import itertools
    import sys

    from nonet.cli.progress import progress
    from nonet.data.text import TextReader
    from nonet.training.devices import pick_device
    from nonet.training.hub import local_folder
    from pegasus.corpus import source
    from pegasus.model import check_vocabulary, load_model
    from pegasus.predict import summarize
    from pegasus.tokenizer import Tokenizer

    model = load_model(options.model).to(pick_device(options.device))
    tokenizer = Tokenizer.load(local_folder(options.model))
    check_vocabulary(model, tokenizer, options.model)
    reader = TextReader(options.input, unit=options.unit, format=options.format, keep_blank=True)
    done, finish, write = _sink(options)
    sources = (source(record, options.text_field) for record in reader)
    left = itertools.islice(sources, done, None)
    places: list[str] = []
    cut = empty = count = 0

    def texts() -> Any:
        for item in left:
            places.append(item.where)
            yield item.text if isinstance(item.text, str) else " ".join(item.text)

    with progress(label="summarising", unit="documents") as bar:  # type: ignore[var-annotated]
        for summary in summarize(
            model, tokenizer, texts(), part(options, DecodeOptions), batch_tokens=options.batch_tokens
        ):
            write(summary, places[count])
            count += 1
            cut += summary.cut > 0
            empty += not summary.text.strip()
            bar.advance(1)
    finish()
    notes = [f"{count:,} summaries"]
    if done:
        notes.append(f"{done:,} were there already")
    if cut:
        notes.append(f"{cut:,} documents cut at {options.max_input} tokens")
    if empty:
        notes.append(f"{empty:,} empty summaries")
    print("; ".join(notes), file=sys.stderr)
    return 0


def _sink(options: Options) -> tuple[int, Any, Any]:
    """How many summaries are there already, how to finish, and how to write one.

    Summaries go to `OUT.part` line by line and take OUT's place at the end, so that a run that is killed
    leaves what it wrote, and the next one goes on behind the last whole line.
    """
    import json
    import os
    import sys

    from nonet.errors import UserError
    from nonet.files import write_text
    from nonet.options import dump

    def line(summary: Any, where: str) -> str:
        if options.out is not None and ".jsonl" in options.out.suffixes:
            return json.dumps(
                {
                    "where": where,
                    "summary": summary.text,
                    "score": round(summary.score, 6),
                    "tokens": summary.tokens,
                },
                ensure_ascii=False,
            )
        return summary.text.replace("\n", " " if options.newline == "space" else "\\n")

    if options.out is None:
        return 0, lambda: sys.stdout.flush(), lambda summary, where: print(line(summary, where))
    if options.out.exists():
        raise UserError(f"{options.out} is there already; name another --out or remove it")
    part_file = options.out.with_name(options.out.name + ".part")
    begun_with = options.out.with_name(options.out.name + ".part.yaml")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    # batches and device change no summary
    done, settings = 0, dump(replace(options, batch_tokens=8192, device="auto"))
    if part_file.exists():
        if not begun_with.exists() or begun_with.read_text(encoding="utf-8") != settings:
            raise UserError(f"{part_file} was begun with other options; remove it, or name another --out")
        data = part_file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        done = whole.count(b"\n")
        with open(part_file, "r+b") as before:
            before.truncate(len(whole))
    write_text(begun_with, settings)
    file = open(part_file, "a", encoding="utf-8", newline="\n", buffering=1)  # noqa: SIM115

    def finish() -> None:
        file.flush()
        os.fsync(file.fileno())
        file.close()
        os.replace(part_file, options.out)  # type: ignore[arg-type]
        begun_with.unlink()

    return done, finish, lambda summary, where: print(line(summary, where), file=file)
