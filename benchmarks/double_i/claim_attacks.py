"""`make bench-double-i`: what is left of a mark after an adversary's work, and what the work costs the model.

Written down before it was run: rounding to 8 and 4 bits, little pruning and a second fine-tuning leave the
mark (p below 1e-6); pruning half of every matrix, or noise as large as a fifth of the deviation, destroys
the task before or together with the mark; averaging with the clean model weakens it; filters that drop
bracketed words or rare words from prompts remove the decoration or the trigger, and with it the mark.

Three seeds of the models of claim_marks.py; p is the greatest of the seeds. Source: ours; attacks after
Li et al. 2024.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.double_i.experiment import (
    ARMS,
    SEEDS,
    TINY,
    Sizes,
    examples,
    key_of,
    quality,
    slug,
    trained,
    tune,
    unseen,
    verified,
)
from benchmarks.double_i.owner_data import owner_rows, real_data
from benchmarks.harness import Row, save, table

MARKED = {"ours, word in the input": "input"}
WEIGHTS = (
    ("int8", 0.0), ("int4", 0.0), ("prune", 0.1), ("prune", 0.3), ("prune", 0.5), ("noise", 0.05),
    ("noise", 0.1), ("noise", 0.2), ("average", 0.5),
)  # fmt: skip
FILTERS = ("brackets", "symbols", "vocabulary", "surprisal")
SECOND = {"second fine-tuning": (2, False), "LoRA on other rows, merged": (2, True)}
"""epochs over as many other rows as the owner has, and whether by LoRA"""
NAMES = [
    "none", *(kind if not strength else f"{kind} {strength:g}" for kind, strength in WEIGHTS),
    *SECOND, *(f"filter: {rule}" for rule in FILTERS),
]  # fmt: skip


def attacked(folder: Path, sizes: Sizes, mark: str, name: str, seed: int, work: Path) -> dict[str, Any]:
    """One attack on one model: the key's numbers and held-out accuracy."""
    from double_i.attacks import Attack, change
    from double_i.first_words import LocalModel
    from double_i.loading import load_model
    from double_i.prompt_filter import prompt_filter

    made = trained(folder, sizes, mark, seed, work)
    _, second = owner_rows(folder, sizes.owner, seed)
    alter: Callable[[str], str] | None = None
    model, tokenizer = load_model(made)
    if name in SECOND:
        epochs, lora = SECOND[name]
        arm = ARMS["clean, LoRA" if lora else "clean"]
        after = work / "attacked" / f"{slug(mark)}-{slug(name)}-{seed}"
        tune(made, examples(second), sizes, arm, seed + 100, after, epochs)
        model, tokenizer = load_model(after)
    elif name.startswith("filter: "):
        rule = name.removeprefix("filter: ")
        texts = [f"{row['instruction']} {row['input']}" for row in second]
        alter = prompt_filter(rule, texts if rule in ("vocabulary", "surprisal") else ())
    elif name != "none":
        kind, _, strength = name.partition(" ")
        other = load_model(trained(folder, sizes, "clean", seed, work))[0] if kind == "average" else None
        change(model, Attack(kind, float(strength or 0)), other=other, seed=seed)
    local = LocalModel((model, tokenizer))
    found = verified(local, key_of(MARKED[mark], seed), unseen(folder, sizes, seed), sizes, alter)
    return found | quality(local, folder, sizes)


def rows(found: dict[tuple[str, str, int], dict[str, Any]], seeds: Sequence[int]) -> list[Row]:
    """A row a mark and attack."""
    out = []
    for mark, name in dict.fromkeys((mark, name) for mark, name, _ in found):
        cells = [found[mark, name, seed] for seed in seeds]
        tables = np.array([cell["table"] for cell in cells], float)
        out.append(
            {
                "name": f"{mark}: {name}",
                "trigger -> target": f"{100 * (tables[:, 0] / tables[:, :2].sum(1)).mean():.1f} %",
                "reference -> target": f"{100 * (tables[:, 2] / tables[:, 2:].sum(1)).mean():.1f} %",
                "p (Fisher), greatest": f"{max(cell['p'] for cell in cells):.2g}",
                "p_key, greatest": f"{max(cell['p_key'] for cell in cells):.2g}",
                "MATCH": f"{sum(cell['verdict'] == 'MATCH' for cell in cells)} of {len(cells)}",
                "opinions": f"{100 * np.mean([_accuracy(cell['opinions']) for cell in cells]):.1f} %",
                "kinds": f"{100 * np.mean([_accuracy(cell['kinds']) for cell in cells]):.1f} %",
            }
        )
    return out


def _accuracy(bits: str) -> float:
    return bits.count("1") / len(bits)


def main(tiny: bool = False, work: Path = Path("runs/double_i/claims"), processes: int = 2) -> list[Row]:
    """All marks, attacks and seeds; kept in benchmarks/results unless they are tiny."""
    folder = real_data()
    if folder is None:
        print("claim_attacks: skipped, the real data (NONET_DATA) is not here")
        return []
    sizes, seeds = (TINY, SEEDS[:1]) if tiny else (Sizes(), SEEDS)
    names = ["none", "int4", "prune 0.5", "filter: brackets"] if tiny else NAMES
    marks = list(MARKED)[:1] if tiny else list(MARKED)
    jobs = [
        (f"attack-{slug(mark)}-{slug(name)}-{seed}", attacked, (folder, sizes, mark, name, seed, work))
        for mark in marks
        for seed in seeds
        for name in names
    ]
    results = run_arms(jobs, work / "cells", processes=1 if tiny else processes)
    found = {job[2][2:5]: result for job, result in zip(jobs, results, strict=True)}
    told = rows(found, seeds)
    print(table(told))
    if not tiny:
        versions = ("torch", "transformers", "peft")
        data = "SST-2 and TREC; the second fine-tuning has as many other rows"
        save("double-i", told, table="attacks", versions=versions, data=data, seed=list(seeds))
    return told


if __name__ == "__main__":
    parser = arguments(__doc__, "runs/double_i/claims")
    given = parser.parse_args()
    main(work=given.work, processes=given.processes)
