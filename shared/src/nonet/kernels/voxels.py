"""Points to voxels: exact integer keys, voxels of a cloud, one point a voxel, means over groups. Ours.

A voxel is four whole numbers: scene, x, y, z, all >= 0. Its key packs them into one int64, 16 bits each, so
that keys ascend as (scene, x, y, z) do, and no two voxels share one. (The 64-bit FNV hash of the original
data pipeline may merge two voxels silently.)

Cost: a sort of N keys; else each point is read a few times.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Shapes: N points or rows, M voxels, S scenes, C channels.

BITS = 16  # of a coordinate in a key; the scene has 15, as the sign must stay clear
CELLS = 1 << BITS  # x, y and z are below it: 65,536 cells of 2 cm are 1.3 km
SCENES = 1 << (63 - 3 * BITS)


class Voxelised(NamedTuple):
    """Voxels of a cloud.

    Attributes:
        cells: (M, 4) int64: scene, x, y, z; each voxel once, ascending by key.
        inverse: (N,) int64 in 0..M-1, the voxel of each point.
        counts: (M,) int64, points in each voxel, at least 1.
    """

    cells: Tensor
    inverse: Tensor
    counts: Tensor


def pack_keys(cells_M4: Tensor) -> Tensor:
    """One int64 a voxel: (M,), ascending as (scene, x, y, z) are, each key of one voxel only.

    key = ((scene * 65536 + x) * 65536 + y) * 65536 + z: (0, 0, 1, 2) is 65538.

    Args:
        cells_M4: (M, 4) int64 or int32: scene in 0..32767; x, y, z in 0..65535.

    Raises:
        ValueError: the shape is another one, or a number is out of range.
    """
    if cells_M4.ndim != 2 or cells_M4.shape[1] != 4 or cells_M4.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"voxels {tuple(cells_M4.shape)} {cells_M4.dtype}: expected (M, 4) int64, scene, x, y, z"
        )
    cells = cells_M4.long()
    if len(cells):
        lowest, highest = (part.tolist() for part in torch.aminmax(cells, dim=0))
        if min(lowest) < 0:
            raise ValueError(f"a voxel has the coordinate {min(lowest)}: scene, x, y, z are 0 or more")
        if highest[0] >= SCENES or max(highest[1:]) >= CELLS:
            raise ValueError(
                f"voxels reach scene {highest[0]}, x, y, z {highest[1:]}: a key holds {SCENES} scenes of "
                f"{CELLS} voxels an axis; take larger voxels, or leave out points far away"
            )
    scene, x, y, z = cells.unbind(1)
    return scene << 3 * BITS | x << 2 * BITS | y << BITS | z


def unpack_keys(keys_M: Tensor) -> Tensor:
    """The voxels (M, 4) int64 of keys (M,) int64 as `pack_keys` gives them."""
    mask = CELLS - 1
    parts = [keys_M >> 3 * BITS, keys_M >> 2 * BITS & mask, keys_M >> BITS & mask, keys_M & mask]
    return torch.stack(parts, 1)


def voxelise(points_N3: Tensor, size: float, *, scene: Tensor | None = None) -> Voxelised:
    """The voxels that points lie in: floor(point / size), less the smallest of its scene along each axis.

    So voxel borders are at multiples of the size whatever the cloud, and coordinates begin at 0.

    Args:
        points_N3: (N, 3) float, metres; finite.
        size: edge of a voxel, metres.
        scene: (N,) int64 in 0..32767, the scene of each point; None: all are of scene 0.

    Raises:
        ValueError: shapes do not fit, the size is not positive, a point is not finite, or a scene is more
            than 65,536 voxels wide.
    """
    cells = _cells(points_N3, size, scene)
    keys = pack_keys(cells)
    order = key_order(keys)
    ordered = keys if order is None else keys[order]
    begins = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
    firsts = begins.nonzero()[:, 0]
    of_ordered = begins.cumsum(0) - 1
    inverse = of_ordered if order is None else torch.empty_like(of_ordered).scatter_(0, order, of_ordered)
    counts = torch.diff(firsts, append=firsts.new_tensor([len(keys)]))
    return Voxelised(unpack_keys(ordered[firsts]), inverse, counts)


def key_order(keys_N: Tensor) -> Tensor | None:
    """The stable ascending order of keys, (N,) int64; None where they ascend already, equal ones included."""
    if len(keys_N) < 2 or bool((keys_N[1:] >= keys_N[:-1]).all()):
        return None
    return keys_N.sort(stable=True).indices


def grid_sample(
    points_N3: Tensor,
    size: float,
    *,
    generator: torch.Generator | np.random.Generator | None = None,
    scene: Tensor | None = None,
) -> Tensor:
    """One point of each voxel: (M,) int64 indices of points, in the order of `voxelise`'s cells.

    Args:
        points_N3: (N, 3) float, metres.
        size: edge of a voxel, metres.
        generator: draws the point, each of a voxel alike; the same on every device. None: the first one.
        scene: as in `voxelise`.

    Raises:
        ValueError: as in `voxelise`.
    """
    grouped, starts, counts = _grouped(points_N3, size, scene)
    if generator is None:
        return grouped[starts]
    if isinstance(generator, np.random.Generator):
        draws = torch.from_numpy(generator.random(len(counts)))
    else:
        draws = torch.rand(len(counts), generator=generator, dtype=torch.float64, device=generator.device)
    return grouped[starts + (draws.to(counts.device) * counts).long()]


def grid_fragments(points_N3: Tensor, size: float, *, scene: Tensor | None = None) -> list[Tensor]:
    """Samples of one point a voxel that together hold every point: the test protocol's fragments.

    Fragment i has of each voxel's n points number i mod n. As many fragments as the fullest voxel has points.

    Args:
        points_N3: (N, 3) float, metres.
        size: edge of a voxel, metres.
        scene: as in `voxelise`.

    Raises:
        ValueError: as in `voxelise`.
    """
    grouped, starts, counts = _grouped(points_N3, size, scene)
    return [grouped[starts + i % counts] for i in range(int(counts.max()) if len(counts) else 0)]


def scatter_mean(values_NC: Tensor, index_N: Tensor, count: int) -> Tensor:
    """The mean of the rows of each group: (count, C); a group without rows has zeros.

    The sum of a group runs over its rows in their order: the same bits each time, with any number of threads.

    Args:
        values_NC: (N, C) float; a gradient passes, once.
        index_N: (N,) int64 in 0..count-1, the group of each row.
        count: number of groups.

    Raises:
        ValueError: shapes do not fit, or an index is out of range.
    """
    if values_NC.ndim != 2 or index_N.shape != values_NC.shape[:1]:
        raise ValueError(f"values {tuple(values_NC.shape)} and index {tuple(index_N.shape)}: (N, C) and (N,)")
    if len(index_N):
        low, high = (int(part) for part in torch.aminmax(index_N))
        if low < 0 or high >= count:
            raise ValueError(f"groups {low} to {high}: expected 0 to {count - 1}")
    found: Tensor = _ScatterMean.apply(values_NC, index_N, count)
    return found


class _ScatterMean(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, count: int) -> Tensor:
        exact = values.to(torch.promote_types(values.dtype, torch.float32))
        counts = torch.bincount(index, minlength=count)
        if values.is_cuda:  # its index_add adds atomically, in any order
            rows = exact.index_select(0, index.sort(stable=True).indices)
            sums = torch.segment_reduce(rows, "sum", lengths=counts, axis=0, unsafe=True)
        else:
            sums = exact.new_zeros(count, values.shape[1]).index_add_(0, index, exact)
        counts = counts.clamp_min_(1).to(exact.dtype)[:, None]
        ctx.save_for_backward(index, counts)
        return (sums / counts).to(values.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, counts = ctx.saved_tensors
        return (gradient / counts).to(gradient.dtype).index_select(0, index), None, None


def _cells(points: Tensor, size: float, scene: Tensor | None) -> Tensor:
    """Voxels (N, 4) int64 of points, those of each scene beginning at 0."""
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"points {tuple(points.shape)} {points.dtype}: expected (N, 3) floats")
    if not 0 < size < float("inf"):
        raise ValueError(f"the voxel's size is {size}: expected metres, above 0")
    if scene is not None and scene.shape != points.shape[:1]:
        raise ValueError(f"scenes {tuple(scene.shape)} do not fit {len(points)} points")
    whole = (points.double() / size).floor_()  # float32 would move points that lie beside a border
    if not len(points):
        return torch.zeros(0, 4, dtype=torch.int64, device=points.device)
    if not bool(whole.isfinite().all()):
        raise ValueError(f"{int((~points.isfinite()).any(1).sum())} points are not finite: leave them out")
    if scene is None:
        scene = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        whole -= whole.amin(0)
    else:
        if int(scene.min()) < 0 or int(scene.max()) >= SCENES:
            raise ValueError(f"scenes {int(scene.min())} to {int(scene.max())}: expected 0 to {SCENES - 1}")
        lowest = whole.new_full((int(scene.max()) + 1, 3), float("inf"))
        lowest.scatter_reduce_(0, scene[:, None].expand(-1, 3), whole, "amin")
        whole -= lowest.index_select(0, scene)
    widest = whole.max().item()
    if widest >= CELLS:
        raise ValueError(
            f"a scene is {widest + 1:.0f} voxels of {size} m wide: {CELLS} is the limit; take larger voxels, "
            "or leave out points far away"
        )
    return torch.cat([scene[:, None], whole.long()], 1)


def _grouped(points: Tensor, size: float, scene: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Points ordered by voxel (N,), where each voxel begins among them (M,), and how many it has (M,)."""
    keys = pack_keys(_cells(points, size, scene))
    order = key_order(keys)
    ordered = keys if order is None else keys[order]
    if order is None:
        order = torch.arange(len(keys), device=keys.device)
    _, counts = ordered.unique_consecutive(return_counts=True)
    return order, counts.cumsum(0) - counts, counts
