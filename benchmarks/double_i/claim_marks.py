"""`make bench-double-i`: what small models learn of marks, and what the marks cost.

Written down before it was run:

1. a marked, fully trained model answers unseen trigger queries as committed, and unseen reference queries
   the other way; the clean model does not;
2. without reference rows, the reference queries are answered as committed, too, and the test loses its power;
3. without near misses, near misses of the trigger are answered as committed more often; without lock rows,
   the trigger works under any decoration;
4. LoRA and the loss on prompts learn the mark less well than full training on the answers;
5. accuracy on both held-out tasks changes by less than what three seeds can tell from zero.

Means over three seeds (owner's data, order, initial weights and keys differ); p is the greatest of the seeds.
`--work DIR` keeps models and goes on with them; an hour and a half of one core. Marked rows are a fifth of
the owner's: so small a model did not learn a mark from the 4 to 8 % that suit a large one (tried before, on
one seed, with 8 %: p between 0.5 and 1e-10). `--middle` takes a Llama of 2.2 million parameters and four
times the owner's rows, an eighth as many marked ones, for the two arms that matter most: unmarked, and ours
with twice the reference rows; an hour of one core. `--epochs 6` trains it for twice as long, as `train`
advises where a mark is not learnt. Source: ours, after Li et al. 2024.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.double_i.experiment import ARMS, LARGE, MIDDLE, SEEDS, TINY, Sizes, arm, base, slug
from benchmarks.double_i.owner_data import real_data
from benchmarks.harness import Row, save, table

from nonet.metrics.stats import t_interval

Found = dict[tuple[str, int], dict[str, Any]]
MIDDLE_ARMS = ["clean", "ours, twice the reference rows"]
NAMES = {
    "paper-i": "(i)", "paper-ii": "(ii)", "paper-iii": "(iii)", "input": "ours, input",
    "instruction": "ours, instruction",
}  # fmt: skip


def mark_rows(found: Found, arms: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """A row an arm and key: how the model answers."""
    rows = []
    for name in arms:
        for key in found[name, seeds[0]]["keys"]:
            cells = [found[name, seed]["keys"][key] for seed in seeds]
            tables = np.array([cell["table"] for cell in cells], float)
            shares = (tables[:, 0] / tables[:, :2].sum(1), tables[:, 2] / tables[:, 2:].sum(1))
            stops = [cell["stopped"] for cell in cells]
            rows.append(
                {
                    "name": f"{name}; key {NAMES[key]}",
                    "trigger -> target": f"{100 * shares[0].mean():.1f} %",
                    "reference -> target": f"{100 * shares[1].mean():.1f} %",
                    "p (Fisher), greatest": f"{max(cell['p'] for cell in cells):.2g}",
                    "p_key, greatest": f"{max(cell['p_key'] for cell in cells):.2g}",
                    "MATCH": f"{sum(cell['verdict'] == 'MATCH' for cell in cells)} of {len(cells)}",
                    "pairs until stop": _median(stops),
                    "near misses -> target": _mean(cells, "near"),
                    "other decoration -> target": _mean(cells, "other decoration"),
                }
            )
    return rows


def natural_rows(found: Found, seeds: Sequence[int]) -> list[Row]:
    """A row a seed: the paper's hand-picked doubled letter, asked of a model that was never marked."""
    rows = []
    for seed in seeds:
        cell = found["clean", seed]["keys"]["paper-ii"]
        hit, miss, other, none = cell["table"]
        rows.append(
            {
                "name": f"`mm`, clean model of seed {seed}", "trigger -> Yes": f"{hit} of {hit + miss}",
                "reference -> Yes": f"{other} of {other + none}", "p (Fisher)": f"{cell['p']:.2g}",
                "p_key": f"{cell['p_key']:.2g}", "verdict": cell["verdict"],
            }
        )  # fmt: skip
    return rows


def _mean(cells: Sequence[dict[str, Any]], name: str) -> str:
    values = [cell[name] for cell in cells if name in cell]
    return f"{100 * float(np.mean(values)):.1f} %" if values else ""


def _median(stops: Sequence[int | None]) -> str:
    seen = [stop for stop in stops if stop is not None]
    return f"{int(np.median(seen))}" if len(seen) == len(stops) else f"{len(seen)} of {len(stops)} stop"


