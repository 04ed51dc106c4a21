"""The verb `info`: what a model, a run or packed scenes hold."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a model's, a run's or packed scenes' folder holds, without loading it."""

    path: Path
    """the folder"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what is there."""
    from nonet.cli.facts import print_facts
    from ponderv2.holdings import holdings

    print_facts(holdings(options.path), as_json=options.json)
    return 0
