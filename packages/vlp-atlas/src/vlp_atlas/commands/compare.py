"""The verb `compare`: models side by side, number by number."""

from dataclasses import dataclass, field

from vlp_atlas.catalogue_options import TableOptions


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Models side by side.

    Numbers stand in one row only if data set, split, metric, setting and protocol are equal; pre-training
    data may differ. One that another split, setting or training (SCST against cross-entropy) made is shown
    with its mark, and never compared: no difference, no best. The difference is the best of the last name's
    checkpoints less the best of the first's; checkpoints of one model are not compared with one another
    unless each is named.
    """

    names: tuple[str, ...] = field(metadata={"positional": True})
    """models or checkpoints, two or more"""
    tasks: tuple[str, ...] = ()
    """tasks, apart by commas or spaces; all by default"""


def run(options: Options) -> int:
    """Print the comparison."""
    import json
    import sys

    from nonet.errors import UserError
    from vlp_atlas import comparison_text, tables
    from vlp_atlas.catalogue_options import dated

    if len(options.names) < 2:
        raise UserError("compare takes two or more models, as in: vlp-atlas compare ALBEF BLIP --tasks vqa")
    tasks = [name for part in options.tasks for name in part.split(",") if name]
    atlas = options.load()
    comparison = atlas.compare(list(options.names), tasks)
    if options.json:
        told = {"columns": comparison.columns, "rows": comparison.rows, "footer": comparison.footer}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    colour = sys.stdout.isatty()
    print(comparison_text.render(comparison, width=tables.terminal_width(), colour=colour))
    print(tables.faint(dated(atlas), colour=colour))
    return 0
