"""The unit vector that stands for an example, and the model's outputs from the same forward pass.

Xu et al. 2022 align `cls` in their scripts: the pooler's output for a classifier, as the classifier sees it,
that is, after dropout while training; the last layer's [CLS] where the model has no pooler. `mean-pooling` is
the mean of the last layer over an example's pieces, which is what sentence encoders like MiniLM learnt.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cap_prune.architectures import base_of

# Shapes: B examples, L pieces, d width, C labels.

Align = Literal["cls", "mean-pooling"]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""what of a batch goes into a model"""


class Outputs(NamedTuple):
    """What a forward pass gives."""

    logits: tuple[Tensor, ...]
    """one (B, C) of a classifier, or (B, L) of starts and (B, L) of ends"""
    z: Tensor
    """(B, d) float32, of length 1"""


def outputs(model: Any, batch: Mapping[str, Tensor], align: Align) -> Outputs:
    """Run a model with a head.

    Args:
        model: a transformers encoder for classification or question answering.
        batch: `input_ids`, `attention_mask` (B, L) int64, and `token_type_ids` where the model takes them.
        align: see above.
    """
    seen: dict[str, Any] = {}
    base = base_of(model)

    def keep_base(module: Any, inputs: Any, output: Any) -> None:
        seen["hidden"], seen["pooled"] = output[0], getattr(output, "pooler_output", None)

    def keep_head(module: Any, inputs: Any) -> None:
        seen["dropped"] = inputs[0]

    hooks = [base.register_forward_hook(keep_base)]
    if hasattr(model, "classifier"):
        hooks.append(model.classifier.register_forward_pre_hook(keep_head))
    try:
        found = model(**{name: batch[name] for name in INPUTS if name in batch})
    finally:
        for hook in hooks:
            hook.remove()
    vectors = _vectors(seen["hidden"], batch["attention_mask"], align)
    if align == "cls" and seen["pooled"] is not None:
        vectors = seen.get("dropped", seen["pooled"])
    logits = (found.logits,) if "logits" in found else (found.start_logits, found.end_logits)
    return Outputs(logits, F.normalize(vectors.float(), dim=-1))


def encode(
    model: Any, batches: Iterable[Mapping[str, Tensor]], align: Align
) -> Iterator[tuple[Tensor, Tensor]]:
    """(index_B, z_Bd) of every batch, in evaluation mode and without gradients.

    Args:
        model: as in `outputs`; it gets its mode back at the end.
        batches: with `index` beside the model's inputs, on the model's device.
        align: see above.
    """
    training = model.training
    model.eval()
    try:
        for batch in batches:
            with torch.no_grad():
                z_Bd = outputs(model, batch, align).z
            yield batch["index"], z_Bd
    finally:
        model.train(training)


def _vectors(hidden_BLd: Tensor, mask_BL: Tensor, align: Align) -> Tensor:
    """(B, d) the first piece's vector, or the mean over the pieces that are no padding."""
    if align == "cls":
        return hidden_BLd[:, 0]
    mask_BL1 = mask_BL[:, :, None].to(hidden_BLd.dtype)
    return (hidden_BLd * mask_BL1).sum(1) / mask_BL1.sum(1)
