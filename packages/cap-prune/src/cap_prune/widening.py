"""A slim model back in a larger shape, with zeros where units are gone (ours).

A unit of zero weights gives zeros, so outputs are those of the slim model. With all units back, programs that
know only the dense architecture can read it; they gain nothing in time or memory.
"""

from typing import Any

import torch
from torch import Tensor

from cap_prune.architectures import model_type, parts_of, units_of
from cap_prune.layer_names import NAMES, RECORD
from cap_prune.slim_models import DENSE_OF, SLIM_OF
from cap_prune.units import Units

INPUTS = ("attention_output", "output")
"""matrices with a column for each place of a unit; the others have rows"""


@torch.no_grad()
def widen(model: Any, to: Units | None = None) -> Any:
    """A new model with more units, those that were gone all zeros.

    Args:
        model: a supported encoder, dense or slim; it stays as it is.
        to: the units of the new model; None: all, and then it is a plain model of transformers.

    Returns:
        On the CPU, in evaluation mode, in the model's dtype.

    Raises:
        ValueError: `to` lacks a unit of the model.
    """
    live = units_of(model)
    wanted = to or Units.full(live.layers, live.all_heads, live.all_neurons)
    heads, neurons = live.places(wanted)
    slim_class = SLIM_OF.get(type(model), type(model))
    kind = DENSE_OF[slim_class] if to is None else slim_class
    facts = model.config.to_dict()
    for name in (RECORD, "model_type", "auto_map", "architectures", "transformers_version"):
        facts.pop(name, None)
    if to is not None:
        facts[RECORD] = to.to_dict()
    with torch.random.fork_rng(devices=[]):
        wide = kind(kind.config_class(**facts)).to(next(model.parameters()).dtype)
    state = {name: weight.cpu() for name, weight in model.state_dict().items()}
    names = NAMES[model_type(model)]
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    for layer, parts in enumerate(parts_of(model)):
        size = parts.head_size
        here = (torch.tensor(heads[layer], dtype=torch.long)[:, None] * size + torch.arange(size)).view(-1)
        there = torch.tensor(neurons[layer], dtype=torch.long)
        for part, path in names.matrices.items():
            places, width = (
                (there, len(wanted.neurons[layer]))
                if part in ("intermediate", "output")
                else (here, len(wanted.heads[layer]) * size)
            )
            key = f"{prefix}{names.layers}.{layer}.{path}."
            axis = 1 if part in INPUTS else 0
            state[f"{key}weight"] = _spread(state[f"{key}weight"], places, width, axis)
            if axis == 0 and f"{key}bias" in state:
                state[f"{key}bias"] = _spread(state[f"{key}bias"], places, width, 0)
    wide.load_state_dict(state)
    return wide.eval()


def _spread(weight: Tensor, places: Tensor, width: int, axis: int) -> Tensor:
    """Zeros of the wanted width with the weights at their places."""
    shape = list(weight.shape)
    shape[axis] = width
    return weight.new_zeros(shape).index_copy(axis, places, weight)
