"""Square windows of pictures: where their scores are least and most, and pasting one over another.

What TiMix (Jiang et al. 2024; released code `TPMix.py`) and SMMix (Chen et al. 2023) do with unfolded windows
in N k^2 sums is done here with a summed-area table (Crow 1984) in N; the table is float64, so that windows of
equal sums stay equal and the first of them, row by row, is taken. Pictures are pixels, or tokens of patches:
pasting whole patches before and after patchifying is the same.

Cost: the search makes one table a map, and reads it at four places for each window that may be meant; on a
GPU that takes some twenty launches a side, and as many for all where there are many. Pasting reads and writes
each output once, and its backward reads the gradient at most twice, without atomic sums: the same bits each
time. On the CPU both copy slices.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonet.kernels.dispatch import backend

# Shapes: B pictures, M mixed ones, C channels, H x W places of a picture, D numbers of a place.

FEW = 4  # sides of windows that are searched one after the other; more of them at once


class Windows(NamedTuple):
    """Which window of which picture goes over which; all int64 on one device, places as (y, x).

    Mixed picture m is picture rows[m], where the square of sides[m] places at paste_yx[m] is that of picture
    partner[m] at cut_yx[m]. Neither rows nor partner name a picture twice.
    """

    rows: Tensor
    """(M,) in 0..B-1"""
    partner: Tensor
    """(M,) in 0..B-1"""
    paste_yx: Tensor
    """(M, 2) upper left places"""
    cut_yx: Tensor
    """(M, 2) upper left places"""
    sides: Tensor
    """(M,) at most min(H, W); 0 pastes nothing"""


@torch.no_grad()  # type: ignore[untyped-decorator]
def window_search(scores_BHW: Tensor, sides: Tensor, rows: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """The window of the least sum in one picture, and that of the greatest in another.

    Args:
        scores_BHW: (B, H, W) float, finite.
        sides: (M,) int64 on the CPU, in 1..min(H, W): of both windows.
        rows: (M,) int64: in which picture the least is looked for.
        partner: (M,) int64: in which picture the greatest is looked for.

    Returns:
        Both windows' upper left places (y, x), (M, 2) int64 each. Of equal sums the first one, row by row.

    Raises:
        ValueError: a side does not fit the maps.
    """
    H, W = scores_BHW.shape[1:]
    values = sides.unique().tolist()
    if values and not 1 <= values[0] <= values[-1] <= min(H, W):
        raise ValueError(f"sides {values[0]}..{values[-1]} do not fit maps of {H} x {W}")
    table = torch.nn.functional.pad(scores_BHW.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    if len(values) > FEW:
        sides = sides.to(rows.device)
        return _least(table[rows], sides), _least(-table[partner], sides)
    places = [rows.new_zeros((len(rows), 2)) for _ in range(2)]
    for side in values:
        chosen = (sides == side).nonzero()[:, 0].to(rows.device)
        places[0][chosen] = _least_of_one_side(table[rows[chosen]], side)
        places[1][chosen] = _least_of_one_side(-table[partner[chosen]], side)
    return places[0], places[1]


def _least_of_one_side(table_MHW: Tensor, side: int) -> Tensor:
    """(M, 2) places of the least windows of `side` x `side`, by summed-area tables (M, H + 1, W + 1)."""
    rows_MHW = table_MHW[:, side:] - table_MHW[:, :-side]
    sums_MHW = rows_MHW[:, :, side:] - rows_MHW[:, :, :-side]
    best, wide = sums_MHW.flatten(1).argmin(1), sums_MHW.shape[2]
    return torch.stack([best // wide, best % wide], 1)


def _least(table_MHW: Tensor, sides: Tensor) -> Tensor:
    """The same with a side for each, (M,): all at once."""
    H, W = (size - 1 for size in table_MHW.shape[1:])
    ends_MH, ends_MW = (torch.arange(size, device=sides.device) + sides[:, None] for size in (H, W))
    rows_MHW = table_MHW.take_along_dim(ends_MH.clamp(max=H)[:, :, None], 1) - table_MHW[:, :-1]
    sums_MHW = rows_MHW.take_along_dim(ends_MW.clamp(max=W)[:, None], 2) - rows_MHW[:, :, :-1]
    beyond_MHW = (ends_MH > H)[:, :, None] | (ends_MW > W)[:, None]
    best = sums_MHW.masked_fill(beyond_MHW, math.inf).flatten(1).argmin(1)
    return torch.stack([best // W, best % W], 1)


def paste_pixels(images_BCHW: Tensor, windows: Windows) -> Tensor:
    """Pictures with windows of others in them.

    Args:
        images_BCHW: (B, C, H, W) of any dtype; a gradient passes.
        windows: in pixels.

    Returns:
        (M, C, H, W).
    """
    mixed: Tensor = _Paste.apply(images_BCHW[..., None], windows)
    return mixed[..., 0]


def paste_tokens(tokens_BND: Tensor, windows: Windows, grid: tuple[int, int]) -> Tensor:
    """The same with one token for each place, such as embeddings of patches before positions are added.

    Args:
        tokens_BND: (B, N, D) of any dtype; a gradient passes.
        windows: in patches.
        grid: height and width in patches; N is their product.

    Returns:
        (M, N, D).
    """
    pictures = tokens_BND.unflatten(1, grid)[:, None]
    mixed: Tensor = _Paste.apply(pictures, windows)
    return mixed[:, 0].flatten(1, 2)


class _Paste(torch.autograd.Function):  # type: ignore[misc]
    """Of (B, C, H, W, D)."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, windows: Windows) -> Tensor:
        ctx.windows, ctx.count = windows, len(pictures)
        if len(windows.rows) and backend(pictures) == "triton":
            from nonet.kernels.window_mix_triton import paste

            return paste(pictures, windows)
        mixed = pictures[windows.rows]
        for m, partner, side, (y, x), (v, u) in _each(windows):
            source = pictures[partner, :, v : v + side, u : u + side]
            mixed[m, :, y : y + side, x : x + side] = source
        return mixed

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        windows = ctx.windows
        if len(windows.rows) and backend(gradient) == "triton":
            from nonet.kernels.window_mix_triton import paste_backward

            return paste_backward(gradient, windows, ctx.count), None
        found = gradient.new_zeros((ctx.count, *gradient.shape[1:]))
        found[windows.rows] = gradient
        own = windows.rows.tolist()
        for m, _, side, (y, x), _ in _each(windows):
            found[own[m], :, y : y + side, x : x + side] = 0
        for m, partner, side, (y, x), (v, u) in _each(windows):
            found[partner, :, v : v + side, u : u + side] += gradient[m, :, y : y + side, x : x + side]
        return found, None


def _each(windows: Windows) -> list[tuple[int, int, int, list[int], list[int]]]:
    """Number, partner, side, place to paste and place to cut of each."""
    parts = (windows.partner, windows.sides, windows.paste_yx, windows.cut_yx)
    return list(zip(range(len(windows.rows)), *(part.tolist() for part in parts), strict=True))
