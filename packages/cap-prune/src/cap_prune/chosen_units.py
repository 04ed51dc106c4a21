"""Which units stay at a level, kept as soon as they are chosen: a resumed run cuts the same (ours)."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from cap_prune.units import Units
from nonet.errors import UserError
from nonet.files import write_json

FILE = "units.json"


class Chosen(NamedTuple):
    """A choice and what it came from."""

    units: Units
    agreement: dict[str, float]
    """see `importance.Importance`"""
    source: str
    """what tells this model and these examples from others"""


def write_chosen(folder: Path, chosen: Chosen) -> None:
    """Keep a choice in a folder, whole or not at all."""
    write_json(folder / FILE, chosen._asdict() | {"units": chosen.units.to_dict()})


def read_chosen(folder: Path, source: str) -> Chosen | None:
    """The choice that a folder keeps, if there is one.

    Args:
        folder: of the level's checkpoints.
        source: what the choice must have come from.

    Raises:
        UserError: it came from another model or other examples, or the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        chosen = Chosen(Units.from_dict(found["units"]), dict(found["agreement"]), str(found["source"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it, and the level is scored again") from None
    if chosen.source != source:
        raise UserError(
            f"{path}: chosen for another model or other examples than there are now; undo the change, or "
            "start a new run"
        )
    return chosen
