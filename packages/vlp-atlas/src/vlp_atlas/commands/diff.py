"""The verb `diff`: what changed between two catalogues."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was added, changed or removed from one built catalogue to another."""

    versions: tuple[Path, ...] = field(metadata={"positional": True})
    """two built catalogues (atlas.json files, old then new), or one to compare with this program's own"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print the changes."""
    import json

    from nonet.errors import UserError
    from vlp_atlas import differences
    from vlp_atlas.changes import describe, own_catalogue

    if len(options.versions) > 2:
        raise UserError(f"diff takes one or two catalogues, not {len(options.versions)}")
    old = differences.load(options.versions[0])
    new = differences.load(options.versions[1]) if len(options.versions) == 2 else own_catalogue()
    changes = differences.diff(old, new)
    if options.json:
        print(json.dumps([change._asdict() for change in changes], indent=2, ensure_ascii=False))
    else:
        print("\n".join(describe(changes)))
    return 0
