"""How much each live head and neuron matters: plain tensors that every criterion gives (ours)."""

from typing import NamedTuple

from torch import Tensor


class UnitScores(NamedTuple):
    """Scores of the live units, higher for those that matter more; not normalised."""

    heads: list[Tensor]
    """for each layer (live heads,) float, not negative"""
    neurons: list[Tensor]
    """for each layer (live neurons,) float, not negative"""
