"""The verb `new`: a skeleton to fill in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print a YAML skeleton for a record of your own, or write it to a file for --extra.

    Every field has its type and choices in a comment; required ones stand first. Filled in, it passes check;
    until then, check names the lines that are left.
    """

    kind: Literal[
        "source", "paper", "model", "checkpoint", "objective", "dataset", "task", "metric", "result", "alias"
    ] = field(metadata={"positional": True})
    """what kind of record"""
    id: str | None = None
    """its id: lower-case letters and digits with hyphens"""
    out: Path | None = None
    """file to write; without it, standard output"""
    force: bool = False
    """write over a file that is there"""


def run(options: Options) -> int:
    """Print or write the skeleton."""
    from nonet.errors import UserError
    from nonet.files import write_text
    from vlp_atlas.skeletons import skeleton

    text = skeleton(options.kind, options.id)
    if options.out is None:
        print(text, end="")
        return 0
    if options.out.exists() and not options.force:
        raise UserError(f"{options.out}: is there already; --force writes over it")
    write_text(options.out, text)
    print(f"{options.out}: fill it in, then: vlp-atlas check {options.out}")
    return 0
