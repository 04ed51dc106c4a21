"""What of contrastive pruning does the work? Controls of claim_contrast, cut to 90 % in one step.

`python -m benchmarks.cap_prune.claim_controls` prunes MiniLM with the teachers and measures of
`claim_contrast` to 90 % of heads and neurons at once, 100 steps of 32: KD and CAP; CAP without the
pre-trained model, and at the weight 0.3 of the released scripts; KD with units pruned at random; and the
released way to divide the losses with and without its supervised term at weight 3, which is next to nothing
there. Three seeds; forty minutes of one core, and two on a GPU, which is taken where there is one (then in
bf16), with `--processes 5`.

Said before it was run: CAP keeps more of STS-B than KD, less without the pre-trained model; at weight 0.3
it is less accurate than KD; random units are worse than those of first order; the released supervised term
changes accuracy by less than its interval.
"""

from dataclasses import replace
from pathlib import Path

from benchmarks.arms import arguments
from benchmarks.cap_prune.claim_contrast import SEEDS, WORK, at_hand, pruned, taught
from benchmarks.cap_prune.experiment import Arm, Setting, rows, tiny_setting
from benchmarks.harness import Row, save, table

LEVEL = 90  # percent
ARMS = {
    "KD": Arm(),
    "CAP": Arm(contrast=0.05),
    "CAP without PrC": Arm(contrast=0.05, pre=False),
    "CAP at 0.3": Arm(contrast=0.3),
    "random units": Arm(method="random"),
    "released": Arm(contrast=0.05, reduction="released"),
    "released, supervised": Arm(contrast=0.05, reduction="released", supervised=3.0),
}


def main(tiny: bool = False, work: Path = WORK, processes: int = 2) -> list[Row]:
    """All controls and seeds; kept in benchmarks/results unless they are tiny."""
    if not at_hand("claim_controls", tiny):
        return []
    setting = tiny_setting(Setting()) if tiny else Setting(accelerator="auto")
    setting = replace(setting, targets=(50 if tiny else LEVEL,))
    seeds, processes = (SEEDS[:1], 1) if tiny else (SEEDS, processes)
    taught(setting, seeds, work, tiny, processes)
    arms = {f"at once {name}": what for name, what in list(ARMS.items())[-2 if tiny else 0 :]}
    found = pruned(setting, arms, seeds, work, tiny, processes)
    shown = {(name.removeprefix("at once "), seed): result for (name, seed), result in found.items()}
    names = list(dict.fromkeys(name for name, _ in shown))
    told = rows(shown, names, seeds, names[0], [f"step-{each:g}" for each in setting.targets])
    if "released" in names and not tiny:
        told += released(shown, seeds)
    print(table(told))
    if not tiny:
        from nonet.training.devices import pick_device

        save(
            "cap-prune", told, table="controls", versions=("torch", "transformers", "lightning"),
            data="SST-2: 3,000 sentences learnt from, 2,693 scored; STS-B: 1,379 pairs", seed=list(seeds),
            device=pick_device(),
        )  # fmt: skip
    return told


def released(found: dict, seeds: tuple[int, ...]) -> list[Row]:
    """What the supervised term of the released form changes."""
    told = rows(found, ["released", "released, supervised"], seeds, "released", [f"step-{LEVEL}"])[1:]
    names = {"accuracy, minus released": "accuracy, minus KD", "STS-B, minus released": "STS-B, minus KD"}
    return [
        {names.get(key, key): value for key, value in row.items()} | {"name": "supervised, minus released"}
        for row in told
    ]


if __name__ == "__main__":
    parsed = arguments(__doc__, str(WORK)).parse_args()
    main(work=parsed.work, processes=parsed.processes)
