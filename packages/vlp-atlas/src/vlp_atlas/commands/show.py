"""The verb `show`: one record with its evidence."""

from dataclasses import dataclass, field

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """One record of any kind: every field, its confidence, and with --sources where it was read.

    A model comes with its checkpoints, how many results they have, and how the survey at IJCAI 2022 would
    sort it (interaction, granularity) as far as its fusion and visual features say.
    """

    name: str = field(metadata={"positional": True})
    """id, name or alias of a model, checkpoint, objective, data set, task, metric, paper or source"""
    sources: bool = False
    """print the sources below each fact, with place, kind, address and the day they were read"""
    json: bool = False
    """print the record as JSON, as it stands in the built catalogue"""


def run(options: Options) -> int:
    """Print the record."""
    import json
    import sys

    from vlp_atlas import showing, tables, views
    from vlp_atlas.catalogue_options import dated

    atlas = options.load()
    kind, name = atlas.resolve(options.name)
    record = atlas.get(kind, name)
    if options.json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
        return 0
    colour = sys.stdout.isatty()
    if kind == "models":
        derived = {view: views.fact_of(record, view) for view in views.VIEWS}
        record = record | {view: fact for view, fact in derived.items() if fact is not None}
    parts = [showing.lines(atlas, kind, record, sources=options.sources, colour=colour)]
    if kind == "models":
        own = [each for each in atlas.all("checkpoints") if each["model"] == name]
        parts += [
            showing.lines(atlas, "checkpoints", each, sources=options.sources, colour=colour) for each in own
        ]
        found = showing.results_of(atlas, [each["id"] for each in own])
        if found:
            parts.append([f"{len(found)} results: vlp-atlas results --checkpoint {name}"])
    print("\n\n".join("\n".join(part) for part in parts))
    print(tables.faint(dated(atlas), colour=colour))
    return 0
