"""The compiled form of `nonet.kernels.trilinear` for the CPU: passes over 8 rows of a table a point.

Sums and products go over blocks of points. The scatter goes over all points for a block of columns, which
belongs to one thread: no atomic sums, and each number is added up in the order of the points, so that results
are the same bits for any number of threads. Corners without weight are not read.
"""

from collections.abc import Callable
from typing import Any

import numba
import torch
from torch import Tensor

from nonet.kernels.side_by_side import side_by_side

# Shapes: N rows of the table, n points, C columns.

POINTS = 512  # of a block
COLUMNS = 16  # at least, of a block: a cache line of float32
WORTHWHILE = 1 << 17  # multiplications from which threads are worth their start


def weighted_sums(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(n, C): sums of 8 rows (n, 8) of a table (N, C), times weights (n, 8)."""
    found = table.new_empty(len(rows), table.shape[1])
    _over_points(_sum, found, (table, rows, weights), 8 * found.numel())
    return found


def row_products(gradient: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """(n, 8): the products of gradient (n, C) with 8 rows (n, 8) of a table (N, C)."""
    found = gradient.new_empty(len(gradient), 8)
    _over_points(_multiply, found, (gradient, table, rows), 8 * gradient.numel())
    return found


def scatter_rows(gradient: Tensor, rows: Tensor, weights: Tensor, count: int) -> Tensor:
    """(count, C): weights (n, 8) times gradient (n, C), added to rows (n, 8) of zeros."""
    found = gradient.new_zeros(count, gradient.shape[1])
    out, given = found.numpy(), [part.contiguous().numpy() for part in (gradient, rows, weights)]
    C = gradient.shape[1]
    wide = max(COLUMNS, -(-C // torch.get_num_threads()))

    def columns(job: int) -> None:
        _scatter(out, *given, job * wide, min(C, (job + 1) * wide))

    side_by_side(columns, -(-C // wide), worthwhile=8 * gradient.numel() >= WORTHWHILE)
    return found


def _over_points(run: Callable[..., None], found: Tensor, given: tuple[Tensor, ...], work: int) -> None:
    out, parts = found.numpy(), [part.contiguous().numpy() for part in given]
    n = len(out)

    def points(job: int) -> None:
        run(out, *parts, job * POINTS, min(n, (job + 1) * POINTS))

    side_by_side(points, -(-n // POINTS), worthwhile=work >= WORTHWHILE)


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _sum(out: Any, table: Any, rows: Any, weights: Any, begin: int, end: int) -> None:
    for p in range(begin, end):
        for c in range(out.shape[1]):
            out[p, c] = 0
        for k in range(8):
            weight = weights[p, k]
            if weight != 0:
                row = rows[p, k]
                for c in range(out.shape[1]):
                    out[p, c] += weight * table[row, c]


@numba.njit(  # type: ignore[untyped-decorator]
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)
def _multiply(out: Any, gradient: Any, table: Any, rows: Any, begin: int, end: int) -> None:
    for p in range(begin, end):
        for k in range(8):
            row = rows[p, k]
            total = out.dtype.type(0)
            for c in range(gradient.shape[1]):
                total += gradient[p, c] * table[row, c]
            out[p, k] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _scatter(out: Any, gradient: Any, rows: Any, weights: Any, first: int, last: int) -> None:
    for p in range(len(rows)):
        for k in range(8):
            weight = weights[p, k]
            if weight != 0:
                row = rows[p, k]
                for c in range(first, last):
                    out[row, c] += weight * gradient[p, c]
