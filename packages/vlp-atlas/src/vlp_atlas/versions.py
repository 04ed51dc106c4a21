"""Files written for other versions of the schema: later ones are refused, earlier ones brought up (ours)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from nonet.errors import UserError
from vlp_atlas.vocabulary import SCHEMA_VERSION

__all__ = ["MIGRATIONS", "migrated"]

Step = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: dict[tuple[int, int], Step] = {}
"""(major, minor) of a schema -> what makes a catalogue of it one of the next minor version"""


def migrated(
    catalogue: Mapping[str, Any],
    where: str,
    *,
    current: str = SCHEMA_VERSION,
    steps: Mapping[tuple[int, int], Step] = MIGRATIONS,
    remedy: str = "build it anew with python -m vlp_atlas.building",
) -> dict[str, Any]:
    """A catalogue, or a user's file, of the current schema; what it was read from stays as it is.

    Minor versions only add what is optional, so a step is needed only where something is derived anew.

    Args:
        catalogue: with `schema_version`; without, it is taken to be of the current schema.
        where: the file, for messages.
        current: the schema of this program.
        steps: what brings a minor version to the next.
        remedy: what to do with one of an earlier major version.

    Raises:
        UserError: it is of a later schema, or of another major version.
    """
    version = str(catalogue.get("schema_version", current))
    found = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)?", version)
    if found is None:
        raise UserError(f"{where}: schema_version is {version!r}; write it as {current}")
    major, minor = int(found[1]), int(found[2])
    now_major, now_minor = (int(part) for part in current.split(".")[:2])
    if (major, minor) > (now_major, now_minor):
        raise UserError(
            f"{where}: written for schema {version}, and this is {current}: "
            "install a later vlp-atlas (pip install --upgrade vlp-atlas)"
        )
    if major < now_major:
        raise UserError(f"{where}: written for schema {version}, which {current} does not read: {remedy}")
    result = dict(catalogue)
    for step in range(minor, now_minor):
        if (major, step) in steps:
            result = steps[major, step](result)
    if "schema_version" in catalogue:
        result["schema_version"] = current
    return result
