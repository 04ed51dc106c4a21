"""The entry of a training file in LLaMA-Factory's dataset_info.json (ours).

LLaMA-Factory joins Alpaca's instruction and input by one line end. So a file is Alpaca's only where the key
joins them in the same way; else it is ShareGPT's, whose turns are taken as they are. Only columns that rows
have are named: LLaMA-Factory stops at a named column that is not there.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nonet.errors import UserError

FILE = "dataset_info.json"
JOIN = "\n"
"""what LLaMA-Factory puts between instruction and input of Alpaca rows"""


def form(owner: str, join: str) -> str:
    """`alpaca` or `sharegpt`: the form in which the prompt is the one that verification asks.

    Args:
        owner: format of the owner's rows.
        join: the key's.
    """
    return "alpaca" if join == JOIN and owner != "sharegpt" else "sharegpt"


def read_info(out: Path, name: str) -> dict[str, Any]:
    """The data sets that are listed beside a training file.

    Args:
        out: the training file.
        name: of its entry.

    Raises:
        UserError: not a JSON object, or the name belongs to another file.
    """
    path = out.with_name(FILE)
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object of data sets; mend it, or write to another folder")
    entry = value.get(name)
    if entry is not None and (not isinstance(entry, dict) or entry.get("file_name") != out.name):
        raise UserError(f"{path}: has a data set {name!r} of another file; choose another --name")
    return value


def entry(out: Path, format: str, fields: Collection[str]) -> dict[str, Any]:
    """What LLaMA-Factory has to know of a file.

    Args:
        out: the training file.
        format: `alpaca` or `sharegpt`.
        fields: which of `input`, `system` and `history` some row has.
    """
    columns = {"messages": "conversations"}
    if format == "alpaca":
        columns = {"prompt": "instruction", "response": "output"}
        names = {"query": "input", "system": "system", "history": "history"}
        columns |= {name: field for name, field in names.items() if field in fields}
    return {"file_name": out.name, "formatting": format, "columns": columns}
