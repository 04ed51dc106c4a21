"""Models as `.npz` under the names of the released code: TensorFlow's, or Flax's for PEGASUS-X."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nonet.errors import UserError
from nonet.files import replacing
from pegasus.checkpoint_names import Name, layout, sizes_of
from pegasus.checkpoint_sources import Source
from pegasus.convert import to_hf


def to_npz(source: Source, path: str | Path) -> int:
    """Write a model under the released names: TensorFlow's, or Flax's for PEGASUS-X.

    Biases of the attention, which the released models do not have, are written as `.../q_proj/bias` if one
    of them is not zero; `to_hf` reads them back.

    Args:
        source: of any origin.
        path: the `.npz` file.

    Returns:
        The number of arrays.
    """
    model = to_hf(source, say=lambda _: None) if source.style != "hf" else None
    tensors: Mapping[str, Any] = model.tensors if model else source.arrays
    config = model.config.to_dict() if model else source.config or {}
    sizes = sizes_of(tensors, "hf")
    style = "flax" if sizes.long else "tf"
    names = layout(sizes)
    biases = any(
        name.hf in tensors and np.any(_numpy(tensors[name.hf])) for name in names if name.kind == "optional"
    )
    arrays = {}
    for name in names:
        if name.hf not in tensors:
            if name.kind == "optional":
                continue
            raise UserError(f"{source.where}: {name.hf} is missing")
        if name.kind != "optional" or biases:
            heads = int(config.get("encoder_attention_heads", 0))
            arrays[str(getattr(name, style))] = _released(_numpy(tensors[name.hf]), name, style, heads)
    path = Path(path)
    with replacing(path) as part, open(part, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return len(arrays)


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.float().numpy() if isinstance(tensor, Tensor) else np.asarray(tensor, np.float32)


def _released(values: np.ndarray, name: Name, style: str, heads: int) -> np.ndarray:
    """A weight as the released code has it: (in, out), heads apart in Flax."""
    if name.kind in ("table", "vector", "optional"):
        return values
    values = np.ascontiguousarray(values.T)
    if style == "flax" and heads and name.kind == "heads-out":
        return values.reshape(len(values), heads, -1)
    if style == "flax" and heads and name.kind == "heads-in":
        return values.reshape(heads, -1, values.shape[1])
    return values
