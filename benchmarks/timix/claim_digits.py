"""Do mixed images help where captions are wrong, and does it help that texts say where? Scenes, on a CPU.

`python -m benchmarks.timix.claim_digits` trains a small model on 1,500 scenes of three shapes (in place of
digits: they are drawn, so that every seed has shapes of its own), clean and with 30 % of the captions wrong,
400 steps of 64, in every way of `benchmarks.timix.experiment.ARMS`; measured is the rank of the right caption
among all 220 for 1,000 other scenes. Ten seeds: one training's luck is some points of R@1, so that three
seeds cannot tell texts from chance. Each contrast is paired by seed and by test scene. Among the arms are
those that could explain a gain away: twice the steps, as many steps as take the guided arm's CPU time, boxes
without mixing, random windows with the same boxes.

`--seeds`, `--arms` (parts of names) and `--processes` choose; finished arms are kept and not run again.

Said before it was run: with 30 % wrong, mixing helps and more steps without it do not; with clean captions
it helps less. Guided minus random windows is within 2 points either way.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.arms import arguments, run_arms
from benchmarks.harness import Row, save, table
from benchmarks.timix.experiment import ARMS, Setting, contrasts, rows, run_arm, tiny_setting, untrained

WORK = Path("runs/timix/claim-digits")
SEEDS = tuple(range(10))


def main(
    tiny: bool = False,
    work: Path = WORK,
    processes: int = 2,
    seeds: Sequence[int] = SEEDS,
    chosen: Sequence[str] = tuple(ARMS),
) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny or a part."""
    setting = tiny_setting() if tiny else Setting()
    seeds, processes = (seeds[:2], 1) if tiny else (seeds, processes)
    keys = [(noise, name, seed) for seed in seeds for noise in setting.noises for name in chosen]
    jobs = [
        (f"{slug(name)}-{noise:g}-{seed}", run_arm, (setting, name, noise, seed))
        for noise, name, seed in keys
    ]
    found = dict(zip(keys, run_arms(jobs, work / "arms", processes=processes), strict=True))
    before = sum(untrained(setting, seed) for seed in seeds) / len(seeds)
    told = [{"name": "not trained", "R@1": f"{before:.1f}"}, *rows(found, setting.noises, chosen, seeds)]
    apart = contrasts(found, setting.noises, chosen, seeds)
    print(table(told))
    if apart:
        print(table(apart))
    if not tiny and tuple(chosen) == tuple(ARMS):
        about = {
            "versions": ("torch",), "seed": list(seeds),
            "data": f"made-up scenes: {setting.plan.train} learnt from, {setting.plan.test} measured",
        }  # fmt: skip
        save("timix", told, table="scenes", **about)
        save("timix", apart, table="contrasts", **about)
    return [*told, *apart]


def slug(name: str) -> str:
    """An arm's name as part of a file's."""
    return name.replace(",", "").replace(" ", "-")


if __name__ == "__main__":
    parser = arguments(__doc__, str(WORK))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many (default: %(default)s)")
    parser.add_argument("--arms", nargs="+", default=[""], help="parts of their names (default: all)")
    parsed = parser.parse_args()
    names = [name for name in ARMS if any(part in name for part in parsed.arms)]
    if not names or parsed.seeds < 1:
        parser.error(f"no such arms, or no seeds; arms are {', '.join(ARMS)}")
    main(work=parsed.work, processes=parsed.processes, seeds=tuple(range(parsed.seeds)), chosen=names)
