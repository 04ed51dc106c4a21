"""The verb `plot`: the catalogue's numbers as pictures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """Draw a plot, and write its points beside it as CSV: every point with its record's id and source.

    Numbers of different splits, and captions trained with SCST and with cross-entropy, are different series.
    """

    kind: Literal["params-vs-year", "data-vs-score", "score-vs-year", "models-per-year", "gpus"] = field(
        metadata={"positional": True}
    )
    """what to draw"""
    out: Path
    """picture to write, .svg or .png; the points go to the same name with .csv"""
    task: str = "vqa"
    """task of the scores, for data-vs-score and score-vs-year"""
    dataset: str | None = None
    """data set of the scores; the task's most reported one by default"""
    metric: str | None = None
    """metric of the scores; the task's own by default"""
    splits: tuple[str, ...] = ()
    """splits of the scores, each a series of its own; by default the one with the most points"""
    setting: Literal["fine-tuned", "zero-shot", "few-shot", "linear-probe"] = "fine-tuned"
    """setting of the scores"""
    force: bool = False
    """write over files that are there"""


def run(options: Options) -> int:
    """Draw, and say what was left out."""
    from nonet.errors import UserError
    from vlp_atlas import plots, points

    table = options.out.with_suffix(".csv")
    if options.out.suffix not in (".svg", ".png"):
        raise UserError(f"--out {options.out}: a plot is .svg or .png")
    for path in (options.out, table):
        if path.exists() and not options.force:
            raise UserError(f"{path}: is there already; --force writes over it")
    atlas = options.load()
    plot = points.plot(
        atlas,
        options.kind,
        task=options.task,
        dataset=options.dataset,
        metric=options.metric,
        splits=[split for part in options.splits for split in part.split(",") if split],
        setting=options.setting,
    )
    plots.save(plot, options.out)
    points.save(plot, table)
    print(f"{options.out}: {plot.title}, {len(plot.points)} points; {table}")
    for line in plot.footer:
        print(line)
    return 0
