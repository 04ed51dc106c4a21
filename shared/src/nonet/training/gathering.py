"""Rows of all processes on each of them, with gradients back to the process that a row is from (ours).

The gradient of a gathered row is the sum of what all processes make of it. With losses of each process's own
rows alone, and gradients that DDP averages, `nonet.training.trainer.global_mean` then gives every weight the
gradient that one process with all rows would give it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Ranks(NamedTuple):
    """How the rows of a batch lie on the processes.

    Attributes:
        rank: which process this is.
        sizes: rows of each process, rank 0's first.
    """

    rank: int
    sizes: tuple[int, ...]

    @property
    def first(self) -> int:
        """Place of this process's first row among all."""
        return sum(self.sizes[: self.rank])

    @property
    def own(self) -> slice:
        """Places of this process's rows among all."""
        return slice(self.first, self.first + self.sizes[self.rank])


def find_ranks(count: int, device: torch.device) -> Ranks:
    """Ask every process how many rows it has; all call this together.

    Args:
        count: rows of this process.
        device: on which processes talk to one another.

    Returns:
        One process with `count` rows, where torch.distributed is not in use.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return Ranks(0, (count,))
    mine = torch.tensor([count], device=device)
    found = [torch.zeros_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, mine)
    return Ranks(distributed.get_rank(), tuple(int(size) for size in torch.cat(found).tolist()))


def gather_rows(values: Tensor, ranks: Ranks) -> Tensor:
    """The rows of all processes; all call this together, in the same order.

    Args:
        values: (rows, ...) of any dtype; rows as `ranks` says, further sizes equal everywhere.
        ranks: from `find_ranks`.

    Returns:
        (sum of ranks.sizes, ...), rank 0's first. `values` itself with one process.

    Raises:
        ValueError: the rows are not as many as `ranks` says.
    """
    if len(values) != ranks.sizes[ranks.rank]:
        raise ValueError(f"{len(values)} rows, but the other processes expect {ranks.sizes[ranks.rank]}")
    if len(ranks.sizes) == 1:
        return values
    gathered: Tensor = _Gather.apply(values, ranks)
    return gathered


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        longest = max(ranks.sizes)
        padded = values.new_zeros((longest, *values.shape[1:]))  # processes exchange equal shapes
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in ranks.sizes]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, ranks.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total[ctx.ranks.own], None
