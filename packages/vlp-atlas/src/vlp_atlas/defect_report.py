"""What `check` and `lint` print: every defect with its place, and a count (ours)."""

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nonet.errors import UserError

if TYPE_CHECKING:
    from vlp_atlas.defects import Defect


def check(
    files: Sequence[Path], *, strict: bool, days: int, today: str | None
) -> "tuple[list[Defect], list[Defect]]":
    """Defects and remarks of the catalogue, or of files over it.

    Args:
        files: overlays; empty for the shipped catalogue.
        strict: report what is only suspicious, and count remarks as defects.
        days: after which a source is called old.
        today: YYYY-MM-DD.

    Returns:
        Defects, and remarks that do no harm: where files contradict the catalogue, and what is old in it.
    """
    from vlp_atlas import building, skeletons, staleness
    from vlp_atlas.catalogue_options import DAY
    from vlp_atlas.defects import Defect
    from vlp_atlas.differences import load
    from vlp_atlas.overlay import overlaid

    if today is not None and not DAY.fullmatch(today):
        raise UserError(f"--today {today}: write a day as YYYY-MM-DD")
    _there(files)
    found = [*skeletons.unfilled(files), *building.check(files)]
    if any(defect.rule != "unfilled" for defect in found):
        return found, []
    found += rules(files, strict=strict)
    if not files and not building.is_current():
        message = "is not what the YAML files give; write it with python -m vlp_atlas.building"
        found.append(Defect("atlas.json", 0, "stale", message))
    if files:
        remarks = overlaid(load(building.CATALOGUE), files).contradictions
    else:
        day = today or datetime.date.today().isoformat()
        remarks = staleness.stale(building.build(), day, days=days)
    unique = list(dict.fromkeys(found))
    return (list(dict.fromkeys([*unique, *remarks])), []) if strict else (unique, remarks)


def rules(files: Sequence[Path], *, strict: bool) -> "list[Defect]":
    """What the semantic rules find."""
    from vlp_atlas.linting import lint_files

    _there(files)
    return list(lint_files(files, strict=strict))


def summary(
    found: "Sequence[Defect]", remarks: "Sequence[Defect]", files: Sequence[Path], *, shown: int = 5
) -> int:
    """Print defects, some remarks, and the count; the exit code is 1 if there is a defect."""
    for defect in found:
        print(defect)
    for remark in remarks[:shown]:
        print(f"remark: {remark}")
    if len(remarks) > shown:
        print(f"remark: {len(remarks) - shown} more like it; --strict lists all")
    sys.stdout.flush()
    what = ", ".join(map(str, files)) or "the catalogue"
    count = f"{len(found)} defect{'' if len(found) == 1 else 's'}" if found else "no defects"
    print(f"{what}: {count}")
    return 1 if found else 0


def _there(files: Sequence[Path]) -> None:
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
