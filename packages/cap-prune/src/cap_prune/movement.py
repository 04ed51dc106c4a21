"""Movement pruning: weights that move away from 0 stay (Sanh, Wolf and Rush 2020; CAP-m of Xu et al. 2022).

A weight's score falls by dL/dW' * W at each step: it is high where training moves the weight away from 0. Of
every matrix, or of all together, those with the largest scores are kept.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cap_prune.density import kept_of
from cap_prune.masked_layers import MaskedLinear, cut_together
from cap_prune.patterns import Pattern
from nonet.kernels.masked_linear import cut_largest


class Largest:
    """Keep the largest values of every matrix: what movement and magnitude pruning share.

    Args:
        density: in the end, in 0..1.
        pattern: which weights stay or go together.
        together: rank the weights of all matrices in one list, not each matrix's in its own.
        every: steps between two decisions.
    """

    name = "largest"
    learns = False
    start = 1.0

    def __init__(
        self, density: float, *, pattern: Pattern | None = None, together: bool = False, every: int = 1
    ) -> None:
        if pattern is not None and together:
            raise ValueError(f"pattern {pattern} is chosen within each matrix, not over all together")
        self.final, self.pattern, self.together, self.every = density, pattern, together, every
        self.chosen = pattern is not None

    def decide(self, layers: Sequence[MaskedLinear], level: float) -> None:
        """Set the masks for a density."""
        if self.together:
            total = sum(layer.weight.numel() for layer in layers)
            for layer, cut in zip(layers, cut_together(layers, kept_of(level, total)), strict=True):
                layer.keep(cut)
            return
        for layer in layers:
            if not layer.weight.numel():
                continue  # a layer that lost all heads or neurons before
            if self.pattern is None:
                layer.keep(cut_largest(layer.values, kept_of(level, layer.weight.numel())))
            else:
                layer.keep(self.pattern.choose(layer.values, level))

    def penalty(self, layers: Sequence[MaskedLinear], level: float) -> Tensor | None:
        """None."""
        return None

    def observe(self, model: nn.Module, batches: Any) -> None:
        """Nothing is needed."""


class Movement(Largest):
    """The largest of learnt scores, which are 0 at first: then the first weights of a matrix stay."""

    name = "movement"
    learns = True
