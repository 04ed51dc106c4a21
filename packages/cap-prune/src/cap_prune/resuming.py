"""An interrupted run goes on with the options that it began with (ours)."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.options import build, read
from nonet.runs import folder_of, read_record

PACKAGE = "cap_prune"


def resume(path: Path) -> Path:
    """Go on with a run of `prune` or `teacher`.

    Args:
        path: its folder, or the folder above.

    Returns:
        The run's folder.

    Raises:
        UserError: no such run, or a run of something else.
    """
    from cap_prune.prune_run import prune_student
    from cap_prune.teacher_run import train_teacher

    folder = folder_of(path)
    assert folder is not None
    record = read_record(folder)
    verbs: dict[str, Callable[[Any, Path], Path]] = {"prune": prune_student, "teacher": train_teacher}
    if record["package"] != PACKAGE or record["verb"] not in verbs:
        raise UserError(
            f"{folder}: a run of {record['package']} {record['verb']}; cap-prune goes on with "
            f"{' and '.join(verbs)}"
        )
    kind = importlib.import_module(f"cap_prune.commands.{record['verb']}").Options
    options = build(kind, [read(folder / "options.yaml")])
    return verbs[record["verb"]](options, folder)
