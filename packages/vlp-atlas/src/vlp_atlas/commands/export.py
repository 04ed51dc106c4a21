"""The verb `export`: the catalogue for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """Write records as CSV, JSON, JSON lines, Markdown, BibTeX or Every Eval Ever; the same bytes every time.

    Facts from memory are left out unless --unverified asks for them.
    """

    what: Literal[
        "models", "checkpoints", "objectives", "datasets", "tasks", "metrics", "results", "papers", "sources",
        "aliases", "atlas",
    ] = "models"  # fmt: skip
    """which records; `atlas` is the whole catalogue, for json"""
    format: Literal["csv", "json", "jsonl", "md", "bibtex", "eee"] = "csv"
    """bibtex takes papers, eee takes results; the others take every kind"""
    out: Path | None = None
    """file to write; without it, standard output"""
    force: bool = False
    """write over a file that is there"""


def run(options: Options) -> int:
    """Write the export."""
    import sys

    from nonet.errors import UserError
    from nonet.files import write_text
    from vlp_atlas.exporting import export

    if options.out is not None and options.out.exists() and not options.force:
        raise UserError(f"{options.out}: is there already; --force writes over it")
    text = export(options.load(), options.what, options.format)
    if options.out is None:
        sys.stdout.write(text)
    else:
        write_text(options.out, text)
        print(f"{options.out}: {options.what} as {options.format}, {len(text.encode()):,} bytes")
    return 0
