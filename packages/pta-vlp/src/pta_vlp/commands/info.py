"""The verb `info`: what a model or run folder holds, and what its selection of patches costs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a model's or run's folder holds, how it selects patches, and what the vision tower costs for
    that, without loading it."""

    path: Path
    """the folder"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what is there."""
    from nonet.cli.facts import print_facts
    from pta_vlp.holdings import pruned_holdings

    print_facts(pruned_holdings(options.path), as_json=options.json)
    return 0
