"""The prunable parts of a supported encoder: the same six linear layers under other names (ours)."""

from typing import Any, NamedTuple

from torch import nn

from cap_prune.layer_names import NAMES, RECORD, SLIM_PREFIX
from cap_prune.units import Units
from nonet.errors import UserError


class Parts(NamedTuple):
    """The linear layers of one encoder layer that pruning may touch.

    With h live heads of size s, f live neurons and hidden size d, the weights are: query, key, value
    (h s, d); attention_output (d, h s); intermediate (f, d); output (d, f).
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    intermediate: nn.Linear
    output: nn.Linear
    head_size: int

    @property
    def matrices(self) -> dict[str, nn.Linear]:
        """The six layers by name, in the order of the forward pass."""
        return {name: part for name, part in self._asdict().items() if name != "head_size"}


def model_type(model: nn.Module) -> str:
    """The architecture's name, that of the dense model also for slim ones.

    Raises:
        UserError: it is none of the supported ones.
    """
    name = str(getattr(getattr(model, "config", None), "model_type", "")).removeprefix(SLIM_PREFIX)
    if name not in NAMES:
        raise UserError(
            f"a model of type {name or type(model).__name__} cannot be pruned; supported: {', '.join(NAMES)}"
        )
    return name


def base_of(model: Any) -> Any:
    """The encoder without its head: `model` itself, or the part that transformers calls the base model."""
    return model.base_model


def parts_of(model: nn.Module) -> list[Parts]:
    """The prunable parts of every layer, first layer first.

    Raises:
        UserError: an architecture that is not supported.
    """
    names = NAMES[model_type(model)]
    layers: Any = base_of(model).get_submodule(names.layers)
    return [
        Parts._make(
            [
                *(layer.get_submodule(path) for path in names[1:-1]),
                layer.get_submodule(names.head_size_at).attention_head_size,
            ]
        )
        for layer in layers
    ]


def units_of(model: Any) -> Units:
    """The live units: all of a dense model's, or those that a slim model's config records.

    Raises:
        UserError: an architecture that is not supported.
    """
    model_type(model)
    record = getattr(model.config, RECORD, None)
    if record is not None:
        return Units.from_dict(record)
    parts = parts_of(model)
    return Units.full(
        len(parts), parts[0].query.out_features // parts[0].head_size, parts[0].intermediate.out_features
    )
