"""2:4 weights for the sparse tensor cores of NVIDIA GPUs, by torch's semi-structured tensors (ours).

Only here do zeros give speed, and only where matrices and batches are large: measure with
`cap-prune bench --sparse`.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.architectures import parts_of
from cap_prune.packing import matrix_names
from nonet.errors import UserError


def use_sparse_kernels(model: Any) -> list[str]:
    """Compress every matrix that can be, in place, for inference.

    Args:
        model: a supported encoder on a GPU (Ampere or later) in float16 or bfloat16.

    Returns:
        The names of the matrices that stay dense: not in the pattern, or of a shape that the kernels lack.

    Raises:
        UserError: the model is elsewhere or in another dtype; there is no speed-up then.
    """
    where = next(model.parameters())
    if where.device.type != "cuda" or where.dtype not in (torch.float16, torch.bfloat16):
        kind = str(where.dtype).removeprefix("torch.")
        raise UserError(
            f"no speed-up on this device: 2:4 needs a GPU and float16 or bfloat16, the model is on "
            f"{where.device.type} in {kind}"
        )
    dense = []
    matrices = [part for parts in parts_of(model) for part in parts.matrices.values()]
    for name, part in zip(matrix_names(model), matrices, strict=True):
        compressed = _compressed(part.weight)
        if compressed is None:
            dense.append(name)
        else:
            part.weight = nn.Parameter(compressed, requires_grad=False)
    return dense


def _compressed(weight: Tensor) -> Tensor | None:
    """The matrix for the sparse kernels; None: they cannot take it."""
    rows, columns = weight.shape
    if (
        weight.numel() == 0
        or rows % 32
        or columns % 64
        or int((weight.detach().view(-1, 4) != 0).sum(1).max()) > 2
    ):
        return None  # 32 x 64 is what every kernel of torch takes at 16 bits
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*prototype stage")  # nothing that a user could change
        found: Tensor = torch.sparse.to_sparse_semi_structured(weight.detach())
    return found
