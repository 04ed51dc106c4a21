"""Which weights of a matrix may stay so that hardware can use it: N of M neighbours, or whole blocks.

2:4 is what the sparse tensor cores of NVIDIA's GPUs multiply (Mishra et al. 2021); blocks are the units of
block pruning (Lagunas et al. 2021). Neighbours lie along the inputs. Where a side of a matrix is no
multiple, the last group or block is smaller.
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cap_prune.density import kept_of
from nonet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Shapes: O outputs, I inputs, G groups of M neighbours, R x C blocks of A x B weights.


@dataclass(frozen=True)
class Neighbours:
    """At most `keep` weights of each `of` neighbours."""

    keep: int
    of: int

    @property
    def density(self) -> float:
        """Share of the weights that stay in the end, in 0..1."""
        return self.keep / self.of

    def choose(self, values_OI: "Tensor", density: float) -> "Tensor":
        """The mask (O, I) bool of the largest values in each group; of equal ones the first stays.

        Args:
            values_OI: scores or absolute weights.
            density: so many of a group, rounded up, and never fewer than `keep`.
        """
        import torch

        many = max(self.keep, math.ceil(round(density * self.of, 6)))
        width = values_OI.shape[1]
        padded = torch.nn.functional.pad(values_OI.float(), (0, -width % self.of), value=-math.inf)
        order_OGM = padded.unflatten(1, (-1, self.of)).sort(dim=-1, descending=True, stable=True).indices
        mask_OGM = torch.zeros_like(order_OGM, dtype=torch.bool)
        mask_OGM.scatter_(-1, order_OGM[..., :many], True)
        return mask_OGM.flatten(1)[:, :width]

    def __str__(self) -> str:
        return f"{self.keep}:{self.of}"


@dataclass(frozen=True)
class Blocks:
    """Blocks of `rows` outputs by `columns` inputs stay or go as a whole."""

    rows: int
    columns: int

    def choose(self, values_OI: "Tensor", density: float) -> "Tensor":
        """The mask (O, I) bool of the blocks of largest mean value; of equal ones the first stays.

        Args:
            values_OI: scores or absolute weights.
            density: share of the blocks that stay, 0..1, rounded down.
        """
        import torch

        from nonet.kernels.masked_linear import cut_largest, kept_by

        sides = values_OI.shape
        fill = (0, -sides[1] % self.columns, 0, -sides[0] % self.rows)
        means_RC, counts_RC = (
            torch.nn.functional.pad(part, fill)
            .unflatten(0, (-1, self.rows))
            .unflatten(2, (-1, self.columns))
            .sum((1, 3))
            for part in (values_OI.float(), torch.ones_like(values_OI, dtype=torch.float32))
        )
        means_RC = means_RC / counts_RC
        mask_RC = kept_by(means_RC, cut_largest(means_RC, kept_of(density, means_RC.numel())))
        mask_OI = mask_RC.repeat_interleave(self.rows, 0).repeat_interleave(self.columns, 1)
        return mask_OI[: sides[0], : sides[1]]

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


Pattern = Neighbours | Blocks


def neighbours(text: str) -> Neighbours:
    """The pattern of a text such as `2:4`.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or not 0 < int(found[1]) < int(found[2]):
        raise UserError(f"pattern {text!r} is not N:M, such as 2:4, with 0 < N < M")
    return Neighbours(int(found[1]), int(found[2]))


def blocks(text: str) -> Blocks:
    """The pattern of a text such as `4x1`: 4 outputs by 1 input.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or int(found[1]) < 1 or int(found[2]) < 1:
        raise UserError(f"block {text!r} is not AxB, such as 4x1: 4 outputs by 1 input")
    return Blocks(int(found[1]), int(found[2]))


def uneven(model: "nn.Module", pattern: Pattern) -> list[str]:
    """Which matrices of a model the pattern does not divide, in words; there hardware gains nothing."""
    from cap_prune.architectures import parts_of

    rows, columns = (1, pattern.of) if isinstance(pattern, Neighbours) else (pattern.rows, pattern.columns)
    return [
        f"{name} of layer {number} is {part.out_features} x {part.in_features}"
        for number, parts in enumerate(parts_of(model))
        for name, part in parts.matrices.items()
        if part.out_features % rows or part.in_features % columns
    ]
