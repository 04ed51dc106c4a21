"""Rules that catch wrong facts which the schema allows (ours; each found a defect in a survey or a list).

A rule is a function from the catalogue to its findings; `RULES` has them by name. `lint` runs them over a
catalogue, `lint_files` over the one of this package or over files of the user's own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlp_atlas.checking import Places
from vlp_atlas.defects import Defect, Rejected
from vlp_atlas.linting import numbers, papers, results, words
from vlp_atlas.linting.view import Rule, View
from vlp_atlas.vocabulary import KINDS

__all__ = ["RULES", "STRICT", "lint", "lint_files"]

RULES: dict[str, Rule] = {
    "L1": numbers.number_without_locator,
    "L2": numbers.percent_or_fraction,
    "L3": results.same_vector_twice,
    "L4": results.mixed_splits,
    "L5": results.task_not_evaluated,
    "L6": papers.dates,
    "L7": papers.foreign_code,
    "L8": numbers.factor_ten,
    "L9": words.unknown_acronym,
    "L10": words.modality_of_data,
    "L11": numbers.params_without_convention,
    "L12": results.mixed_training,
    "L13": numbers.cider_scale,
    "L14": results.candidates_not_said,
    "L15": words.objective_of_abstract,
    "L16": papers.addresses,
    "L17": words.name_collision,
}
STRICT: dict[str, Rule] = {
    "L4": results.split_of_a_figure,
    "L6": papers.venue_as_listed,
    "L7": papers.code_not_said,
    "L16": papers.shared_code,
}
"""more of the same rules, which also find what may be right: run on request"""


def lint(
    catalogue: Mapping[str, Any],
    places: Places | None = None,
    strict: bool = False,
    rules: Sequence[str] | None = None,
) -> list[Defect]:
    """What the rules find in a catalogue.

    Args:
        catalogue: built, or lists of records by kind in which facts are full facts.
        places: where its records are written; without, a defect's file is atlas.json.
        strict: whether the rules of `STRICT` run too.
        rules: names of those to run; all by default.

    Returns:
        Defects in the order of files and lines; `rule` is L1 to L17.
    """
    view = View({kind: catalogue.get(kind, []) for kind in KINDS})
    places = Places() if places is None else places
    defects = set()
    for table in (RULES, STRICT) if strict else (RULES,):
        for name, rule in table.items():
            if rules is None or name in rules:
                for found in rule(view):
                    place = places.of(found.kind, found.id, *found.path)
                    defects.add(Defect.at(place, name, f"{found.kind} {found.id}: {found.message}"))
    return sorted(defects)


def lint_files(
    paths: Sequence[Path] = (), strict: bool = False, catalogue: Mapping[str, Any] | None = None
) -> list[Defect]:
    """What is wrong with files of the user's own, or without any with the catalogue of this package.

    Files are read as overlays: what is wrong with their form, and what the rules find only with them in it.

    Args:
        paths: YAML files.
        strict: whether the rules of `STRICT` run too.
        catalogue: what the files are merged into; this package's by default.
    """
    from vlp_atlas.building import CATALOGUE, collect
    from vlp_atlas.differences import load
    from vlp_atlas.overlay import overlaid

    try:
        if not paths:
            built = collect()
            return lint(built.atlas, built.places, strict)
        base = load(CATALOGUE) if catalogue is None else dict(catalogue)
        with_files = overlaid(base, paths, prefer_local=True)  # it is their values that are looked at
    except Rejected as error:
        return error.defects
    before = {(defect.rule, defect.message) for defect in lint(base, None, strict)}
    found = lint(with_files.catalogue, with_files.places, strict)
    return [defect for defect in found if (defect.rule, defect.message) not in before]
