"""A gate on every head and neuron, without touching the model's code (CAP section 3.1 by way of hooks, ours).

A head's gate multiplies its slice of the context before the attention's output layer, which equals
multiplying its attention probabilities after dropout; a neuron's gate multiplies its activation before the
second feed-forward layer. At 1 the model is itself, at 0 the unit is gone.
"""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.architectures import parts_of, units_of
from cap_prune.units import Units


class Gates:
    """Gates on the live units of a model, for as long as the context lasts.

    Args:
        model: a supported encoder, dense or slim.
        keep: units whose gates are 1, the others' 0; None: all 1.

    Attributes:
        heads: for each layer (live heads,) float, leaves that require a gradient.
        neurons: for each layer (live neurons,) float, likewise.
    """

    def __init__(self, model: nn.Module, keep: Units | None = None) -> None:
        live = units_of(model)
        where = next(model.parameters())
        sizes = ([len(each) for each in live.heads], [len(each) for each in live.neurons])
        places = (keep or live).places(live)
        self.heads, self.neurons = ([] for _ in range(2))  # type: list[Tensor], list[Tensor]
        for gates, widths, kept in zip((self.heads, self.neurons), sizes, places, strict=True):
            for width, on in zip(widths, kept, strict=True):
                gate = torch.zeros(width, device=where.device, dtype=where.dtype)
                gate[on] = 1
                gates.append(gate.requires_grad_())
        self._model = model
        self._hooks: list[Any] = []

    def __enter__(self) -> "Gates":
        for layer, parts in enumerate(parts_of(self._model)):
            gate = self.heads[layer]
            for module, gates, size in (
                (parts.attention_output, gate, parts.head_size),
                (parts.output, self.neurons[layer], 1),
            ):
                self._hooks.append(module.register_forward_pre_hook(_multiply(gates, size)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._hooks:
            self._hooks.pop().remove()


def _multiply(gate: Tensor, size: int) -> Any:
    """A hook that multiplies blocks of `size` inputs each by its gate."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        factors = gate if size == 1 else gate.repeat_interleave(size)
        return (inputs[0] * factors, *inputs[1:])

    return hook
