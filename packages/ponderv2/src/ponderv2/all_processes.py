"""A value of every process of a run, on each of them (ours)."""

from typing import TypeVar

import torch

T = TypeVar("T")


def gathered(mine: T) -> list[T]:
    """The values of all processes, in the order of their ranks; all have to call it.

    Args:
        mine: what can be pickled; alone, a process gets this one back.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return [mine]
    every: list[T] = [mine] * distributed.get_world_size()
    distributed.all_gather_object(every, mine)
    return every
