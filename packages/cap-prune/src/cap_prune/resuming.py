"""An interrupted run goes on with the options that it began with (ours)."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nonet.errors import UserError
from nonet.options import build, read
from nonet.runs import folder_of, read_record

PACKAGE = "cap_prune"
PAGE = "report.html"
"""what a run writes last"""


class Verb(NamedTuple):
    """A verb whose runs can go on.

    Attributes:
        options: its dataclass.
        go_on: goes on with a run.
        lacks: whether a run's folder lacks a model that it should have.
    """

    options: type
    go_on: Callable[[Any, Path], Path]
    lacks: Callable[[Any, Path], bool]


def resume(path: Path, verbs: Mapping[str, Verb]) -> Path:
    """Go on with a run; one that is finished stays as it is.

    Args:
        path: its folder, or the folder above.
        verbs: whose runs can go on, by name.

    Returns:
        The run's folder.

    Raises:
        UserError: no such run, or a run of something else.
    """
    folder = folder_of(path)
    assert folder is not None
    record = read_record(folder)
    if record["package"] != PACKAGE or record["verb"] not in verbs:
        raise UserError(
            f"{folder}: a run of {record['package']} {record['verb']}; cap-prune goes on with "
            f"{' and '.join(verbs)}"
        )
    verb = verbs[record["verb"]]
    options: Any = build(verb.options, [read(folder / "options.yaml")])
    if (folder / PAGE).is_file() and not verb.lacks(options, folder):
        print(f"{folder}: finished already; nothing is left to do", file=sys.stderr)
        print(folder)
        return folder
    return verb.go_on(options, folder)
