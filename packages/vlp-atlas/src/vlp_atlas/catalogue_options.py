"""The options of every verb that reads the catalogue, and how it is loaded and its tables printed (ours)."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from vlp_atlas import Atlas

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, kw_only=True)
class CatalogueOptions:
    """Which catalogue is read."""

    extra: tuple[Path, ...] = ()
    """YAML files of your own to lay over the catalogue; what they say is tagged `local`"""
    prefer: Literal["both", "local"] = "both"
    """where a file of --extra contradicts the catalogue: keep both as disputed, or take yours"""
    unverified: bool = False
    """show facts too that were written down from memory and not checked; they are marked `?`"""
    as_of: str | None = None
    """leave out what became public or was read after this day, YYYY-MM-DD"""

    def __post_init__(self) -> None:
        if self.as_of is not None and not DAY.fullmatch(self.as_of):
            raise UserError(f"--as-of {self.as_of}: write a day as YYYY-MM-DD")

    def load(self) -> "Atlas":
        """The catalogue; what --extra contradicts is said on stderr."""
        from vlp_atlas import Atlas

        atlas = Atlas.load(
            extra=self.extra,
            unverified=self.unverified,
            prefer_local=self.prefer == "local",
            as_of=self.as_of,
        )
        for warning in getattr(atlas, "warnings", ()):
            print(f"warning: {warning}", file=sys.stderr)
        return atlas


@dataclass(frozen=True, kw_only=True)
class TableOptions(CatalogueOptions):
    """Which catalogue is read, and how the table is printed."""

    json: bool = False
    """print JSON instead of a table: rows, then what the footer says"""


def emit(table: Any, atlas: "Atlas", *, as_json: bool) -> None:
    """Print a table for people, or as JSON."""
    from vlp_atlas import tables

    if as_json:
        rows = [{name: row.get(name) for name in table.columns} for row in table.rows]
        told = {"columns": table.columns, "rows": rows, "footer": table.footer}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    colour = sys.stdout.isatty()
    print(tables.render(table, width=tables.terminal_width(), colour=colour))
    print(tables.faint(dated(atlas), colour=colour))


def dated(atlas: "Atlas") -> str:
    """One line that says which catalogue spoke."""
    return f"catalogue {atlas.data_version}, as of {atlas.as_of}"
