"""Public commitments to keys: a digest that is published before the model. Ours."""

import hmac
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from double_i.keys import Key, digest
from nonet.errors import UserError

_NAMES = {"key_id", "algorithm", "digest", "created", "double_i_version"}


def commitment(key: Key) -> dict[str, str]:
    """The public object that commits to a key."""
    return {
        "key_id": key.key_id,
        "algorithm": "sha256",
        "digest": digest(key),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "double_i_version": version("double-i"),
    }


def dump(keys: Sequence[Key]) -> str:
    """The text of a commitment file: an object for one key, a list of them for several."""
    values = [commitment(key) for key in keys]
    return json.dumps(values[0] if len(values) == 1 else values, indent=2) + "\n"


def read_commitments(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The commitments of a file.

    Raises:
        UserError: missing, or not a commitment file.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such commitment file; `double-i commit` writes one") from None
    except (OSError, ValueError):
        raise UserError(f"{path}: not a commitment file: it is not JSON that can be read") from None
    values = value if isinstance(value, list) else [value]
    for item in values:
        if not isinstance(item, dict) or not set(item) >= _NAMES:
            raise UserError(f"{path}: not a commitment file; it has {', '.join(sorted(_NAMES))}")
        if item["algorithm"] != "sha256":
            raise UserError(f"{path}: the algorithm is not sha256")
    if not values:
        raise UserError(f"{path}: no commitment in it")
    return values


def matches(key: Key, commitments: Sequence[dict[str, Any]]) -> bool:
    """Whether one of the commitments is to this very key."""
    own = digest(key)
    return any(
        item["key_id"] == key.key_id and hmac.compare_digest(str(item["digest"]).encode(), own.encode())
        for item in commitments
    )
