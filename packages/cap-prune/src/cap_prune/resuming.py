"""An interrupted run goes on with the options that it began with (ours)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.options import build, read
from nonet.runs import folder_of, read_record

PACKAGE = "cap_prune"
Verb = tuple[type, Callable[[Any, Path], Path]]
"""the options of a verb, and what goes on with a run of it"""


def resume(path: Path, verbs: Mapping[str, Verb]) -> Path:
    """Go on with a run.

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
    kind, go_on = verbs[record["verb"]]
    return go_on(build(kind, [read(folder / "options.yaml")]), folder)
