"""The verb `lint`: the semantic rules alone."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Look for facts that cannot be right together: units, splits, dates, duplicates, names that collide.

    Every defect is printed as file:line: rule: message; exit code 1 if there is one.
    """

    files: tuple[Path, ...] = field(default=(), metadata={"positional": True})
    """YAML files of your own; without any, the catalogue of this program"""
    strict: bool = False
    """report what is only suspicious too"""


def run(options: Options) -> int:
    """Print the defects; 1 if there are any."""
    from vlp_atlas.defect_report import rules, summary

    return summary(rules(options.files, strict=options.strict), [], options.files)
