"""The verb `info`: what a model or run folder holds."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a model's or run's folder holds, without loading it."""

    path: Path
    """the folder"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what is there."""
    from nonet.vision_language.pair_holdings import holdings

    found = holdings(options.path)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for part, entries in found.items():
        print(part)
        width = max(map(len, entries), default=0) + 2
        for name, value in entries.items():
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            print(f"  {name:<{width}}{shown}")
    return 0
