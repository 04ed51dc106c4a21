"""Trilinear sampling of a volume at points, with first and second gradients.

    f(p) = sum over the 8 corners k around p of w_k(p) V_k,   w_k a product of three hat functions
    df/dp is piecewise linear in V, and d2f/dp2 has mixed terms only (a hat's slope is constant)

A field that is trained with an eikonal term, (|df/dp| - 1)^2, takes the gradient of a gradient: to the
volume, through df/dp. Source: Wang et al. 2021 (NeuS) for the use, ours for the forms:

* `grid_sample`: torch's operator, twice differentiable since torch 2.13; on a GPU its gradients are summed in
  no fixed order, and torch refuses them where it is told to be deterministic;
* `gather`: rows of a channels-last table at 8 corners, with both orders of gradients written out; numba
  compiles its passes on the CPU where it is installed. Slopes alone do not form the volume's gradient as
  well. A step with an eikonal term takes two fifths to a half of `grid_sample`'s time on a CPU
  (`benchmarks/ponderv2/speed_trilinear.py`).

Points beyond the volume read zeros, and a corner beyond it has the value 0 (padding "zeros"). Half precision
is sampled in float32.

Cost of `gather` for n points and C channels: each pass reads 8 C numbers a point; value 1 pass, slopes 1,
second order 2 reads and 1 scatter, volume gradient 1 scatter.
"""

import functools
import importlib.util
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Shapes: B volumes, C channels, (Z, Y, X) places, P points a volume, n = B P, N = B Z Y X rows of the table.

Form = Literal["auto", "grid_sample", "gather"]
SINCE = (2, 13)  # torch's grid_sample is twice differentiable since then


def trilinear(
    volume_BCZYX: Tensor, points_BP3: Tensor, *, align_corners: bool = True, form: Form = "auto"
) -> Tensor:
    """Values of volumes at points.

    Args:
        volume_BCZYX: (B, C, Z, Y, X) float; in memory format channels_last_3d `gather` need not copy it.
        points_BP3: (B, P, 3) float, x, y, z; -1 and 1 are the ends of an axis: the middles of its first and
            last cell with align_corners, else their outer faces.
        align_corners: see above.
        form: how, see the module; auto is `gather` on the CPU, where torch's operator lacks second gradients,
            and under `torch.use_deterministic_algorithms`, and else `grid_sample`.

    Returns:
        (B, P, C), float64 if both are, else float32; differentiable twice, to volume and points.

    Raises:
        ValueError: shapes do not fit, or no such form.
    """
    B, points = len(volume_BCZYX), points_BP3
    if volume_BCZYX.ndim != 5 or points.ndim != 3 or points.shape[2] != 3 or len(points) != B:
        raise ValueError(
            f"a volume (B, C, Z, Y, X) and points (B, P, 3) are needed, not {tuple(volume_BCZYX.shape)} and "
            f"{tuple(points.shape)}"
        )
    if form == "auto":
        form = _best(volume_BCZYX.is_cuda)
    if form not in ("grid_sample", "gather"):
        raise ValueError(f"no form {form!r} of trilinear sampling; there are auto, grid_sample and gather")
    kind = torch.promote_types(volume_BCZYX.dtype, points.dtype)
    kind = kind if kind == torch.float64 else torch.float32
    with torch.autocast(volume_BCZYX.device.type, enabled=False):
        volume, points = volume_BCZYX.to(kind), points.to(kind)
        if form == "grid_sample":
            found = torch.nn.functional.grid_sample(
                volume, points[:, :, None, None], align_corners=align_corners, padding_mode="zeros"
            )
            return found[..., 0, 0].transpose(1, 2)
        sizes = volume.shape[2:]
        table = volume.permute(0, 2, 3, 4, 1).reshape(-1, volume.shape[1])
        cells = _cells(points.detach(), sizes, align_corners)
        places = points.reshape(-1, 3)
        sampled = _OfTable.apply(table, [places], cells)
        if places.requires_grad:
            sampled = _OfPoints.apply(sampled, table, places, cells)
        return sampled.view(B, points.shape[1], volume.shape[1])


