"""Choosing the units to prune: our ranking in whole tensors against Python loops over single numbers.

The sizes of BERT-base and of MiniLM, half of the units. Both choose the same ones.
"""

from functools import partial

import torch
from benchmarks.cap_prune.plain_selection import Unit, plain_choice
from benchmarks.harness import Row, save, table, versus

from cap_prune.criteria import UnitScores
from cap_prune.selection import choose
from cap_prune.units import Units

SEED = 0
PERCENT = 50
SIZES = {"BERT-base": (12, 12, 3072), "MiniLM": (6, 12, 1536)}
"""layers, heads a layer, neurons a layer"""


def main(*, tiny: bool = False) -> list[Row]:
    """A row a size."""
    rows = []
    for name, (layers, heads, neurons) in ({"tiny": (2, 4, 32)} if tiny else SIZES).items():
        random = torch.Generator().manual_seed(SEED)
        scores = UnitScores(
            list(torch.rand(layers, heads, generator=random)),
            list(torch.rand(layers, neurons, generator=random)),
        )
        dense = Units.full(layers, heads, neurons)
        rows.append(
            versus(
                f"choosing half of the units of {name}, against Python loops",
                partial(ours, scores, dense),
                partial(plain_choice, *scores, PERCENT),
                same,
                rounds=1 if tiny else 9,
                unit="units",
                per_call=layers * (heads + neurons),
            )
        )
    print(table(rows))
    if not tiny:
        save("cap-prune", rows, table="selection", data="random scores", seed=SEED)
    return rows


def ours(scores: UnitScores, dense: Units) -> Units:
    """What is left."""
    return choose(scores, dense, PERCENT)


def same(left: Units, gone: tuple[set[Unit], set[Unit]]) -> bool | str:
    """Whether what is left and what is gone make up the whole."""
    for kept, lost, width in (
        (left.heads, gone[0], left.all_heads),
        (left.neurons, gone[1], left.all_neurons),
    ):
        mine = {
            (layer, unit) for layer, live in enumerate(kept) for unit in range(width) if unit not in set(live)
        }
        if mine != lost:
            return f"{len(mine ^ lost)} units differ"
    return True


if __name__ == "__main__":
    main()
