"""Sentence vectors of an encoder, for probes: the layers' mean or the first piece, not normalised (ours)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cap_prune.architectures import base_of
from cap_prune.encoding import check_tokenizer, positions
from nonet.errors import UserError

Floats = NDArray[np.float32]
LENGTH = 128
"""pieces of a text, unless the model has fewer positions or another number is asked for"""


def embed(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    pooling: Literal["mean", "cls"] = "mean",
    batch: int = 64,
    max_length: int | None = None,
) -> Floats:
    """One vector for each text.

    Texts of like length are taken together, so that little is padded; the order of the result is that of the
    texts.

    Args:
        model: a supported encoder with or without head; used in evaluation mode.
        tokenizer: of transformers, with a padding piece.
        texts: at least one.
        pooling: `mean` of the last layer over pieces that are no padding, or its first piece (`cls`).
        batch: texts at a time.
        max_length: pieces of a text, the rest is cut off; None: `LENGTH`, or the model's positions if
            these are fewer.

    Returns:
        (N, d) float32.

    Raises:
        UserError: no text, a tokenizer that `check_tokenizer` refuses, or more pieces than positions.
    """
    import torch

    if not texts:
        raise UserError("no texts to embed")
    base = base_of(model).eval()
    if max_length is None:
        max_length = min(LENGTH, positions(base.config) or LENGTH)
    check_tokenizer(tokenizer, max_length, base.config)
    device = next(base.parameters()).device
    rows = tokenizer(list(texts), truncation=True, max_length=max_length, return_attention_mask=False)
    order = sorted(range(len(texts)), key=lambda place: len(rows["input_ids"][place]))
    found = np.empty((len(texts), base.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            given = tokenizer.pad(
                {name: [values[place] for place in places] for name, values in rows.items()},
                return_tensors="pt", return_attention_mask=True,
            )  # fmt: skip
            if "token_type_ids" in given and base.config.model_type.endswith(("distilbert", "roberta")):
                del given["token_type_ids"]
            last = base(**given.to(device)).last_hidden_state.float()
            if pooling == "cls":
                vectors = last[:, 0]
            else:
                mask = given["attention_mask"].to(device)[..., None].float()
                vectors = (last * mask).sum(1) / mask.sum(1).clamp(min=1)
            found[places] = vectors.cpu().numpy()
    return found
