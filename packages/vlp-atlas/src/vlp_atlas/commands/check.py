"""The verb `check`: whether a catalogue is sound."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check the whole catalogue, or your own files over it: schema, references, rules, staleness.

    Every defect is printed as file:line: message, all at once; exit code 1 if there is one. A line that `new`
    wrote and nobody filled in is one. That your file contradicts the catalogue is a remark, as is that a
    source was last read long ago; both are defects with --strict.
    """

    files: tuple[Path, ...] = field(default=(), metadata={"positional": True})
    """YAML files of your own; without any, the catalogue of this program"""
    strict: bool = False
    """remarks are defects too"""
    days: int = 365
    """days after which a source's day of reading is called old"""
    today: str | None = None
    """the day to reckon from, YYYY-MM-DD; today by default"""


def run(options: Options) -> int:
    """Print the defects; 1 if there are any."""
    from vlp_atlas.defect_report import check, summary

    found, remarks = check(options.files, strict=options.strict, days=options.days, today=options.today)
    return summary(found, remarks, options.files)
