"""The verb `metric`: how a number is computed."""

from dataclasses import dataclass, field

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """How a metric is computed: formula, range, unit, conventions, traps, import path, tasks that use it."""

    name: str = field(metadata={"positional": True})
    """id, name or alias of a metric"""
    run: bool = False
    """compute the worked example through the function itself and print the number"""
    sources: bool = False
    """print the sources below each fact"""


def run(options: Options) -> int:
    """Print the metric, and with --run its worked example; 1 if that gives another number."""
    import sys

    from nonet.errors import UserError
    from vlp_atlas import showing, tables
    from vlp_atlas.catalogue_options import dated
    from vlp_atlas.worked_examples import print_example

    atlas = options.load()
    colour = sys.stdout.isatty()
    _, name = atlas.resolve(options.name, "metrics")
    record = atlas.get("metrics", name)
    told = showing.lines(atlas, "metrics", record, sources=options.sources, colour=colour)
    used = [
        task["id"]
        for task in atlas.all("tasks")
        if name in (task["primary_metric"], *task.get("secondary", []))
    ]
    told.append(f"  {'tasks':<{showing.WIDTH}}{', '.join(used) or 'none of the catalogue'}")
    print("\n".join(told))
    if options.run and not record.get("oracle"):
        raise UserError(f"{name} has no worked example: it needs weights or tools from outside")
    passed = print_example(record["oracle"], colour=colour) if options.run else True
    print(tables.faint(dated(atlas), colour=colour))
    return 0 if passed else 1
