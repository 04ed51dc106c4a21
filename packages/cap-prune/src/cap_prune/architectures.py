"""Where the prunable parts of each supported encoder are: the same six linear layers under other names (ours).

Only what is named here is ever pruned; another architecture is refused, never guessed at. MiniLM, TinyBERT and
the like are of type `bert`.
"""

from typing import Any, NamedTuple

from torch import nn

from cap_prune.units import Units
from nonet.errors import UserError

RECORD = "cap_units"
"""name of the entry of a config that holds a slim model's units, as `Units.to_dict` gives them"""


class Names(NamedTuple):
    """The attribute paths of one architecture, from the base model or from a layer."""

    layers: str
    query: str
    key: str
    value: str
    attention_output: str
    intermediate: str
    output: str
    head_size_at: str
    """module of a layer that has `attention_head_size`"""


_BERT = Names(
    "encoder.layer", "attention.self.query", "attention.self.key", "attention.self.value",
    "attention.output.dense", "intermediate.dense", "output.dense", "attention.self",
)  # fmt: skip
NAMES = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "distilbert": Names(
        "transformer.layer", "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
        "ffn.lin1", "ffn.lin2", "attention",
    ),
}  # fmt: skip
SLIM_PREFIX = "cap_"
"""a slim model's type is this and the type of the dense one"""


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
    """The encoder without its head: `model` itself, or the part of it that transformers calls the base model."""
    return model.base_model


def parts_of(model: nn.Module) -> list[Parts]:
    """The prunable parts of every layer, first layer first.

    Raises:
        UserError: an architecture that is not supported.
    """
    names = NAMES[model_type(model)]
    layers: Any = base_of(model).get_submodule(names.layers)
    return [
        Parts(
            *(layer.get_submodule(path) for path in names[1:-1]),
            head_size=layer.get_submodule(names.head_size_at).attention_head_size,
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
