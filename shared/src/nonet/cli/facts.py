"""How the verb `info` shows what it found: parts with names and values, as lines or as JSON (ours)."""

import json
from collections.abc import Mapping
from typing import Any


def print_facts(facts: Mapping[str, Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print part after part, names in one column and values in another; whole numbers with separators.

    Args:
        facts: part -> name -> value.
        as_json: print the same as JSON, values as they are.
    """
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for part, entries in facts.items():
        print(part)
        width = max(map(len, entries), default=0) + 2
        for name, value in entries.items():
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            print(f"  {name:<{width}}{shown}")
