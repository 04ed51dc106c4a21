"""Which units go: the least important ones over all layers, until a share of the dense model's is gone.

Xu et al. 2022, section 3.1, as released: scores are divided by their norm in each layer, then ranked over all
layers; p percent are floor(total p / 100) of all heads and, apart, of all neurons of the dense model; the
best head of a layer stays. Unlike there, only live units are ranked, so that this holds at each level.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from cap_prune.unit_scores import UnitScores
from cap_prune.units import Units
from nonet.errors import UserError

TINY = 1e-20  # added to a layer's norm


def pruned_count(total: int, percent: float) -> int:
    """How many of `total` units are gone at a level: 14 of 144 heads at 10 %, 129 at 90 %."""
    return int(total * percent / 100)


def choose(scores: UnitScores, units: Units, percent: float) -> Units:
    """The units that are left at a level.

    Among equal scores those of the first layer go first, and of a layer the first ones.

    Args:
        scores: of the live units, by the order of `units`.
        units: the live ones.
        percent: of the dense model's heads, and of its neurons, that are gone afterwards; 0 to below 100.

    Returns:
        Units that `units` holds.

    Raises:
        UserError: more heads or neurons are gone already, or more would have to go than may.
    """
    heads = _live_after(scores.heads, units.heads, units.all_heads, percent, "heads", spare=True)
    neurons = _live_after(scores.neurons, units.neurons, units.all_neurons, percent, "neurons", spare=False)
    return Units(heads, neurons, units.all_heads, units.all_neurons)


def check_targets(units: Units, targets: Sequence[float]) -> None:
    """Refuse levels that cannot be reached, before anything is trained.

    Args:
        units: the live units of the model to prune.
        targets: percents pruned, one a step.

    Raises:
        UserError: none; not ascending; twice the same; outside of 0 to below 100; less than is gone already;
            or so many that a layer would have no head, or the model no neuron.
    """
    if not targets:
        raise UserError("no target is given: name percents to prune, such as 10,20,30")
    for target in targets:
        if not 0 <= target < 100:
            raise UserError(
                f"target {target:g} is not possible: 0 to below 100 % are, at 100 % no head or neuron is left"
            )
    for before, after in pairwise(targets):
        if after <= before:
            wrong = "is there twice" if after == before else f"comes after {before:g}"
            raise UserError(f"target {after:g} {wrong}; targets ascend, each is there once")
    for name, live, layers, limit, spare in (
        ("heads", units.live_heads, units.heads, units.all_heads, True),
        ("neurons", units.live_neurons, units.neurons, units.all_neurons, False),
    ):
        for target in (targets[0], targets[-1]):
            _count(live, layers, limit, target, name, spare)


def _count(
    live: int, layers: Sequence[Sequence[int]], limit: int, percent: float, name: str, spare: bool
) -> int:
    """How many of the live units go."""
    total = limit * len(layers)
    gone = pruned_count(total, percent)
    if gone < total - live:
        raise UserError(
            f"target {percent:g} is below what is pruned already: {total - live} of {total} {name}, "
            f"{100 * (total - live) / total:.4g} %; units do not come back"
        )
    needed = sum(map(bool, layers)) if spare else 1
    if total - gone < needed:
        most = 100 * (total - needed) / total
        raise UserError(
            f"target {percent:g} would leave {total - gone} of {total} {name}, and {needed} are needed"
            f"{', one in each layer' if spare else ''}: prune at most {int(most * 10) / 10:g} %"
        )
    return gone - (total - live)


def _live_after(
    scores: Sequence[Tensor],
    layers: tuple[tuple[int, ...], ...],
    limit: int,
    percent: float,
    name: str,
    *,
    spare: bool,
) -> tuple[tuple[int, ...], ...]:
    """For each layer the units that are left, by their numbers in the dense model."""
    sizes = [len(each) for each in layers]
    if [len(each) for each in scores] != sizes:
        raise ValueError(f"{name}: scores for {[len(each) for each in scores]}, live are {sizes}")
    go = _count(sum(sizes), layers, limit, percent, name, spare)
    values = torch.cat([each.double() / (each.double().norm() + TINY) for each in scores]).cpu()
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name}: a score is not finite")
    if spare:
        best = torch.tensor(
            [start + int(each.argmax()) for start, each in _parts(values, sizes) if len(each)]
        )
        values[best] = float("inf")
    left = torch.ones(len(values), dtype=torch.bool)
    left[values.argsort(stable=True)[:go]] = False
    return tuple(
        tuple(unit for unit, stays in zip(live, part.tolist(), strict=True) if stays)
        for live, (_, part) in zip(layers, _parts(left, sizes), strict=True)
    )


def _parts(values: Tensor, sizes: Sequence[int]) -> list[tuple[int, Tensor]]:
    """Each layer's values and where they start."""
    starts = [sum(sizes[:layer]) for layer in range(len(sizes))]
    return list(zip(starts, values.split(list(sizes)), strict=True))
