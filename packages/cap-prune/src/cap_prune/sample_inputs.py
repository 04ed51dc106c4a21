"""Made-up inputs on which two forms of a model are compared (ours)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cap_prune.architectures import model_type


def input_names(model: Any) -> tuple[str, ...]:
    """What a model reads of a text: ids, mask, and types where it tells two texts apart."""
    pairs = model_type(model) in ("bert", "electra") and model.config.type_vocab_size > 1
    return ("input_ids", "attention_mask", *(("token_type_ids",) if pairs else ()))


def sample_inputs(model: Any, rows: int = 3, length: int = 16) -> dict[str, Tensor]:
    """Random pieces, the same each time; every row but the first is padded.

    Args:
        model: a supported encoder.
        rows: texts.
        length: pieces of the longest; fewer where the model has fewer positions.

    Returns:
        (rows, length) int64 by the names of `input_names`.
    """
    config = model.config
    pad = config.pad_token_id or 0
    random = torch.Generator().manual_seed(0)
    length = min(length, config.max_position_embeddings - 4)
    ids = torch.randint(pad + 1, config.vocab_size, (rows, length), generator=random)
    lengths = torch.tensor([max(1, length - 3 * row) for row in range(rows)])
    mask = torch.arange(length)[None] < lengths[:, None]
    found = {"input_ids": ids.where(mask, pad), "attention_mask": mask.long()}
    if "token_type_ids" in input_names(model):
        found["token_type_ids"] = (torch.arange(length) > length // 2).long().expand(rows, -1).contiguous()
    return found


def output_names(model: Any) -> tuple[str, ...]:
    """What a model gives, by transformers' names."""
    name = type(model).__name__
    if name.endswith("ForQuestionAnswering"):
        return ("start_logits", "end_logits")
    return ("logits",) if name.endswith("ForSequenceClassification") else ("last_hidden_state",)


@torch.inference_mode()
def outputs_on(model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """A model's outputs in evaluation mode, as `output_names` names them, float32."""
    training = model.training
    found = model.eval()(**inputs)
    model.train(training)
    return tuple(found[name].float() for name in output_names(model))


def difference(a: Any, b: Any) -> float:
    """The largest difference between the outputs of two forms of a model, on two batches.

    Relative to the largest output of the batch where that is above 1.
    """
    found = []
    for rows, length in ((3, 16), (1, 5)):
        inputs = sample_inputs(a, rows, length)
        found.append(apart(outputs_on(a, inputs), outputs_on(b, inputs)))
    return max(found)


def apart(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest wanted value where that is above 1; inf for a NaN."""
    gaps = [
        float((one - other).abs().max() / one.abs().max().clamp(min=1))
        for one, other in zip(wanted, found, strict=True)
    ]
    return float("inf") if any(gap != gap for gap in gaps) else max(gaps)
