"""Heads and neurons that give nothing, because all that reads or makes them is zero (ours).

Unstructured pruning and zeros in a dense model leave such units; a slim model does without them.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.architectures import parts_of, units_of
from cap_prune.units import Units


@torch.no_grad()
def useful_units(model: Any) -> Units:
    """The live units whose removal would change something.

    A head is dead if the columns of the attention's output matrix that read it, or its value rows and their
    biases, are zero; a neuron if its column of the output matrix is zero, or its row and bias before the
    activation are (GELU and ReLU of 0 are 0).

    Args:
        model: a supported encoder, dense or slim.
    """
    live = units_of(model)
    heads, neurons = [], []
    for layer, parts in enumerate(parts_of(model)):
        used = _read(parts.attention_output) & _made(parts.value)
        keep = used.view(-1, parts.head_size) if len(used) else used.view(0, 1)
        # a head is as alive as its places: it is kept if one place is both made and read
        heads.append(_chosen(live.heads[layer], keep.any(1)))
        neurons.append(_chosen(live.neurons[layer], _read(parts.output) & _made(parts.intermediate)))
    return Units(tuple(heads), tuple(neurons), live.all_heads, live.all_neurons)


def _read(linear: nn.Linear) -> Tensor:
    return linear.weight.ne(0).any(0).cpu()


def _made(linear: nn.Linear) -> Tensor:
    made = linear.weight.ne(0).any(1)
    return (made if linear.bias is None else made | linear.bias.ne(0)).cpu()


def _chosen(units: tuple[int, ...], keep: Tensor) -> tuple[int, ...]:
    return tuple(unit for unit, kept in zip(units, keep.tolist(), strict=True) if kept)
