"""The verb `info`: what a model or run folder holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a model's, level's or run's folder holds, without loading it."""

    path: Path
    """the folder"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what is there."""
    from cap_prune.holdings import holdings
    from nonet.cli.facts import print_facts

    print_facts(holdings(options.path), as_json=options.json)
    return 0
