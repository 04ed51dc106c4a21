"""The compiled form of `nonet.kernels.normalise_padded` for the CPU: row after row, each number once. Ours.

The product is rounded before the difference, as torch does it: both forms give the same bits.
"""

from collections.abc import Sequence

import numba
import numpy as np
from torch import Tensor

from nonet.kernels.side_by_side import side_by_side

# Shapes: B images, h x w pixels of one of them, H x W pixels of the highest and the widest.

ROWS = 64  # of a job
WORTHWHILE = 1 << 17  # values from which threads are worth their start


def normalise_into(found: Tensor, images: Sequence[Tensor], scale: Tensor, less: Tensor) -> None:
    """Write images (3, h, w) uint8 times scale (3,) minus less (3,), and zeros, to found (B, 3, H, W)."""
    out, by, minus = found.numpy(), scale.numpy(), less.numpy()
    given = [image.permute(1, 2, 0).contiguous().flatten(1).numpy() for image in images]
    parts = -(-found.shape[2] // ROWS)

    def rows(job: int) -> None:
        image, part = divmod(job, parts)
        _normalise_rows(given[image], out[image], by, minus, part * ROWS)

    side_by_side(rows, len(given) * parts, worthwhile=found.numel() >= WORTHWHILE)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _normalise_rows(given, out, scale, less, begin):
    h, w = len(given), given.shape[1] // 3
    for y in range(begin, min(out.shape[1], begin + ROWS)):
        if y < h:
            _normalise_row(given[y], out[0, y, :w], out[1, y, :w], out[2, y, :w], scale, less)
            out[:, y, w:] = 0
        else:
            out[:, y] = 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _normalise_row(given, r, g, b, scale, less):
    by_r, by_g, by_b = scale[0], scale[1], scale[2]
    less_r, less_g, less_b = less[0], less[1], less[2]
    for x in range(len(r)):
        r[x] = np.float32(given[3 * x]) * by_r - less_r
        g[x] = np.float32(given[3 * x + 1]) * by_g - less_g
        b[x] = np.float32(given[3 * x + 2]) * by_b - less_b
