"""Sparse convolution against spconv on the CPU, on the cloud of spconv's own benchmark.

198,130 points, 125,655 voxels of 0.1 m. spconv runs at one thread, as its sums race with more, and with an
answer to its backward pass's question for a CUDA stream (see nonet.kernels.sparse_conv_spconv). Both sides
get the same features and weights, and give the same values and gradients. Rows at two threads set ours at two
against spconv's one: there it is the wall clock that tells, which the second table has. `python -m
benchmarks.ponderv2.speed_sparse` keeps the rows in results/ponderv2.json.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus
from torch import Tensor, nn

from nonet.kernels.sparse_conv import KernelMap, sparse_conv, strided_map, submanifold_map
from nonet.kernels.sparse_conv_spconv import import_spconv, no_streams, taps_of_spconv
from nonet.kernels.voxels import pack_keys, voxelise

SEED = 0
VOXEL = 0.1  # metres


class Case(NamedTuple):
    """One convolution."""

    name: str
    size: int
    channels: int
    """in"""
    width: int
    """channels out"""
    cached: bool
    """the map is there already"""
    backward: bool
    stride: int = 1
    threads: int = 1
    """of ours"""


CASES = [
    Case("map and forward", 3, 32, 32, False, False),
    Case("forward and backward, cached map", 3, 32, 32, True, True),
    Case("map, forward and backward", 3, 32, 32, False, True),
    Case("forward and backward, cached map", 3, 32, 32, True, True, threads=2),
    Case("map, forward and backward", 3, 32, 32, False, True, threads=2),
    Case("forward and backward, cached map", 3, 96, 96, True, True),
    Case("forward and backward, cached map", 5, 6, 32, True, True),
    Case("map, forward and backward", 2, 32, 64, False, True, stride=2),
]
TINY = [CASES[2], CASES[7]]


class Ours:
    """A convolution of this project."""

    def __init__(self, case: Case, cells: Tensor, layer: nn.Module) -> None:
        self.case, self.cells = case, cells
        self.weight = taps_of_spconv(layer.weight.detach(), axes="xyz").contiguous().requires_grad_()
        self.map = self._map()

    def _map(self) -> KernelMap:
        size, stride = self.case.size, self.case.stride
        return submanifold_map(self.cells, size) if stride == 1 else strided_map(self.cells, size, stride)[1]

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs and the weights."""
        return sparse_conv(features, self.weight, self.map if self.case.cached else self._map()), self.weight


class Theirs:
    """The same of spconv."""

    def __init__(self, case: Case, cells: Tensor, layer: nn.Module) -> None:
        self.case, self.layer = case, layer
        self.indices = cells.int()
        self.extent = [int(size) + 96 for size in cells[:, 1:].amax(0)]  # else ends of odd extents are lost
        self.kept: dict[str, Any] = {}
        self(torch.zeros(len(cells), case.channels))

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs and the weights."""
        given = import_spconv().SparseConvTensor(features, self.indices, self.extent, batch_size=1)
        if self.case.cached:
            given.indice_dict = self.kept
        return self.layer(given).features, self.layer.weight


def layer_of(case: Case) -> nn.Module:
    torch.manual_seed(SEED)
    spconv = import_spconv()
    kind = spconv.SubMConv3d if case.stride == 1 else spconv.SparseConv3d
    given = {"stride": case.stride} if case.stride > 1 else {"padding": case.size // 2}
    key = "kept" if case.cached else None
    return kind(
        case.channels, case.width, case.size, bias=False, indice_key=key, algo=spconv.ConvAlgo.Native, **given
    )


def step(
    side: Callable[[Tensor], tuple[Tensor, Tensor]], features: Tensor, weights: Tensor | None, threads: int
) -> list[Tensor]:
    """Outputs, and with `weights` the gradients of a weighted sum of them by features and weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.set_grad_enabled(weights is not None):
            found, parameter = side(features)
        if weights is None:
            return [found]
        given = weights[: len(found)] if len(weights) > len(found) else weights
        return [found.detach(), *torch.autograd.grad(found, [features, parameter], given)]
    finally:
        torch.set_num_threads(before)


