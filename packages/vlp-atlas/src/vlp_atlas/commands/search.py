"""The verb `search`: find records by any text in them."""

from dataclasses import dataclass, field

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """Find records by text, in every kind and field; the page of build-site finds the same, in this order.

    All words must occur, each as part of any word of the record. Upper and lower case are alike; nothing is
    a pattern.
    """

    words: tuple[str, ...] = field(metadata={"positional": True})
    """what to look for"""
    most: int = 20
    """how many finds to print; 0 prints all"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what was found."""
    import json
    import sys

    from vlp_atlas import search_index, tables

    atlas = options.load()
    query = " ".join(options.words)
    found = search_index.search(search_index.build(atlas), query, unverified=atlas.unverified)
    shown = found[: options.most] if options.most else found
    if options.json:
        told = [{"kind": each.kind, "id": each.id, "title": each.title} for each in shown]
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    body = [[each.kind.removesuffix("s"), each.id, each.title] for each in shown]
    colour = sys.stdout.isatty()
    if body:
        heads = ["kind", "id", "title"]
        print("\n".join(tables.grid(heads, body, width=tables.terminal_width(), colour=colour)))
    left = len(found) - len(shown)
    print(
        tables.faint(f"{len(found)} found" + (f", {left} more with --most 0" if left else ""), colour=colour)
    )
    return 0
