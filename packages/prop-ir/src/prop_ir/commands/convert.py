"""Bring the original's checkpoints and intermediate files into our layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Convert a checkpoint of PROP's released code into a re-ranker, or its intermediate files into a store.

    Prints which names were changed and which weights matched; a checkpoint that hardly fits is refused.
    """

    source: Path
    """folder of a checkpoint (config.json and pytorch_model.bin or model.safetensors), its file of weights,
    or the folder that preprocessing_data.py wrote"""
    out: Path
    """folder to write: a model, or a store"""
    kind: Literal["auto", "model", "store"] = "auto"
    """what the source is; auto: by its files"""
    tokenizer: str | None = None
    """folder or hub name of the tokenizer; none: the source's own; a store needs one"""
    max_pieces: int = 509
    """word pieces kept of a document, for a store"""
    workers: int = 0
    """encoding processes, for a store; 0 encodes in this one"""
    overwrite: bool = False
    """replace a folder that this command wrote before"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        for name, least in (("max_pieces", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")


def run(options: Options) -> int:
    """Convert, and print the account."""
    from nonet.errors import UserError
    from prop_ir.original_files import is_original

    if not options.source.exists():
        raise UserError(f"{options.source} does not exist; name the folder of a checkpoint")
    if options.kind == "store" or (options.kind == "auto" and is_original(options.source)):
        return _store(options)
    return _model(options)


def _store(options: Options) -> int:
    from nonet.errors import UserError
    from prop_ir.original_files import import_original
    from prop_ir.pieces import load_tokenizer

    if options.tokenizer is None:
        raise UserError(f"{options.source}: name the tokenizer that its pieces are from with --tokenizer")
    store = import_original(
        options.source, load_tokenizer(options.tokenizer), options.out, max_pieces=options.max_pieces,
        workers=options.workers, existing="overwrite" if options.overwrite else "refuse",
    )  # fmt: skip
    sizes = f"{len(store):,} documents, {len(store.types):,} types, {store.total_words:,} words"
    print(f"{store.folder}: {sizes}")
    return 0


def _model(options: Options) -> int:
    from prop_ir.cards import converted_card
    from prop_ir.checkpoints import convert, load_vocabulary, read_original, save_converted
    from prop_ir.pieces import load_tokenizer

    original = read_original(options.source)
    folder = options.source if options.source.is_dir() else options.source.parent
    rows = original.config.vocab_size
    tokenizer = load_tokenizer(options.tokenizer) if options.tokenizer else load_vocabulary(folder, rows)
    print(f"{options.source}: {len(original.tensors)} weights of a BERT")
    for rule, number in sorted(original.renamed.items()):
        print(f"  {rule:<34}{number:>4}")
    if original.left:
        print(f"  {'left out':<34}{len(original.left):>4}  {', '.join(original.left)}")
    converted = convert(original)
    facts = {
        "ranking head": "its own" if not converted.absent else f"none: {', '.join(sorted(converted.absent))}",
        "masked-word head": "its own" if converted.words else "none",
    }
    for what, found in facts.items():
        print(f"  {what:<20}{found}")
    card = converted_card(options.source.name, facts)
    save_converted(converted, tokenizer, options.out, card, overwrite=options.overwrite)
    if converted.absent:
        print("note: scores would be random: fine-tune it, or pre-train it further, before it ranks anything")
    print(f"{options.out}: {sum(p.numel() for p in converted.model.parameters()):,} numbers")
    return 0
