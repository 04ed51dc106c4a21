"""Prints how an objective or a metric is computed, runs its worked example, and says what came out (ours)."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from nonet.errors import UserError
from vlp_atlas.tables import bold

if TYPE_CHECKING:
    from vlp_atlas import Atlas


def print_formula(
    atlas: "Atlas",
    kind: Literal["objectives", "metrics"],
    name: str,
    more: Mapping[str, Sequence[str]],
    *,
    run: bool = False,
    sources: bool = False,
) -> int:
    """Print an objective or a metric; the result is the exit code, 1 if its example gives another number.

    Args:
        atlas: the catalogue.
        kind: of the record.
        name: its id.
        more: further lines by their names, such as who uses it.
        run: compute its worked example, too.
        sources: print the sources below each fact.

    Raises:
        UserError: there is no worked example, or it needs something that is not installed.
    """
    from vlp_atlas import showing, tables
    from vlp_atlas.catalogue_options import dated

    colour = sys.stdout.isatty()
    record = atlas.get(kind, name)
    told = showing.lines(atlas, kind, record, sources=sources, colour=colour)
    for label, names in more.items():
        told.append(f"  {label:<{showing.WIDTH}}{', '.join(names) or 'nothing in the catalogue'}")
    print("\n".join(told))
    if run and not record.get("oracle"):
        raise UserError(f"{name} has no worked example: it needs weights or tools from outside")
    passed = print_example(record["oracle"], colour=colour) if run else True
    print(tables.faint(dated(atlas), colour=colour))
    return 0 if passed else 1


def print_example(name: str, *, colour: bool = False) -> bool:
    """Compute a worked example and print it; the result is whether it gives the expected number.

    Raises:
        UserError: the example needs something that is not installed.
    """
    try:
        from vlp_atlas.oracles import oracle

        example = oracle(name)
        value = example.run()
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("nonet", "vlp_atlas"):
            raise
        raise UserError(
            f"the worked example needs {error.name}: pip install 'vlp-atlas[objectives]'"
        ) from None
    passed = abs(value - example.expected) <= example.tolerance
    print()
    print(bold(f"worked example {name}", colour=colour))
    print(f"  {example.what}")
    print(f"  computed {value:.10g}")
    print(f"  expected {example.expected:.10g} within {example.tolerance:g}: {'yes' if passed else 'NO'}")
    return passed
