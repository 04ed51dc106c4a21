"""The verb `objective`: how a loss is computed, and who uses it."""

from dataclasses import dataclass, field

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """How a loss is computed: formula, masking, reduction, defaults, traps, import path, acronyms, users."""

    name: str = field(metadata={"positional": True})
    """id, name or a survey's acronym of an objective"""
    run: bool = False
    """compute the worked example through the function itself and print the number; needs torch"""
    sources: bool = False
    """print the sources below each fact"""


def run(options: Options) -> int:
    """Print the objective, and with --run its worked example; 1 if that gives another number."""
    from vlp_atlas.worked_examples import print_formula

    atlas = options.load()
    _, name = atlas.resolve(options.name, "objectives")
    acronyms = []
    for alias in atlas.all("aliases"):
        if any((sense["kind"], sense["id"]) == ("objective", name) for sense in alias["senses"]):
            acronyms.append(alias["alias"] + (" (and others)" if len(alias["senses"]) > 1 else ""))
    users = sorted(
        model["name"]
        for model in atlas.all("models")
        if name in [use["id"] for use in atlas.value(model, "objectives") or []]
    )
    return print_formula(
        atlas,
        "objectives",
        name,
        {"acronyms": acronyms, "used by": users},
        run=options.run,
        sources=options.sources,
    )
