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
    from vlp_atlas.worked_examples import print_formula

    atlas = options.load()
    _, name = atlas.resolve(options.name, "metrics")
    used = [
        task["id"]
        for task in atlas.all("tasks")
        if name in (task["primary_metric"], *task.get("secondary", []))
    ]
    return print_formula(atlas, "metrics", name, {"tasks": used}, run=options.run, sources=options.sources)
