"""Which voxel meets which under each tap of a sparse convolution: kernel maps. Source: ours.

A tap is a place in a cube of size^3, numbered row-major over (z, y, x):

    tap = ((dz + r) * size + dy + r) * size + dx + r      submanifold, offsets -r..r, r = (size - 1) / 2
    tap = (tz * size + ty) * size + tx                    strided, input = output * stride - padding + t

A pair (input, output) of a tap is an input voxel that lies at the tap's offset from an output voxel. The map
of a submanifold convolution is its own mirror image: the pairs of tap t, turned round, are those of the last
tap less t. So half of it is looked up; and as keys ascend with voxels, looking up is walking through two
sorted lists at the same time.

Cost: size^3 / 2 walks over N keys, 12 bytes read and 8 written for each pair. In torch operators (CUDA, or no
numba) a binary search takes the place of the walk.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import compiled_form
from nonet.kernels.voxels import CELLS, key_order, pack_keys, unpack_keys

# Shapes: M voxels, K = size^3 taps, P pairs.

LOOKED_UP = 1 << 24  # numbers that a binary search takes at once: 128 MB


@dataclass(frozen=True, eq=False)
class KernelMap:
    """The pairs of every tap, tap after tap; within a tap outputs ascend, each at most once.

    Attributes:
        inputs: (P,) int32 in 0..n_in-1.
        outputs: (P,) int32 in 0..n_out-1.
        starts: (K + 1,) int64 on the CPU: tap t has pairs starts[t] to starts[t + 1] - 1.
        n_in: input voxels.
        n_out: output voxels.
        size: taps along an axis.
        stride: of outputs, in input voxels; 1 for a submanifold convolution.
        rising: within a tap inputs ascend as well.
        forms: what the kernels derived from the map, kept for the next call.
    """

    inputs: Tensor
    outputs: Tensor
    starts: Tensor
    n_in: int
    n_out: int
    size: int
    stride: int = 1
    rising: bool = False
    forms: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def taps(self) -> int:
        """K, the number of taps."""
        return len(self.starts) - 1

    def transposed(self) -> "KernelMap":
        """The map from outputs back to inputs, with the same taps: that of the inverse convolution."""
        if "transposed" not in self.forms:
            inputs, outputs = self.outputs, self.inputs
            if not self.rising:
                lengths = torch.diff(self.starts).to(outputs.device)
                tap = torch.repeat_interleave(torch.arange(self.taps, device=outputs.device), lengths)
                order = (tap * self.n_in + outputs).argsort()
                inputs, outputs = inputs[order], outputs[order]
            self.forms["transposed"] = KernelMap(
                inputs, outputs, self.starts, self.n_out, self.n_in, self.size, self.stride, self.rising
            )
        found: KernelMap = self.forms["transposed"]
        return found

    def table(self) -> Tensor:
        """The input of each tap and output, -1 for none: (K, n_out) int32."""
        if "table" not in self.forms:
            found = torch.full((self.taps, self.n_out), -1, dtype=torch.int32, device=self.inputs.device)
            for tap, (first, last) in enumerate(self.spans()):
                found[tap, self.outputs[first:last].long()] = self.inputs[first:last]
            self.forms["table"] = found
        table: Tensor = self.forms["table"]
        return table

    def spans(self) -> list[tuple[int, int]]:
        """The first pair of each tap, and the one behind its last."""
        return list(itertools.pairwise(self.starts.tolist()))

    def to(self, device: torch.device | str) -> "KernelMap":
        """The same map on another device."""
        return KernelMap(
            self.inputs.to(device), self.outputs.to(device), self.starts, self.n_in, self.n_out, self.size,
            self.stride, self.rising,
        )  # fmt: skip


def submanifold_map(cells_M4: Tensor, size: int = 3) -> KernelMap:
    """The map of a convolution whose outputs are at its inputs.

    Args:
        cells_M4: (M, 4) int64: scene, x, y, z, each voxel once, in any order; ascending by key, as `voxelise`
            gives them, is the quickest.
        size: taps along an axis, odd.

    Raises:
        ValueError: the size is even or not positive, a voxel is there twice, or a coordinate is out of range
            (65,535 less size / 2 is the largest).
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a submanifold convolution of size {size}: expected an odd number, 1 or more")
    keys, order = _distinct_keys(cells_M4, size // 2)
    if len(keys) and compiled_form(keys):
        from nonet.kernels.kernel_map_compiled import neighbours

        inputs, outputs, starts = neighbours(keys, size, order)
    else:
        inputs, outputs, starts = _searched(keys, size, order)
    return KernelMap(inputs, outputs, starts, len(keys), len(keys), size, 1, order is None)


def strided_map(
    cells_M4: Tensor, size: int = 2, stride: int = 2, *, padding: int = 0
) -> tuple[Tensor, KernelMap]:
    """The output voxels of a convolution with a stride, and its map.

    An output is where at least one input falls under a tap, and there is no end of the grid to fall off: with
    size = stride every input has its output, also at odd extents, where dense convolutions (and spconv) drop
    what does not fill the last window.

    Args:
        cells_M4: (M, 4) int64, as for `submanifold_map`.
        size: taps along an axis.
        stride: input voxels from one output to the next.
        padding: input voxels before 0 that the first window begins with.

    Returns:
        (M', 4) int64, ascending by key, and the map; `map.transposed()` leads back.

    Raises:
        ValueError: as for `submanifold_map`; or size, stride and padding leave inputs without an output.
    """
    if stride < 1 or size < stride or not 0 <= padding <= size - stride:
        raise ValueError(
            f"size {size}, stride {stride}, padding {padding}: expected 1 <= stride <= size and padding up "
            f"to size - stride = {size - stride}, or inputs would have no output"
        )
    keys, order = _distinct_keys(cells_M4, padding)
    cells, device = cells_M4.long(), cells_M4.device
    moved = cells[:, 1:] + padding
    last = moved.div(stride, rounding_mode="floor")  # of the windows that hold a voxel, along each axis
    place = moved - last * stride  # where the voxel lies in it
    rows, taps, windows = [], [], []
    for back in itertools.product(range(-(-size // stride)), repeat=3):
        shift = torch.tensor(back, device=device)
        window, at = last - shift, place + stride * shift
        x, y, z = at.unbind(1)
        parts = [torch.arange(len(cells), device=device), cells[:, :1], window, (z * size + y) * size + x]
        if size > stride:  # windows overlap, and not each of these holds the voxel
            held = ((window >= 0) & (at < size)).all(1).nonzero()[:, 0]
            parts = [part[held] for part in parts]
        rows.append(parts[0])
        windows.append(pack_keys(torch.cat(parts[1:3], 1)))
        taps.append(parts[3])
    distinct, outputs = torch.cat(windows).unique(return_inverse=True)
    tap = torch.cat(taps)
    ranks = (tap * len(distinct) + outputs).argsort()
    starts = torch.zeros(size**3 + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(tap, minlength=size**3).cumsum(0)
    return unpack_keys(distinct), KernelMap(
        torch.cat(rows)[ranks].int(), outputs[ranks].int(), starts, len(keys), len(distinct), size, stride,
        order is None,
    )  # fmt: skip


def _distinct_keys(cells: Tensor, margin: int) -> tuple[Tensor, Tensor | None]:
    """Ascending keys, each once, and their voxels if these are in another order.

    There is room for `margin` voxels beside each before an axis runs into the next one.
    """
    keys = pack_keys(cells)
    if margin and len(cells) and int(cells[:, 1:].max()) >= CELLS - margin:
        raise ValueError(
            f"a voxel has the coordinate {int(cells[:, 1:].max())}: the largest here is {CELLS - margin - 1}"
        )
    order = key_order(keys)
    keys = keys if order is None else keys[order]
    if bool((keys[1:] == keys[:-1]).any()):
        twice = int((keys[1:] == keys[:-1]).sum())
        raise ValueError(f"{twice} of {len(keys)} voxels are there already: voxelise first")
    return keys, order


def _searched(keys: Tensor, size: int, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs by binary search in ascending keys; `order` says which voxel each key is."""
    M, K, device = len(keys), size**3, keys.device
    places = torch.arange(-(size // 2), size // 2 + 1, device=device)
    z, y, x = (part.flatten() for part in torch.meshgrid(places, places, places, indexing="ij"))
    offsets = (x << 32) + (y << 16) + z
    half = K // 2
    inputs, outputs = [], []
    step = max(1, LOOKED_UP // max(1, M))
    for first in range(0, half, step):
        wanted = keys + offsets[first : min(half, first + step), None]
        at = torch.searchsorted(keys, wanted).clamp_max_(max(0, M - 1))
        hits = keys[at] == wanted if M else at.bool()
        for row, hit in enumerate(hits):
            outputs.append(hit.nonzero()[:, 0])
            inputs.append(at[row][outputs[-1]])
    every = torch.arange(M, device=device)
    tap_inputs = [*inputs, every, *reversed(outputs)]
    tap_outputs = [*outputs, every, *reversed(inputs)]
    if order is not None:
        for tap, (of_in, of_out) in enumerate(zip(tap_inputs, tap_outputs, strict=True)):
            ranks = order[of_out].argsort()
            tap_inputs[tap], tap_outputs[tap] = order[of_in][ranks], order[of_out][ranks]
    starts = torch.tensor([0, *(len(part) for part in tap_inputs)]).cumsum(0)
    return torch.cat(tap_inputs).int(), torch.cat(tap_outputs).int(), starts
