"""Transport of words to regions: a batch of proximal-point plans against an exact solver, pair by pair.

Ours is `transport_distance`, 50 iterations for all pairs at once; the peer is POT's `ot.emd2`, the exact
distance of one pair a call, in a loop as its users write it. The two are not the same number: ours is a plan
that all but meets the masses, at a cost near the least. They agree within `CLOSE`, and the row keeps both
means and the largest difference. The second row is our plan against the method as it is written down, in
batches too.
"""

import warnings
from typing import Any

import numpy as np
import torch
from benchmarks.harness import Row, save, table, versus
from torch import Tensor

from nonet.vision_language.objectives import cosine_cost, transport_distance, transport_plan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of escapes in its documentation
    import ot

PAIRS, WORDS, REGIONS, WIDTH = 512, 20, 36, 64
SEED = 0
CLOSE = 0.01
"""cost, of 0 to 2: how far a distance after 50 iterations may be from the exact one"""
BETA, ITERATIONS = 0.5, 50


def costs(pairs: int) -> Tensor:
    """Cosine costs of made-up words and regions, half of which are near a word of their pair."""
    seeded = torch.Generator().manual_seed(SEED)
    words = torch.randn(pairs, WORDS, WIDTH, generator=seeded)
    regions = torch.randn(pairs, REGIONS, WIDTH, generator=seeded)
    near = torch.arange(REGIONS) % WORDS
    regions[:, ::2] += 2 * words[:, near[::2]]
    return cosine_cost(words, regions)


def exact(cost: Any) -> Any:
    """The least cost of each pair, one call each."""
    m, n = cost.shape[1:]
    a, b = np.full(m, 1 / m), np.full(n, 1 / n)
    return np.array([ot.emd2(a, b, each) for each in cost])


def plain_plan(cost: Tensor) -> Tensor:
    """The method as it is written down: Q = A * T, two scalings, T = both times Q."""
    B, M, N = cost.shape
    kernel, plan = torch.exp(-cost / BETA), torch.ones_like(cost)
    sigma = cost.new_full((B, M), 1 / M)
    for _ in range(ITERATIONS):
        q = kernel * plan
        delta = 1 / (N * torch.einsum("bmn,bm->bn", q, sigma))
        sigma = 1 / (M * torch.einsum("bmn,bn->bm", q, delta))
        plan = sigma[:, :, None] * q * delta[:, None]
    return plan


def contest(name: str, ours: Any, peer: Any, close: float, tiny: bool, pairs: int) -> Row:
    """Time both; the row keeps both means and their largest difference."""
    seen: list[float] = []

    def same(mine: Any, theirs: Any) -> bool | str:
        seen.append(float(np.max(np.abs(np.asarray(mine) - np.asarray(theirs)))))
        return seen[0] <= close or f"largest difference {seen[0]}"

    row = versus(
        name,
        ours,
        peer,
        same,
        rounds=1 if tiny else 5,
        min_seconds=0 if tiny else 0.2,
        unit="pairs",
        per_call=pairs,
    )
    values = {"ours_value": float(np.mean(ours())), "peer_value": float(np.mean(peer()))}
    return row | values | {"largest_difference": seen[0]}


def main(tiny: bool = False) -> list[Row]:
    """Both rows, on one thread; kept in benchmarks/results unless they are tiny."""
    pairs = 4 if tiny else PAIRS
    cost = costs(pairs)
    double = cost.double().numpy()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [
            contest(
                f"transport of {pairs} pairs, {WORDS} words to {REGIONS} regions, against ot.emd2 a pair",
                lambda: transport_distance(cost).numpy(),
                lambda: exact(double),
                CLOSE,
                tiny,
                pairs,
            ),
            contest(
                f"plans of {pairs} pairs against the method as it is written down",
                lambda: transport_plan(cost).numpy(),
                lambda: plain_plan(cost).numpy(),
                1e-6,
                tiny,
                pairs,
            ),
        ]
    finally:
        torch.set_num_threads(before)
    print(table(rows))
    for row in rows:
        print(row["name"], row["ours_value"], row["peer_value"], "difference", row["largest_difference"])
    if not tiny:
        save(
            "vlp-atlas", rows, table="transport", versions=("torch", "POT"), data="made-up vectors", seed=SEED
        )
    return rows


if __name__ == "__main__":
    main()
