"""What the experiments on mixed images share: ways of training, one training, tables of differences.

An arm is `timix.demonstration.train` on scenes of digits with a part of their captions wrong, measured on
scenes of other scans. All arms of a seed have the same scenes, first weights, order and sides of windows; a
difference between two arms is taken scene by scene, and its interval is over seeds, as scenes of one training
are not independent of each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.harness import Row
from benchmarks.timix.digits import digit_scenes

from timix.demonstration import Arm, Plan, new_model, ranks, recall, train

PLAIN = "none"
TWICE = "none, twice the steps"
AS_LONG = "none, as long as guided"
CONTROL = "random, boxes"
GUIDED = "guided, boxes"
TOLD = "guided by all true boxes"

ARMS: dict[str, Arm] = {
    PLAIN: Arm(),
    TWICE: Arm(),
    AS_LONG: Arm(),
    "boxes only": Arm(predictor=True),
    "random": Arm("random"),
    "cutmix": Arm("cutmix"),
    "mixup": Arm("mixup"),
    "mixgen": Arm("mixgen"),
    CONTROL: Arm("random", predictor=True),
    GUIDED: Arm("maxmin", predictor=True),
    "guided, boxes, soft": Arm("maxmin", labels="soft", predictor=True),
    "aligned, boxes": Arm("aligned", predictor=True),
    "guided by cosines": Arm("maxmin", "itc"),
    TOLD: Arm("maxmin", told=True),
}

MAIN = (PLAIN, TWICE, "random", CONTROL, GUIDED)
"""arms of the contrasts that answer the questions"""

CONTRASTS = [
    ("random", PLAIN), (TWICE, PLAIN), ("random", TWICE), (GUIDED, PLAIN), (GUIDED, TWICE), (GUIDED, CONTROL),
    (GUIDED, "random"), (TOLD, "random"), (GUIDED, AS_LONG), ("boxes only", PLAIN),
    ("guided by cosines", "random"), (GUIDED, "cutmix"), ("guided, boxes, soft", GUIDED),
    ("aligned, boxes", GUIDED), (GUIDED, "mixup"), (GUIDED, "mixgen"),
]  # fmt: skip
"""first minus second. Guidance by texts is told from mixing by (guided, boxes) minus (random, boxes), which
have the same boxes, losses, labels and areas, and differ in the places of windows alone"""

PLAN = Plan(
    train=1500, test=1000, boxed=75, patch=8, width=64, depth=3, block=1, batch=64, steps=400, lr=1e-3,
    ramp=0.3, r_min=0.34, r_max=0.67,
)  # fmt: skip
"""sizes of a training: windows have sides of 2 to 4 of 6 patches; the predictor looks behind block 2 of 3"""

Key = tuple[float, str, int]
"""share of wrong captions, arm, seed"""


@dataclass(frozen=True)
class Setting:
    """The sizes of an experiment."""

    plan: Plan = PLAN
    noises: tuple[float, ...] = (0.3, 0.0)
    """shares of wrong captions; the first is the one that the questions are about"""
    seeds: int = 10
    """of the main arms at the first share"""
    few: int = 3
    """seeds of the other arms at the first share, and of the main arms at others"""
    timed: int = 12
    """steps of either arm that say how much longer a step of the guided one takes"""


def tiny_setting() -> Setting:
    """The smallest: four steps of a narrow model."""
    plan = Plan(train=24, test=12, boxed=6, patch=16, width=16, depth=2, block=0, batch=8, steps=4)
    return Setting(plan, (0.3,), seeds=2, few=2, timed=2)


def keys(setting: Setting, arms: Sequence[str]) -> list[Key]:
    """What is trained, all arms of a seed before the next seed."""
    first = setting.noises[0]
    return [
        (noise, name, seed)
        for seed in range(max(setting.seeds, setting.few))
        for noise in setting.noises
        for name in arms
        if (noise == first or name in MAIN)
        and seed < (setting.seeds if noise == first and name in MAIN else setting.few)
    ]


def run_arm(setting: Setting, name: str, noise: float, seed: int) -> dict[str, Any]:
    """One training.

    Returns:
        `ranks` of the right caption for every test scene, `steps`, `seconds` of CPU time for training alone.
    """
    plan = setting.plan
    scenes = digit_scenes(plan.train, seed, wrong=noise)
    held_out = digit_scenes(plan.test, seed, part="test")
    steps = plan.steps
    if name == TWICE:
        steps *= 2
    elif name == AS_LONG:
        seconds = [
            train(ARMS[each], scenes, held_out, plan, seed=seed, steps=setting.timed).seconds
            for each in (PLAIN, GUIDED, PLAIN, GUIDED)
        ]
        steps = max(1, round(steps * (seconds[1] + seconds[3]) / max(seconds[0] + seconds[2], 1e-9)))
    found = train(ARMS[name], scenes, held_out, plan, seed=seed, steps=steps)
    return {"ranks": found.ranks.tolist(), "steps": steps, "seconds": found.seconds}


def rows(found: Mapping[Key, Mapping[str, Any]]) -> list[Row]:
    """A row for each arm: means over seeds, their spread, steps and CPU seconds of training."""
    told: list[Row] = []
    for noise, name in dict.fromkeys(key[:2] for key in sorted(found, key=_order)):
        parts = [each for key, each in found.items() if key[:2] == (noise, name)]
        firsts = [recall(np.array(each["ranks"]), 1) for each in parts]
        spread = f" (sd {np.std(firsts, ddof=1):.1f})" if len(parts) > 1 else ""
        told.append(
            {
                "name": f"{name}; {noise:.0%} wrong",
                "R@1": f"{np.mean(firsts):.1f}{spread}",
                "R@5": f"{np.mean([recall(np.array(each['ranks']), 5) for each in parts]):.1f}",
                "steps": f"{np.mean([each['steps'] for each in parts]):.0f}",
                "CPU s": f"{np.mean([each['seconds'] for each in parts]):.1f}",
                "seeds": str(len(parts)),
            }
        )
    return told


def contrasts(found: Mapping[Key, Mapping[str, Any]]) -> list[Row]:
    """A row for each pair of arms that have seeds in common: the difference of R@1 in percentage points.

    The interval is Student's over the seeds' differences. `scenes won - lost` counts, over all seeds, test
    scenes that the first arm alone got right and those that the second alone did.
    """
    from nonet.metrics.stats import t_interval

    told: list[Row] = []
    for noise in dict.fromkeys(key[0] for key in sorted(found, key=_order)):
        for first, second in CONTRASTS:
            seeds = [
                seed for of, name, seed in found if (of, name) == (noise, first)
                and (noise, second, seed) in found
            ]  # fmt: skip
            if not seeds:
                continue
            hits = [
                [np.array(found[noise, name, seed]["ranks"]) < 1 for seed in seeds]
                for name in (first, second)
            ]
            apart = [100 * float(a.mean() - b.mean()) for a, b in zip(*hits, strict=True)]
            won = sum(int((a & ~b).sum()) for a, b in zip(*hits, strict=True))
            lost = sum(int((b & ~a).sum()) for a, b in zip(*hits, strict=True))
            row: Row = {"name": f"{first} minus {second}; {noise:.0%} wrong", "R@1": f"{np.mean(apart):+.2f}"}
            if len(seeds) > 1:
                _, low, high = t_interval(apart)
                row |= {"95 %": f"{low:+.2f} to {high:+.2f}", "verdict": verdict(low, high)}
            told.append(row | {"scenes won - lost": f"{won} - {lost}", "seeds": str(len(seeds))})
    return told


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"


def untrained(setting: Setting, seed: int) -> float:
    """Recall at 1 in percent of the model with random weights."""
    held_out = digit_scenes(setting.plan.test, seed, part="test")
    return recall(ranks(new_model(setting.plan, seed)[0], held_out), 1)


def _order(key: Key) -> tuple[float, int, int]:
    """More wrong captions first; arms as in `ARMS`."""
    return -key[0], list(ARMS).index(key[1]), key[2]
