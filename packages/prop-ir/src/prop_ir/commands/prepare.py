"""Tokenise and count a collection once, into a store that every later step reads."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prop_ir.options import ReadOptions, WordOptions

if TYPE_CHECKING:
    from prop_ir.collections import Collection
    from prop_ir.store import Store


@dataclass(frozen=True, kw_only=True)
class Options:
    """Tokenise and count a collection once, into a store; an interrupted build goes on when given again."""

    corpus: tuple[Path, ...]
    """collection: files (also .gz or .zst), folders, globs, - for standard input, or ir_datasets:NAME"""
    tokenizer: str
    """folder or hub name of the encoder that will be trained, or of its tokenizer"""
    out: Path
    """folder of the store"""
    max_pieces: int = 509
    """word pieces kept of a document; 509 fill an input of 512 beside three special ones"""
    workers: int = 0
    """encoding processes; 0 encodes in this one"""
    engine: Literal["local", "ray"] = "local"
    """where the encoding processes run; ray needs the extra `ray`"""
    resume: bool = False
    """keep a complete store if it is of the same collection and settings; unfinished ones are always gone on
    with"""
    overwrite: bool = False
    """replace a store that is in the folder"""
    read: ReadOptions = field(default_factory=ReadOptions)
    """how the collection is read"""
    words: WordOptions = field(default_factory=WordOptions)
    """what is counted as a word of the document language model"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if self.resume and self.overwrite:
            raise UserError("--resume keeps a store and --overwrite replaces it: give one of the two")
        for name, least in (("max_pieces", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")


def run(options: Options) -> int:
    """Build the store and print the account."""
    from nonet.cli.progress import progress
    from prop_ir.building import Existing, build_store, refuse
    from prop_ir.collections import Collection
    from prop_ir.pieces import load_tokenizer
    from prop_ir.words import Words

    existing: Existing = "resume" if options.resume else "overwrite" if options.overwrite else "refuse"
    collection = Collection(options.corpus, options.read)
    Words(options.words)
    refuse(options.out, existing)
    tokenizer = load_tokenizer(options.tokenizer)
    with progress(total=collection.total_bytes or None, label="reading", unit="bytes") as bar:  # type: ignore[var-annotated]
        store, counts = build_store(
            collection, tokenizer, options.out, words=options.words, max_pieces=options.max_pieces,
            workers=options.workers, engine=options.engine, existing=existing,
            progress=lambda _: bar.advance(collection.bytes_read - bar.done),
        )  # fmt: skip
    for line in account(store, counts, collection):
        print(line)
    return 0


def account(store: "Store", counts: Counter[str], collection: "Collection") -> list[str]:
    """What a build has to say, as lines: sizes, what was left out or mended, and advice."""
    from prop_ir.facts import advice

    lines = [
        f"{store.folder}: {len(store):,} documents, {len(store.types):,} types, {store.total_words:,} words "
        f"(mean {store.mean_words:,.1f} a document), {counts['pieces']:,} pieces"
    ]
    known = ("documents", "types", "words", "pieces", "read", "files")
    lines += [f"  {name}: {number:,}" for name, number in sorted(counts.items()) if name not in known]
    empty = [entry["id"] for entry in store.meta["empty"]]
    if empty:
        more = f" and {len(empty) - 5:,} more (all are in meta.json)" if len(empty) > 5 else ""
        lines.append(f"  left out: {', '.join(empty[:5])}{more}")
    lines += [f"  skipped: {message}" for message in collection.examples]
    return lines + [f"note: {text}" for text in advice(store)]