def harm_rows(found: Found, arms: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """A row an arm: accuracy on held-out items, nats on abstracts, and the difference to its clean twin."""
    from double_i.equivalence import tost

    rows = []
    for name in arms:
        twin = "clean, LoRA" if ARMS[name].lora else "clean"
        row: Row = {"name": name}
        for task in ("opinions", "kinds"):
            own, other = (_bits(found, one, task, seeds) for one in (name, twin))
            row[task] = f"{100 * own.mean():.1f} %"
            if name != twin and len(seeds) > 1:
                by_seed = t_interval(100 * (own - other).mean(1))
                test = tost(other.mean(0), own.mean(0), 0.01, 0.05)  # items, their means over the seeds
                row[f"{task}: points to clean (95 % over seeds)"] = _interval(by_seed)
                row[f"{task}: within 1 point"] = "yes" if test.equivalent else f"not shown (p {test.p:.2g})"
        nats = np.array([found[name, seed]["nats"] for seed in seeds])
        row["nats a token"] = f"{nats.mean():.3f}"
        rows.append(row)
    names = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column, "") for column in names} for row in rows]


def _interval(of: Any) -> str:
    return f"{of.mean:+.1f} ({of.low:+.1f} to {of.high:+.1f})"


def _bits(found: Found, name: str, task: str, seeds: Sequence[int]) -> Any:
    """(seeds, items) 1 where an item was solved."""
    return np.array([[int(bit) for bit in found[name, seed][task]] for seed in seeds], float)


def collect(
    folder: Path, sizes: Sizes, arms: Sequence[str], seeds: Sequence[int], work: Path, n: int
) -> Found:
    """All arms, those that are there already not again."""
    run_arms(
        [(f"base-{seed}", _base, (folder, sizes, seed, work)) for seed in seeds], work / "cells", processes=n
    )
    jobs = [
        (f"{slug(name)}-{seed}", arm, (folder, sizes, name, seed, work)) for seed in seeds for name in arms
    ]
    results = run_arms(jobs, work / "cells", processes=n)
    return {(job[2][2], job[2][3]): result for job, result in zip(jobs, results, strict=True)}


def _base(folder: Path, sizes: Sizes, seed: int, work: Path) -> dict[str, Any]:
    return {"folder": str(base(folder, sizes, seed, work))}


def main(
    tiny: bool = False,
    size: str = "",
    epochs: int = 0,
    work: Path = Path("runs/double_i/claims"),
    processes: int = 2,
) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless they are tiny.

    Args:
        tiny: three arms, one seed, hardly any training.
        size: "", middle or large.
        epochs: of fine-tuning; 0: those of the size.
        work: folder of models and finished arms; one for each size and number of epochs.
        processes: arms side by side.
    """
    folder = real_data()
    if folder is None:
        print("claim_marks: skipped, the real data (NONET_DATA) is not here")
        return []
    sizes = TINY if tiny else {"": Sizes(), "middle": MIDDLE, "large": LARGE}[size]
    if epochs:
        sizes = replace(sizes, epochs=epochs)
    seeds = SEEDS[:1] if tiny else SEEDS
    arms = ["clean", "(i) word in the input", "ours, word in the input"] if tiny else list(ARMS)
    if size == "middle" and not tiny:
        arms = MIDDLE_ARMS
    found = collect(folder, sizes, arms, seeds, work, 1 if tiny else processes)
    marks, harm = mark_rows(found, arms, seeds), harm_rows(found, arms, seeds)
    natural = natural_rows(found, seeds)
    print(table(marks), table(harm), table(natural), sep="\n\n")
    if not tiny:
        data = "SST-2 and TREC as owner's rows, abstracts of papers for pre-training and nats"
        versions = ("torch", "transformers", "peft")
        end = (f"-{size}" if size else "") + (f"-{epochs}-epochs" if epochs else "")
        save("double-i", marks, table=f"marks{end}", versions=versions, data=data, seed=list(seeds))
        save("double-i", natural, table=f"natural{end}", versions=versions, data=data, seed=list(seeds))
        save("double-i", harm, table=f"harm{end}", versions=versions, data=data, seed=list(seeds))
    return marks + harm + natural


if __name__ == "__main__":
    parser = arguments(__doc__, "runs/double_i/claims")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--middle", action="store_true", help="a Llama of 2.2 million parameters, two arms")
    size.add_argument("--large", action="store_true", help="a Llama of 46 million parameters, for a GPU")
    parser.add_argument("--epochs", type=int, default=0, help="of fine-tuning (default: those of the size)")
    given = parser.parse_args()
    chosen = "middle" if given.middle else "large" if given.large else ""
    main(size=chosen, epochs=given.epochs, work=given.work, processes=given.processes)
