"""The index of a folder of shards: reading it, and checking it against files and settings (ours)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonet.errors import UserError

VERSION = 1
INDEX = "index.json"


def read_index(folder: Path) -> dict[str, Any]:
    """The index of `folder`. Raises UserError when it is missing or is none."""
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_bytes())
        version = index["version"]
        fields = {"complete", "position", "rows_per_shard", "bytes_per_shard", "columns", "meta", "shards"}
        missing = fields - index.keys()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: no shards here ({INDEX} is missing); check the path or build them"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not an index of shards ({error}); build the shards again") from error
    if version != VERSION:
        raise UserError(f"{path}: version {version}, this program reads {VERSION}; build the shards again")
    if missing:
        raise UserError(f"{path}: not an index of shards (no {min(missing)!r}); build the shards again")
    return index


def check_files(folder: Path, shards: list[dict[str, Any]]) -> None:
    """Raises UserError when a file of the index is missing or has another size."""
    for entry in shards:
        path = folder / entry["file"]
        size = path.stat().st_size if path.exists() else None
        if size is None:
            raise UserError(f"{path}: missing, though the index names it; build the shards again")
        if size != entry["bytes"]:
            raise UserError(f"{path}: {size} bytes, the index says {entry['bytes']}; build the shards again")


def same_settings(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises UserError with the first key in which two sets of settings differ."""
    new = json.loads(json.dumps(dict(new)))
    for key in [*new, *(key for key in old if key not in new)]:
        before, now = old.get(key, "nothing"), new.get(key, "nothing")
        if key not in old or key not in new or before != now:
            was = f"{key} = {_short(before)}, not {_short(now)}"
            raise UserError(f"{folder}: was begun with {was}; use the same settings or name another folder")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
