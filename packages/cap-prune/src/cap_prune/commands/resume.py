"""Go on with an interrupted run of `prune` or `teacher`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Go on with an interrupted run, between two levels or inside one, with the options that it began with.

    The levels that are there stay as they are; the same units are removed as without the interruption.
    A run that is finished stays as it is.
    """

    run: Path
    """folder of the run; or the folder above, for its newest run"""


def run(options: Options) -> int:
    """Go on; prints the run's folder."""
    from cap_prune.commands import prune, teacher
    from cap_prune.prune_run import lacks_levels, prune_student
    from cap_prune.resuming import Verb, resume
    from cap_prune.teacher_run import lacks_model, train_teacher

    verbs: dict[str, Verb] = {
        "prune": Verb(prune.Options, prune_student, lacks_levels),
        "teacher": Verb(teacher.Options, train_teacher, lacks_model),
    }
    resume(options.run, verbs)
    return 0
