"""Weights ranked by |W| times the size of their input, within each output (Wanda, Sun et al. 2023).

The inputs' norms are those of the training texts' pieces, measured before the training and after every epoch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.density import kept_of
from cap_prune.examples import inputs_of
from cap_prune.masked_layers import MaskedLinear, layers_of
from cap_prune.patterns import Neighbours, Pattern


class Wanda:
    """The largest of |W_oi| ||x_i|| in each row of a matrix.

    Args:
        density: in the end, in 0..1; of each row the floor is kept.
        pattern: neighbours or blocks that are kept instead.
        every: steps between two decisions.
    """

    name = "wanda"
    learns = False
    chosen = True
    start = 1.0

    def __init__(self, density: float, *, pattern: Pattern | None = None, every: int = 1) -> None:
        self.final, self.pattern, self.every = density, pattern, every

    def observe(self, model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> None:
        """Measure the norms of every masked layer's inputs, in evaluation mode, and keep them in it."""
        for layer, norms_I in zip(layers_of(model), input_norms(model, batches), strict=True):
            layer.register_buffer("norms", norms_I)

    def decide(self, layers: Sequence[MaskedLinear], level: float) -> None:
        """Set the masks for a density.

        Raises:
            ValueError: nothing was observed yet.
        """
        for layer in layers:
            if not layer.weight.numel():
                continue  # a layer that lost all heads or neurons before
            if not hasattr(layer, "norms"):
                raise ValueError("the inputs were not observed yet")
            values_OI = layer.weight.detach().abs() * layer.norms
            if self.pattern is not None:
                layer.keep(self.pattern.choose(values_OI, level))
                continue
            width = values_OI.shape[1]
            layer.keep(Neighbours(kept_of(level, width), width).choose(values_OI, 0.0))

    def penalty(self, layers: Sequence[MaskedLinear], level: float) -> Tensor | None:
        """None."""
        return None


@torch.no_grad()  # type: ignore[untyped-decorator]
def input_norms(model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> list[Tensor]:
    """For each masked layer (inputs,): the root mean square of each input over all pieces.

    Padding does not count; over several devices it is that of all their pieces.

    Args:
        model: with masked layers, in whichever mode; it gets it back.
        batches: of examples, on the model's device.

    Raises:
        ValueError: there are no batches.
    """
    layers, mask = layers_of(model), torch.empty(0)
    sums = [layer.weight.new_zeros(layer.in_features, dtype=torch.float64) for layer in layers]
    count = 0

    def hook(number: int) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            pieces = inputs[0].double() * mask
            sums[number] += pieces.square().flatten(0, -2).sum(0)

        return add

    training = model.training
    model.eval()
    hooks = [layer.register_forward_pre_hook(hook(number)) for number, layer in enumerate(layers)]
    try:
        for batch in batches:
            mask = batch["attention_mask"][:, :, None]
            count += int(mask.sum())
            model(**inputs_of(dict(batch)))
    finally:
        for each in hooks:
            each.remove()
        model.train(training)
    total = torch.tensor(count, device=sums[0].device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for part in (total, *sums):
            torch.distributed.all_reduce(part)
    if not total:
        raise ValueError("there is nothing to observe")
    return [part.div(total).sqrt().to(layer.weight) for part, layer in zip(sums, layers, strict=True)]