def _best(on_gpu: bool) -> Form:
    """The faster form of those with second gradients and, where that is asked for, sums in a fixed order,
    as torch's `index_add_` then has on a GPU."""
    if on_gpu and _version() >= SINCE and not torch.are_deterministic_algorithms_enabled():
        return "grid_sample"
    return "gather"


class _Cells(NamedTuple):
    """Where points lie.

    Attributes:
        rows: (n, 8) int64, rows of the table; any row where a corner is outside.
        hats: (3, n, 2) for z, y, x: the hat functions of the lower and upper neighbour, 0 outside.
        slopes: (3, n, 2) their derivatives in cells, -1 and 1, 0 outside.
        scales: (3,) cells in a unit of the points' coordinates, for z, y, x.
    """

    rows: Tensor
    hats: Tensor
    slopes: Tensor
    scales: Tensor


def _cells(points: Tensor, sizes: torch.Size, align_corners: bool) -> _Cells:
    ends = torch.tensor(sizes, dtype=points.dtype, device=points.device)  # Z, Y, X
    scales = (ends - 1) / 2 if align_corners else ends / 2
    places = (points.flip(-1) + 1) * scales - (0 if align_corners else 0.5)
    # what is far outside must not overflow an integer; nothing is lost, as it reads zeros either way
    places = torch.minimum(places.clamp(min=-2), ends + 1).reshape(-1, 3).T
    low = places.floor()
    part = places - low
    index = torch.stack([low, low + 1], -1).long()  # (3, n, 2)
    last = torch.tensor(sizes, device=points.device)[:, None, None] - 1
    inside = (index >= 0) & (index <= last)
    zero = part.new_zeros(())
    hats = torch.where(inside, torch.stack([1 - part, part], -1), zero)
    slopes = torch.where(inside, part.new_tensor([-1.0, 1.0]), zero)
    z, y, x = torch.minimum(index.clamp(min=0), last)
    first = torch.arange(len(points), device=points.device).repeat_interleave(points.shape[1])[:, None]
    _, Y, X = sizes
    rows = ((first * sizes[0] + z)[:, :, None] * Y + y[:, None])[..., None] * X + x[:, None, None]
    return _Cells(rows.reshape(-1, 8), hats, slopes, scales)


