"""The verb `demo`: what the catalogue does, in seconds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Ask the catalogue, compute worked examples, draw its plots, and build its page.

    The measure is how many of the survey's own chart bars, copied without their split, can be compared: none
    of them as printed, those of one split and setting after the catalogue has told them apart.
    """

    out: Path = Path("runs/vlp_atlas/demo")
    """folder for page, plots and numbers; what a demo wrote there before is replaced"""


def run(options: Options) -> int:
    """Run the demo; writes `demo.json`, `report.html`, `site/index.html` and the plots."""
    from vlp_atlas.demonstration import demonstrate

    return demonstrate(options.out)
