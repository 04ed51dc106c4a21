"""The verb `info`: which catalogue this is."""

from dataclasses import dataclass

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """Say the catalogue's versions and content hash, how many records it has, and how sure its facts are."""

    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print what the catalogue is."""
    import json

    from vlp_atlas.freshness import describe

    facts = describe(options.load())
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return 0
    for part, entries in facts.items():
        print(part)
        for name, value in entries.items():
            print(f"  {name:<20}{f'{value:,}' if isinstance(value, int) else value}")
    return 0
