"""Which units to prune, the long way: a Python loop over single numbers, as the original's release has it.

Restated from its description: scores normalised layer by layer, read one at a time, sorted as a list of
tuples, the lowest taken until the count is reached, one head of each layer spared.
"""

from collections.abc import Sequence

from torch import Tensor

Unit = tuple[int, int]
"""layer and number of a unit"""


def plain_choice(
    heads: Sequence[Tensor], neurons: Sequence[Tensor], percent: float
) -> tuple[set[Unit], set[Unit]]:
    """The heads and the neurons to prune of a dense model.

    Args:
        heads: for each layer the scores (H,) of its heads.
        neurons: for each layer the scores (F,) of its neurons.
        percent: of all heads, and of all neurons.
    """
    return _lowest(heads, percent, spare=True), _lowest(neurons, percent, spare=False)


def _lowest(scores: Sequence[Tensor], percent: float, *, spare: bool) -> set[Unit]:
    ranked = []
    for layer, row in enumerate(scores):
        norm = sum(row[number].item() ** 2 for number in range(len(row))) ** 0.5
        for number in range(len(row)):
            ranked.append((row[number].item() / (norm + 1e-20), layer, number))
    spared: set[Unit] = set()
    if spare:
        for layer in range(len(scores)):
            best = max((score, -number) for score, at, number in ranked if at == layer)
            spared.add((layer, -best[1]))
    wanted = int(len(ranked) * percent / 100)
    ranked.sort()
    chosen: set[Unit] = set()
    for _, layer, number in ranked:
        if len(chosen) == wanted:
            break
        if (layer, number) not in spared:
            chosen.add((layer, number))
    return chosen
