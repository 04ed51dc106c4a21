"""Where a model is measured, and in which numbers."""

from typing import Any

from nonet.errors import UserError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def placed(model: Any, device: str = "auto", dtype: str = "fp32") -> Any:
    """The model on a device, in evaluation mode.

    Args:
        model: of torch.
        device: `auto`, `cpu` or `cuda`.
        dtype: one of `DTYPES`.

    Raises:
        UserError: a GPU is asked for where there is none, or fp16 on the CPU, where it is emulated.
    """
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UserError("device cuda: torch sees no GPU here; use --device cpu")
    where = "cuda" if there and device != "cpu" else "cpu"
    if where == "cpu" and dtype == "fp16":
        raise UserError("dtype fp16 on the CPU says nothing about speed: use fp32 or bf16, or a GPU")
    return model.to(device=where, dtype=getattr(torch, DTYPES[dtype])).eval()
