"""Heads and neurons taken out of a model for good: smaller matrices instead of masks (ours).

What a removed unit gave is gone, as with a gate of 0, so that outputs are equal; its share of time and memory
is gone, too. transformers reshapes by head size alone, hence the model's own code runs on what is left, even
in a layer without heads or neurons.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.architectures import RECORD, parts_of, units_of
from cap_prune.units import Units


@torch.no_grad()
def slim(model: Any, keep: Units) -> None:
    """Remove every unit that is not kept, in place; the config records what is left.

    Args:
        model: a supported encoder, dense or slim already.
        keep: live units of the model, by their numbers in the dense one.

    Raises:
        ValueError: `keep` has units that the model lacks.
        UserError: an architecture that is not supported.
    """
    live = units_of(model)
    heads, neurons = keep.places(live)
    for layer, parts in enumerate(parts_of(model)):
        if len(heads[layer]) < len(live.heads[layer]):
            size = parts.head_size
            rows = (torch.tensor(heads[layer], dtype=torch.long)[:, None] * size + torch.arange(size)).view(-1)
            for part in (parts.query, parts.key, parts.value):
                _keep(part, rows, 0)
            _keep(parts.attention_output, rows, 1)
        if len(neurons[layer]) < len(live.neurons[layer]):
            rows = torch.tensor(neurons[layer], dtype=torch.long)
            _keep(parts.intermediate, rows, 0)
            _keep(parts.output, rows, 1)
    setattr(model.config, RECORD, keep.to_dict())


def _keep(linear: nn.Linear, places: Tensor, axis: int) -> None:
    """Keep rows (0: outputs) or columns (1: inputs) of a linear layer."""
    places = places.to(linear.weight.device)
    weight = linear.weight
    linear.weight = nn.Parameter(weight.index_select(axis, places).contiguous(), weight.requires_grad)
    if axis == 0:
        linear.out_features = len(places)
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.index_select(0, places), linear.bias.requires_grad)
    else:
        linear.in_features = len(places)
