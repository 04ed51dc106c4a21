"""The verb `task`: how a task is scored."""

from dataclasses import dataclass, field

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """How a task is scored: data sets with their splits, metric with formula and import path, known traps."""

    name: str = field(metadata={"positional": True})
    """id, name or alias of a task"""
    sources: bool = False
    """print the sources below each fact"""


def run(options: Options) -> int:
    """Print the task, its data sets and its metrics."""
    import sys

    from vlp_atlas import showing, tables
    from vlp_atlas.catalogue_options import dated

    atlas = options.load()
    colour = sys.stdout.isatty()
    _, name = atlas.resolve(options.name, "tasks")
    record = atlas.get("tasks", name)
    parts = [showing.lines(atlas, "tasks", record, sources=options.sources, colour=colour)]
    for kind, names in (
        ("datasets", record.get("datasets", [])),
        ("metrics", [record["primary_metric"], *record.get("secondary", [])]),
    ):
        for each in names:
            parts.append(
                showing.lines(atlas, kind, atlas.get(kind, each), sources=options.sources, colour=colour)
            )
    number = len(atlas.results(task=name))
    if number:
        parts.append([f"{number} results: vlp-atlas results --task {name}"])
    print("\n\n".join("\n".join(part) for part in parts))
    print(tables.faint(dated(atlas), colour=colour))
    return 0
