"""The verb `info`: what a store, index, run, qrels or model holds."""

import json
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
    from prop_ir.facts import describe

    facts = describe(options.path)
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return 0
    for part, entries in facts.items():
        print(part)
        width = max((len(name) for name in entries), default=0) + 2
        for name, value in entries.items():
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            print(f"  {name:<{width}}{shown}")
    return 0
