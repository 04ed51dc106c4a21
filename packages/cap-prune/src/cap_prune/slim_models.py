"""Encoders with some heads and neurons gone, as classes that transformers loads and saves (ours).

A slim model is the dense one of transformers with smaller matrices: its code runs on them as it is, for it
reshapes by head size alone. The classes below differ from the dense ones in how they are built: the config's
entry `cap_units` says which units are there. A folder that they save carries this file, which imports nothing
of its package but the names beside it, so that `trust_remote_code=True` loads it where cap-prune is absent.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    DistilBertForSequenceClassification,
    DistilBertModel,
    ElectraConfig,
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraModel,
    RobertaConfig,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaModel,
)  # fmt: skip

# relative, for transformers copies what is imported so into a model's folder
from .layer_names import NAMES, RECORD, SLIM_PREFIX


class CapBertConfig(BertConfig):
    """BERT's settings and the live units."""

    model_type = "cap_bert"
    _auto_class: ClassVar[str | None] = "AutoConfig"
    cap_units: dict[str, Any] | None = None


class CapRobertaConfig(RobertaConfig):
    """RoBERTa's settings and the live units."""

    model_type = "cap_roberta"
    _auto_class: ClassVar[str | None] = "AutoConfig"
    cap_units: dict[str, Any] | None = None


class CapDistilBertConfig(DistilBertConfig):
    """DistilBERT's settings and the live units."""

    model_type = "cap_distilbert"
    _auto_class: ClassVar[str | None] = "AutoConfig"
    cap_units: dict[str, Any] | None = None


class CapElectraConfig(ElectraConfig):
    """ELECTRA's settings and the live units."""

    model_type = "cap_electra"
    _auto_class: ClassVar[str | None] = "AutoConfig"
    cap_units: dict[str, Any] | None = None


class _Slim:
    """Builds the dense model and keeps as much of each matrix as the config says is live.

    What is kept of new weights does not matter, as they are random or about to be loaded; transformers builds
    on the meta device when it loads.
    """

    config: Any

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)  # type: ignore[call-arg]  # of the dense class
        units = getattr(config, RECORD, None)
        if units is not None:
            heads, neurons = (
                [[*range(len(layer))] for layer in units[kind]] for kind in ("heads", "neurons")
            )
            keep_units(self, heads, neurons)


class CapBertModel(_Slim, BertModel):
    """A slim BERT without head."""

    config_class = CapBertConfig
    _auto_class = "AutoModel"


class CapBertForSequenceClassification(_Slim, BertForSequenceClassification):
    """A slim BERT that classifies texts."""

    config_class = CapBertConfig
    _auto_class = "AutoModelForSequenceClassification"


class CapBertForQuestionAnswering(_Slim, BertForQuestionAnswering):
    """A slim BERT that finds answers."""

    config_class = CapBertConfig
    _auto_class = "AutoModelForQuestionAnswering"


class CapRobertaModel(_Slim, RobertaModel):
    """A slim RoBERTa without head."""

    config_class = CapRobertaConfig
    _auto_class = "AutoModel"


class CapRobertaForSequenceClassification(_Slim, RobertaForSequenceClassification):
    """A slim RoBERTa that classifies texts."""

    config_class = CapRobertaConfig
    _auto_class = "AutoModelForSequenceClassification"


class CapRobertaForQuestionAnswering(_Slim, RobertaForQuestionAnswering):
    """A slim RoBERTa that finds answers."""

    config_class = CapRobertaConfig
    _auto_class = "AutoModelForQuestionAnswering"


class CapDistilBertModel(_Slim, DistilBertModel):
    """A slim DistilBERT without head."""

    config_class = CapDistilBertConfig
    _auto_class = "AutoModel"


class CapDistilBertForSequenceClassification(_Slim, DistilBertForSequenceClassification):
    """A slim DistilBERT that classifies texts."""

    config_class = CapDistilBertConfig
    _auto_class = "AutoModelForSequenceClassification"


class CapDistilBertForQuestionAnswering(_Slim, DistilBertForQuestionAnswering):
    """A slim DistilBERT that finds answers."""

    config_class = CapDistilBertConfig
    _auto_class = "AutoModelForQuestionAnswering"


class CapElectraModel(_Slim, ElectraModel):
    """A slim ELECTRA without head."""

    config_class = CapElectraConfig
    _auto_class = "AutoModel"


class CapElectraForSequenceClassification(_Slim, ElectraForSequenceClassification):
    """A slim ELECTRA that classifies texts."""

    config_class = CapElectraConfig
    _auto_class = "AutoModelForSequenceClassification"


class CapElectraForQuestionAnswering(_Slim, ElectraForQuestionAnswering):
    """A slim ELECTRA that finds answers."""

    config_class = CapElectraConfig
    _auto_class = "AutoModelForQuestionAnswering"


MODELS: tuple[Any, ...] = (
    CapBertModel, CapBertForSequenceClassification, CapBertForQuestionAnswering,
    CapRobertaModel, CapRobertaForSequenceClassification, CapRobertaForQuestionAnswering,
    CapDistilBertModel, CapDistilBertForSequenceClassification, CapDistilBertForQuestionAnswering,
    CapElectraModel, CapElectraForSequenceClassification, CapElectraForQuestionAnswering,
)  # fmt: skip
DENSE_OF = {each: each.__bases__[1] for each in MODELS}
"""the dense class of each slim one"""
SLIM_OF = {dense: each for each, dense in DENSE_OF.items()}
"""the slim class of each dense one"""


def register() -> None:
    """Tell the Auto classes of transformers about slim models, so that `AutoModel...` loads their folders."""
    import transformers

    for kind in MODELS:
        config = kind.config_class
        transformers.AutoConfig.register(config.model_type, config, exist_ok=True)
        getattr(transformers, kind._auto_class).register(config, kind, exist_ok=True)


@torch.no_grad()
def keep_units(model: Any, heads: list[list[int]], neurons: list[list[int]]) -> None:
    """Make the matrices of every layer smaller, in place.

    Args:
        model: a supported encoder, with head or without.
        heads: for each layer, the places of the heads to keep among those that are there.
        neurons: likewise.
    """
    names = NAMES[model.config.model_type.removeprefix(SLIM_PREFIX)]
    layers = model.base_model.get_submodule(names.layers)
    for layer, live_heads, live_neurons in zip(layers, heads, neurons, strict=True):
        size = layer.get_submodule(names.head_size_at).attention_head_size
        rows = (torch.tensor(live_heads, dtype=torch.long)[:, None] * size + torch.arange(size)).view(-1)
        for path in (names.query, names.key, names.value):
            _keep(layer.get_submodule(path), rows, 0)
        _keep(layer.get_submodule(names.attention_output), rows, 1)
        rows = torch.tensor(live_neurons, dtype=torch.long)
        _keep(layer.get_submodule(names.intermediate), rows, 0)
        _keep(layer.get_submodule(names.output), rows, 1)


def _keep(linear: nn.Linear, places: torch.Tensor, axis: int) -> None:
    """Keep rows (0: outputs) or columns (1: inputs) of a linear layer."""
    if len(places) == linear.weight.shape[axis]:
        return
    places = places.to(linear.weight.device)
    weight, bias = linear.weight, linear.bias
    linear.weight = nn.Parameter(weight.index_select(axis, places).contiguous(), weight.requires_grad)
    if axis == 1:
        linear.in_features = len(places)
        return
    linear.out_features = len(places)
    if bias is not None:
        linear.bias = nn.Parameter(bias.index_select(0, places), bias.requires_grad)
