"""What the experiment on digits is made of: ways of training, one training, tables of differences.

All arms of a seed have the same scenes, first weights, order and questions. A difference between two arms is
taken question by question; its interval is over seeds, as the questions of one training are not independent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from benchmarks.harness import Row
from benchmarks.pta_vlp.digit_scenes import SIDE, digit_scenes

from pta_vlp.demonstration import Arm, Plan, percent, train
from pta_vlp.select_options import kept_count

FULL = "all patches"
ALIGNED = "all patches, boxes"
RANDOM = "random"
ATTENTION = "CLS attention"
TEXT = "text, boxes"
UNTAUGHT = "text, no boxes"
LONG, LONG_ALIGNED, LONG_TEXT = (f"{name}, 3 x the steps" for name in (FULL, ALIGNED, TEXT))

ARMS: dict[str, Arm] = {
    TEXT: Arm("text", alignment=True),
    ALIGNED: Arm(alignment=True),
    FULL: Arm(),
    ATTENTION: Arm("attention"),
    RANDOM: Arm("random"),
    UNTAUGHT: Arm("text"),
    LONG: Arm(longer=3),
    LONG_ALIGNED: Arm(alignment=True, longer=3),
    LONG_TEXT: Arm("text", alignment=True, longer=3),
}
"""boxes: the patch detector learns from those of 5 % of the scenes (PTA)"""

CONTRASTS = [
    (TEXT, ALIGNED), (TEXT, FULL), (ALIGNED, FULL), (TEXT, ATTENTION), (TEXT, RANDOM), (TEXT, UNTAUGHT),
    (ATTENTION, RANDOM), (RANDOM, FULL), (UNTAUGHT, RANDOM), (LONG, FULL), (LONG_TEXT, LONG),
    (LONG_TEXT, LONG_ALIGNED), (LONG_ALIGNED, LONG), (TEXT, LONG),
]  # fmt: skip
"""first minus second"""


class Setting(NamedTuple):
    """The sizes of an experiment."""

    plan: Plan = Plan()
    train: int = 3000
    """scenes to learn from"""
    test: int = 600
    """scenes to measure on, with three questions each"""


def tiny_setting() -> Setting:
    """The smallest: three steps of a narrow model."""
    return Setting(Plan(boxed=6, width=16, depth=2, block=0, batch=8, regions=3, steps=3), 24, 12)


def run_arm(setting: Setting, name: str, seed: int) -> dict[str, Any]:
    """One training.

    Returns:
        `right`: of each question to each test scene (n, 3); `recall` of the named digit's patches among those
        kept, or None; `tokens` of an image in the blocks behind the selection; `steps`; `seconds` of CPU time
        for training alone.
    """
    arm, plan = ARMS[name], setting.plan
    scenes = digit_scenes(setting.train, seed)
    held_out = digit_scenes(setting.test, seed, part="test")
    found = train(arm, scenes, held_out, plan, seed=seed)
    return {
        "right": found.right.tolist(), "recall": found.recall, "tokens": tokens_behind(arm, plan),
        "steps": plan.steps * arm.longer, "seconds": found.seconds,
        "losses": [float(np.mean(part)) for part in np.array_split(found.losses, min(20, plan.steps))],
    }  # fmt: skip


def tokens_behind(arm: Arm, plan: Plan) -> int:
    """Tokens of an image behind the selection: CLS, and all patches or those kept with the fused one."""
    patches = (SIDE // plan.patch) ** 2
    return 1 + patches if arm.selection == "off" else 2 + kept_count(plan.keep, patches)


def commonest(setting: Setting, seed: int) -> float:
    """Percent right for one who sees the degrees but not which digit has which, and says the commonest."""
    answers = digit_scenes(setting.test, seed, part="test").answers
    counts = np.stack([(answers == level).sum(1) for level in range(setting.plan.answers)], 1)
    return 100 * float((counts.max(1) / answers.shape[1]).mean())


def rows(
    found: Mapping[tuple[str, int], Mapping[str, Any]], arms: Sequence[str], seeds: Sequence[int]
) -> list[Row]:
    """A row for each arm: means over seeds, their spread, steps and CPU seconds of training."""
    told: list[Row] = []
    for name in arms:
        parts = [found[name, seed] for seed in seeds]
        shares = [percent(np.array(each["right"])) for each in parts]
        spread = f" (sd {np.std(shares, ddof=1):.1f})" if len(seeds) > 1 else ""
        kept = [each["recall"] for each in parts]
        told.append(
            {
                "name": name,
                "right %": f"{np.mean(shares):.1f}{spread}",
                "recall@keep %": f"{100 * np.mean(kept):.1f}" if None not in kept else "-",
                "tokens behind": str(parts[0]["tokens"]),
                "steps": str(parts[0]["steps"]),
                "CPU s": f"{np.mean([each['seconds'] for each in parts]):.0f}",
            }
        )
    return told


def contrasts(
    found: Mapping[tuple[str, int], Mapping[str, Any]], arms: Sequence[str], seeds: Sequence[int]
) -> list[Row]:
    """A row for each pair of arms that are both there: the difference in percentage points.

    The interval is Student's over the seeds' differences. `won - lost` counts, over all seeds, questions that
    the first arm alone got right and those that the second alone did.
    """
    from nonet.metrics.stats import t_interval

    told: list[Row] = []
    for first, second in CONTRASTS:
        if first not in arms or second not in arms:
            continue
        hits = [[np.array(found[name, seed]["right"]) for seed in seeds] for name in (first, second)]
        apart = [100 * float(a.mean() - b.mean()) for a, b in zip(*hits, strict=True)]
        won = sum(int((a & ~b).sum()) for a, b in zip(*hits, strict=True))
        lost = sum(int((b & ~a).sum()) for a, b in zip(*hits, strict=True))
        row: Row = {"name": f"{first} minus {second}", "points": f"{np.mean(apart):+.1f}"}
        if len(seeds) > 1:
            _, low, high = t_interval(apart)
            row |= {"95 %": f"{low:+.1f} to {high:+.1f}", "verdict": verdict(low, high)}
        told.append(row | {"questions won - lost": f"{won} - {lost}", "seeds": str(len(seeds))})
    return told


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"
