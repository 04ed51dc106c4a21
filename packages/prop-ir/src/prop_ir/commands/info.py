"""The verb `info`: what a store, index, run, qrels or model holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a store, an index, a run, qrels, a model or run folder, or a collection holds."""

    path: Path
    """a folder or a file; what it is is found out by what is in it"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what is there."""
    from nonet.cli.facts import print_facts
    from prop_ir.facts import describe

    print_facts(describe(options.path), as_json=options.json)
    return 0