def same(case: Case, order: Tensor, ours: list[Tensor], theirs: list[Tensor]) -> bool | str:
    """Whether outputs and gradients agree to 1e-4 of the largest number of each."""
    theirs = [theirs[0][order], *theirs[1:]]
    if case.backward:
        theirs[2] = taps_of_spconv(theirs[2], axes="xyz")
    names = "outputs", "gradient of features", "gradient of weights"
    for name, one, other in zip(names, ours, theirs, strict=False):
        apart = ((one - other).abs().max() / other.abs().max()).item()
        if apart > 1e-4:
            return f"{name} differ by {apart:.1e} of the largest"
    return True


def compare(case: Case, cells: Tensor, **timed: Any) -> Row:
    layer = layer_of(case)
    ours, theirs = Ours(case, cells, layer), Theirs(case, cells, layer)
    random = torch.Generator().manual_seed(SEED)
    features = torch.randn(len(cells), case.channels, generator=random).requires_grad_(case.backward)
    order = torch.arange(ours.map.n_out)
    weights = None
    if case.backward:
        # a sum whose weights do not depend on the order of outputs, which is spconv's own with a stride
        weights = torch.randn(case.width, generator=random).expand(ours.map.n_out, -1).contiguous()
    if case.stride > 1:
        order = order_of(theirs, features, strided_map(cells, case.size, case.stride)[0])
    kind = f"{case.size}x{case.size}x{case.size}"
    what = "submanifold" if case.stride == 1 else f"stride {case.stride}"
    return versus(
        f"{what} {kind}, {case.channels} to {case.width} channels, {case.name}, "
        f"{case.threads} thread{'s' * (case.threads > 1)} against 1 of spconv",
        partial(step, ours, features, weights, case.threads),
        partial(step, theirs, features, weights, 1),
        partial(same, case, order),
        unit="voxels",
        per_call=len(cells),
        **timed,
    )


def order_of(theirs: Theirs, features: Tensor, coarse: Tensor) -> Tensor:
    """Where spconv has our outputs."""
    with torch.no_grad():
        given = import_spconv().SparseConvTensor(features, theirs.indices, theirs.extent, batch_size=1)
        found = pack_keys(theirs.layer(given).indices.long())
    order = found.argsort()
    assert torch.equal(found[order], pack_keys(coarse))
    return order


def real_cells(most: int | None = None) -> Tensor | None:
    """Voxels of the cloud, or of its first points, or None where it is not."""
    file = data_folder("spconv-cloud", "benchmark-pc.npz")
    if file is None:
        return None
    points = torch.from_numpy(np.load(file)["pc"][:most, :3].copy())
    places = ((points - points.amin(0)) / VOXEL).floor()  # of float32: 125,655; `voxelise` has other borders
    return voxelise(places, 1.0).cells


def main(*, tiny: bool = False) -> list[Row]:
    """Time both; `tiny` only checks on a few points that they agree, and keeps nothing."""
    cells = real_cells(2000 if tiny else None)
    if cells is None:
        return []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    timed: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {"rounds": 5}
    try:
        with no_streams():
            rows = [compare(case, cells, **timed) for case in (TINY if tiny else CASES)]
    finally:
        torch.set_num_threads(threads)
    clocked = [
        {"name": row["name"], "by the wall clock, ours is x times as fast": f"{row['wall_ratio']:.1f}"}
        for row in rows
    ]
    print(table(rows), table(clocked), sep="\n\n")
    if not tiny:
        for name, part in (("sparse", rows), ("sparse-clocked", clocked)):
            save(
                "ponderv2", part, table=name, versions=("torch", "numba", "spconv-cu120"),
                data="spconv's benchmark-pc.npz, voxels of 0.1 m", seed=SEED,
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
