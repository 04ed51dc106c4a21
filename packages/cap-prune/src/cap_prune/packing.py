"""Weights on disk without their zeros: compressed rows, and the 2:4 pattern in half the values (ours).

Both are unpacked to whole matrices when they are loaded, with equal values (a -0 becomes 0): they save disk,
not memory or time. The file holds, beside all other weights under their names:

    csr   NAME.values (n,), NAME.columns (n,) uint16 or int32, NAME.starts (rows + 1,) int32
    2:4   NAME.values (groups, 2), NAME.places (groups / 2,) uint8: two groups a byte, two bits a place
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cap_prune.architectures import parts_of
from cap_prune.loading import PACKED
from nonet.errors import UserError

_ENDINGS = {"csr": ("values", "columns", "starts"), "2:4": ("values", "places")}


def matrix_names(model: Any) -> list[str]:
    """The names, in the model's state, of all weights that pruning may touch."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [names[id(part.weight)] for parts in parts_of(model) for part in parts.matrices.values()]


def csr_bytes(weight: Tensor) -> int:
    """Bytes of a matrix (rows, columns) as compressed rows in the file: values, columns and row starts."""
    rows, width = weight.shape
    each = weight.element_size() + _columns_of(width).itemsize
    return int(weight.detach().count_nonzero()) * each + (rows + 1) * torch.int32.itemsize


def write_packed(model: Any, folder: Path, form: str) -> list[str]:
    """Write `packed.safetensors`.

    Args:
        model: a supported encoder.
        folder: of the model.
        form: `csr` or `2:4`.

    Returns:
        The matrices that stay whole, as their inputs are no multiple of 4.

    Raises:
        UserError: `2:4`, and a matrix has more than two weights that are not 0 in a group of four.
    """
    from safetensors.torch import save_file

    state = {name: weight.detach().cpu() for name, weight in model.state_dict().items()}
    shapes: dict[str, list[int]] = {}
    whole = []
    for name in matrix_names(model):
        weight = state[name]
        if form == "2:4" and weight.shape[1] % 4:
            whole.append(name)
            continue
        del state[name]
        shapes[name] = list(weight.shape)
        parts = _to_rows(weight) if form == "csr" else _to_halves(weight, name)
        state |= {f"{name}.{ending}": part for ending, part in zip(_ENDINGS[form], parts, strict=True)}
    metadata = {"format": "pt", "packed": form, "matrices": json.dumps(shapes)}
    tensors = {name: weight.clone().contiguous() for name, weight in state.items()}  # tied ones, too
    save_file(tensors, folder / PACKED, metadata=metadata)
    return whole


def read_packed(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder that `write_packed` wrote, whole.

    Raises:
        UserError: the file is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / PACKED
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            form, shapes = facts["packed"], json.loads(facts["matrices"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        for name, (rows, columns) in shapes.items():
            parts = [state.pop(f"{name}.{ending}") for ending in _ENDINGS[form]]
            whole: Callable[..., Tensor] = _from_rows if form == "csr" else _from_halves
            state[name] = whole(*parts, rows, columns)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{path}: damaged: {' '.join(str(error).split())[:200]}") from error
    return state


def _columns_of(width: int) -> torch.dtype:
    """Of the columns' numbers, in a matrix of so many columns."""
    return torch.uint16 if width <= 2**16 else torch.int32


def _to_rows(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    kept = weight.ne(0)
    counts = kept.sum(1, dtype=torch.int32)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0, dtype=torch.int32)])
    columns = kept.nonzero()[:, 1].to(_columns_of(weight.shape[1]))
    return weight[kept], columns, starts


def _from_rows(values: Tensor, columns: Tensor, starts: Tensor, rows: int, width: int) -> Tensor:
    if int(starts[-1]) != len(values):
        raise ValueError(f"{len(values)} values where rows end at {int(starts[-1])}")
    whole = values.new_zeros(rows, width)
    whole[torch.arange(rows).repeat_interleave(starts.diff().long()), columns.long()] = values
    return whole


def _to_halves(weight: Tensor, name: str) -> tuple[Tensor, Tensor]:
    groups = weight.reshape(-1, 4)
    crowded = int((groups.ne(0).sum(1) > 2).sum())
    if crowded:
        raise UserError(
            f"{name}: {crowded} of {len(groups)} groups of four have more than two weights that are not 0; "
            "prune with --masks.pattern 2:4 first"
        )
    places = groups.eq(0).to(torch.uint8).argsort(dim=1, stable=True)[:, :2]  # the kept ones first
    codes = (places[:, 0] | places[:, 1] << 2).to(torch.uint8)
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    return groups.gather(1, places), codes[0::2] | codes[1::2] << 4


def _from_halves(values: Tensor, packed: Tensor, rows: int, width: int) -> Tensor:
    codes = torch.stack([packed & 15, packed >> 4], 1).view(-1)[: len(values)]
    places = torch.stack([codes & 3, codes >> 2], 1).long()
    return values.new_zeros(len(values), 4).scatter_(1, places, values).view(rows, width)
