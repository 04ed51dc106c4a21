"""The compiled form of `nonet.kernels.kernel_map` for the CPU: neighbours by walking two sorted lists.

The voxels of a column (one dx, one dy) that are neighbours of a voxel lie side by side in the list of keys,
as z is a key's lowest part. As the voxel moves up the list, so does that place: a walk through the list at
two places at once, without a hash table, that reads memory in order. Threads take a column each.
"""

import numba
import numpy as np
import torch
from torch import Tensor

from nonet.kernels.side_by_side import side_by_side


def neighbours(keys: Tensor, size: int, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (P,) int32, outputs (P,) int32 and starts (K + 1,) int64 of a submanifold map.

    Args:
        keys: (M,) int64 on the CPU, ascending, each once, at least one.
        size: taps along an axis, odd.
        order: (M,) int64, the voxel of each key; None: voxel i has key i.
    """
    numbers = keys.numpy()
    M, K, r = len(numbers), size**3, size // 2
    columns = [(dx, dy) for dx in range(-r, r + 1) for dy in range(-r, r + 1)][: size * size // 2]
    sides: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, np.int32),) * 2] * K

    def walk(column: int) -> None:
        dx, dy = (*columns, (0, 0))[column]
        levels = size if column < len(columns) else r  # of the voxel's own column the part below it
        there, here = np.empty((levels, M), np.int32), np.empty((levels, M), np.int32)
        counts = np.zeros(levels, np.int64)
        _walk(numbers, (dx << 32) + (dy << 16) - r, levels, there, here, counts)
        for level, count in enumerate(counts.tolist()):
            tap = (level * size + dy + r) * size + dx + r
            sides[tap] = there[level, :count], here[level, :count]
            sides[K - 1 - tap] = here[level, :count], there[level, :count]

    side_by_side(walk, len(columns) + (r > 0), worthwhile=M * size >= 20_000)
    own = np.arange(M, dtype=np.int32)
    sides[K // 2] = own, own
    starts = np.cumsum([0, *(len(inputs) for inputs, _ in sides)])
    found = np.empty((2, starts[-1]), np.int32)
    for side in range(2):
        np.concatenate([pair[side] for pair in sides], out=found[side])
    if order is not None:
        _rename(found[0], found[1], starts, order.numpy())
    return torch.from_numpy(found[0]), torch.from_numpy(found[1]), torch.from_numpy(starts)


@numba.njit(cache=True, nogil=True)
def _walk(keys, offset, levels, there, here, counts):
    """Pairs of the voxels whose keys are `offset` + level above each key: those at `there` and `here`."""
    M = len(keys)
    place = 0
    for i in range(M):
        lowest = keys[i] + offset
        while place < M and keys[place] < lowest:
            place += 1
        at = place
        while at < M and keys[at] < lowest + levels:
            level = keys[at] - lowest
            there[level, counts[level]] = at
            here[level, counts[level]] = i
            counts[level] += 1
            at += 1


@numba.njit(cache=True, nogil=True)
def _rename(inputs, outputs, starts, order):
    """Put voxels in the place of ranks, and order each tap by its outputs."""
    partner = np.full(len(order), -1, np.int32)
    for tap in range(len(starts) - 1):
        for pair in range(starts[tap], starts[tap + 1]):
            partner[order[outputs[pair]]] = order[inputs[pair]]
        pair = starts[tap]
        for voxel in range(len(order)):
            if partner[voxel] >= 0:
                inputs[pair], outputs[pair] = partner[voxel], voxel
                partner[voxel] = -1
                pair += 1
