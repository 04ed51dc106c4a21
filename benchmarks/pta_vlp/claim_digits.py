"""`python -m benchmarks.pta_vlp.claim_digits`: does it help to keep the patches that a question asks for?

Scenes of three handwritten digits of scikit-learn in 36 patches; a question names one, the answer is which of
three degrees of brightness it has. 3,000 scenes to learn from, 5 % of them with boxes; 1,500 steps of 48; 600
test scenes with digits that no training scene shows, three questions each. Behind the second of four blocks 9
of 36 patches go on, and a fused token, chosen in every way of `benchmarks.pta_vlp.experiment.ARMS`. Among the
arms are those that could explain a gain away: boxes without dropping, a detector that never learned, random
patches, and three times the steps. One who sees which degrees there are, but not which digit has which, is
right in about 63 % (the row "commonest degree").

`--seeds`, `--arms` (parts of names) and `--processes` choose; finished arms are kept and not run again. All
seeds are stored in benchmarks/results/pta-vlp.json.

Said before it was run: text with boxes > all patches with boxes > CLS attention > random, about as all
patches without; text without boxes is near random. All patches are undertrained in this time, so the gap to
them becomes smaller with three times the steps. A pilot had this order; the spread of the first weights, the
same for all arms, was set on the scenes of `pta-vlp demo`.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.arms import arguments, run_arms
from benchmarks.harness import Row, save, table
from benchmarks.pta_vlp.experiment import ARMS, Setting, commonest, contrasts, rows, run_arm, tiny_setting

WORK = Path("runs/pta-vlp/claim-digits")
SEEDS = (0, 1, 2)


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
    keys = [(name, seed) for seed in seeds for name in chosen]
    jobs = [(f"{slug(name)}-{seed}", run_arm, (setting, name, seed)) for name, seed in keys]
    found = dict(zip(keys, run_arms(jobs, work / "arms", processes=processes), strict=True))
    guess = sum(commonest(setting, seed) for seed in seeds) / len(seeds)
    told = [{"name": "commonest degree", "right %": f"{guess:.1f}"}, *rows(found, chosen, seeds)]
    apart = contrasts(found, chosen, seeds)
    print(table(told))
    if apart:
        print(table(apart))
    if not tiny and tuple(chosen) == tuple(ARMS) and tuple(seeds) == SEEDS:
        about = {
            "versions": ("torch", "timm", "scikit-learn"), "seed": list(seeds),
            "data": f"scikit-learn's digits: {setting.train} scenes learnt from, {setting.test} measured",
        }  # fmt: skip
        save("pta-vlp", told, table="digits", **about)
        save("pta-vlp", apart, table="digit-contrasts", **about)
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
