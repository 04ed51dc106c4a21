"""The masked-word head of any encoder, on gathered positions (ours; the head itself is transformers').

The class for masked language modelling is built, its encoder replaced by a part that hands its input on, and
its last layer by nothing: what is left is the head's own transform, whatever the architecture. The last layer
is a product with the input embeddings, which the loss does in chunks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from nonet.errors import UserError
from prop_ir.loading import load_kind

# Shapes: M masked pieces, H width, E width of the embeddings, V vocabulary.


class MaskedWordHead(nn.Module):
    """What lies between the encoder and the product with the embeddings.

    Args:
        model: transformers' model for masked language modelling; it is taken apart.
        embeddings: (V, E) input embeddings of the ranker, to which the last layer is tied.

    Attributes:
        bias: (V,) of the last layer, or None.
        weight: (V, E) of the last layer where the architecture does not tie it, else None.

    Raises:
        UserError: the head of this architecture cannot be run alone.
    """

    bias: nn.Parameter | None
    weight: nn.Parameter | None

    def __init__(self, model: PreTrainedModel, embeddings: Tensor) -> None:
        super().__init__()
        last, base = model.get_output_embeddings(), f"{model.base_model_prefix}."
        place = next((name for name, part in model.named_modules() if part is last), None)
        if not isinstance(last, nn.Linear) or place is None or last.weight.shape != embeddings.shape:
            raise UserError(
                f"{type(model).__name__}: its masked-word head does not end in a layer of the embeddings' "
                "shape; pre-train another kind of encoder"
            )
        tied = last.weight is model.get_input_embeddings().weight
        self.bias, self.weight = last.bias, None if tied else last.weight
        # a shared weight is listed once, under its first name: the embeddings are the encoder's
        listed = {name: p for name, p in model.named_parameters() if not name.startswith(base)}
        model.set_submodule(place, nn.Identity())
        setattr(model, model.base_model_prefix, _HandOn())
        for part in model.modules():  # BERT's head holds the bias a second time
            for name, value in list(part._parameters.items()):
                if value is not None and value is last.bias:
                    part._parameters[name] = None
        self.transform = model
        ours = {id(p): name for name, p in self.named_parameters()}
        self._places = {theirs: ours[id(p)] for theirs, p in listed.items()}

    @classmethod
    def load(cls, folder: Path, config: Any, embeddings: Tensor) -> tuple["MaskedWordHead", list[str]]:
        """The head in a model folder, and the names of its weights that the folder lacks."""
        model, info = load_kind(AutoModelForMaskedLM, folder, config)
        head = cls(model, embeddings)
        absent = {*info["missing_keys"], *info["mismatched_keys"]}
        return head, sorted(absent & set(head._places))

    def forward(self, rows: Tensor) -> Tensor:
        """The transform of hidden states (M, H) to (M, E)."""
        count = len(rows)
        if not count:  # one row that is dropped again, so that every weight has a gradient: zero
            rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
        out: Tensor = self.transform(inputs_embeds=rows[None]).logits[0]
        return out[:count]

    def named_tensors(self) -> dict[str, Tensor]:
        """The head's weights on the CPU, under the names that transformers' model has for them."""
        state = self.state_dict()
        return {theirs: state[ours].detach().cpu().contiguous() for theirs, ours in self._places.items()}

    def set_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take weights over from `named_tensors`.

        Raises:
            ValueError: a name or shape differs.
        """
        state = self.state_dict()
        shapes = {theirs: state[ours].shape for theirs, ours in self._places.items()}
        found = {name: value.shape for name, value in tensors.items()}
        if found != shapes:
            first = min(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
            raise ValueError(f"{first} is {_shape(found.get(first))}, wanted {_shape(shapes.get(first))}")
        self.load_state_dict({ours: tensors[theirs] for theirs, ours in self._places.items()})


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(tuple(shape))


class _HandOn(nn.Module):
    """In the place of an encoder: gives back the states that it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)