def _corners(z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(n, 8): products of three factors (n, 2), in the order of `_Cells.rows`."""
    return ((z[:, :, None] * y[:, None])[..., None] * x[:, None, None]).view(-1, 8)


def _tilted(cells: _Cells, along: Tensor) -> Tensor:
    """(n, 8): the weights' derivatives along directions (n, 3) in z, y, x, given in cells."""
    z, y, x = cells.hats
    steep = cells.slopes * along.T[:, :, None]
    return _corners(steep[0], y, x) + _corners(z, steep[1], x) + _corners(z, y, steep[2])


def _slopes_of(cells: _Cells, dots: Tensor) -> Tensor:
    """(n, 3) for x, y, z: sum over corners of dots (n, 8) times the weights' derivatives."""
    z, y, x = cells.hats
    dz, dy, dx = cells.slopes
    each = (_corners(dz, y, x), _corners(z, dy, x), _corners(z, y, dx))
    found = torch.stack([(corner * dots).sum(1) for corner in each], 1) * cells.scales
    return found.flip(1)


def _bent(cells: _Cells, along: Tensor, dots: Tensor) -> Tensor:
    """(n, 3) for x, y, z: the derivative of the slopes along directions (n, 3) in z, y, x, given in cells."""
    z, y, x = cells.hats
    dz, dy, dx = cells.slopes
    zy, zx, yx = ((_corners(*factors) * dots).sum(1) for factors in ((dz, dy, x), (dz, y, dx), (z, dy, dx)))
    az, ay, ax = along.T
    found = torch.stack([ay * zy + ax * zx, az * zy + ax * yx, az * zx + ay * yx], 1) * cells.scales
    return found.flip(1)


class _OfTable(torch.autograd.Function):  # type: ignore[misc]
    """Values (n, C), for the table's gradient alone.

    `points` are no input: there must be no way through this to them, or a gradient to them alone would form
    the table's as well. What is differentiated again reaches them as an input of `_ToTable`.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, points: list[Tensor], cells: _Cells) -> Tensor:
        ctx.cells, ctx.points, ctx.rows = cells, points, len(table)
        return _sums(table, cells.rows, _corners(*cells.hats))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _ToTable.apply(gradient, ctx.points[0], ctx.cells, ctx.rows), None, None


class _OfPoints(torch.autograd.Function):  # type: ignore[misc]
    """The same values, for the points' gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, points: Tensor, cells: _Cells) -> Tensor:
        ctx.cells = cells
        ctx.save_for_backward(table, points)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        table, points = ctx.saved_tensors
        if not ctx.needs_input_grad[2]:
            return gradient, None, None, None
        return gradient, None, _ToPoints.apply(gradient, table, points, ctx.cells), None


class _ToTable(torch.autograd.Function):  # type: ignore[misc]
    """The table's gradient (N, C) of that (n, C) of the values."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, points: Tensor, cells: _Cells, rows: int) -> Tensor:
        ctx.cells = cells
        ctx.save_for_backward(gradient)
        return _spread(gradient, cells.rows, _corners(*cells.hats), rows)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,), cells = ctx.saved_tensors, ctx.cells
        of_gradient, of_points, *_ = ctx.needs_input_grad
        second = second.contiguous()
        d_gradient = _sums(second, cells.rows, _corners(*cells.hats)) if of_gradient else None
        d_points = _slopes_of(cells, _dots(gradient, second, cells.rows)) if of_points else None
        return d_gradient, d_points, None, None


class _ToPoints(torch.autograd.Function):  # type: ignore[misc]
    """The points' gradient (n, 3) of that (n, C) of the values."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, table: Tensor, points: Tensor, cells: _Cells) -> Tensor:
        ctx.cells = cells
        dots = _dots(gradient, table, cells.rows)
        ctx.save_for_backward(gradient, table, dots)
        return _slopes_of(cells, dots)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (gradient, table, dots), cells = ctx.saved_tensors, ctx.cells
        of_gradient, of_table, of_points, _ = ctx.needs_input_grad
        along = second.flip(1) * cells.scales
        weights = _tilted(cells, along)
        d_gradient = _sums(table, cells.rows, weights) if of_gradient else None
        d_table = _spread(gradient, cells.rows, weights, len(table)) if of_table else None
        d_points = _bent(cells, along, dots) if of_points else None
        return d_gradient, d_table, d_points, None


def _sums(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(n, C): weighted sums of 8 rows (n, 8) of a table (N, C)."""
    if _compiled(table):  # as fast, and without the bag's sums in another order for another number of points
        from nonet.kernels.trilinear_compiled import weighted_sums

        return weighted_sums(table, rows, weights)
    return torch.nn.functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")


def _dots(gradient: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """(n, 8): products of gradient (n, C) and rows of a table (N, C)."""
    if _compiled(table):
        from nonet.kernels.trilinear_compiled import row_products

        return row_products(gradient, table, rows)
    each = [(gradient * table.index_select(0, corner)).sum(1) for corner in rows.T]
    return torch.stack(each, 1)


def _spread(gradient: Tensor, rows: Tensor, weights: Tensor, count: int) -> Tensor:
    """(count, C): weights (n, 8) times gradient (n, C), added to rows (n, 8) of zeros."""
    if _compiled(gradient):
        from nonet.kernels.trilinear_compiled import scatter_rows

        return scatter_rows(gradient, rows, weights, count)
    found = gradient.new_zeros(count, gradient.shape[1])
    for corner, weight in zip(rows.T, weights.T, strict=True):
        found.index_add_(0, corner, gradient * weight[:, None])
    return found


def _compiled(tensor: Tensor) -> bool:
    return not tensor.is_cuda and _numba_is_installed()


@functools.cache
def _numba_is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


@functools.cache
def _version() -> tuple[int, int]:
    major, minor = torch.__version__.split("+")[0].split(".")[:2]
    return int(major), int(minor)
