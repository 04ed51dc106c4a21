"""The compiled form of `nonet.kernels.patch_augment` for the CPU: a few passes, and few bytes between them.

A picture is gone through in stretches that stay in the fastest cache, with all that is done to a pixel alone,
from bytes to normalised floats. Only two things need more than a pixel: contrast, whose mean of grey splits
the operations into those before it and those after, and the blur, which goes over a plane along the rows,
then along the columns. Loops have no branches, so that they become vector instructions, and everything is
float32. A picture belongs to one thread: results are the same bits for any number of threads. Ours.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.kernels.patch_augment import CONTRAST, GREY, HUE, RADIUS, SATURATION, Draws
from nonet.kernels.side_by_side import side_by_side

# Shapes: n pictures of P x P pixels.

RED, GREEN, BLUE = (np.float32(weight) for weight in GREY)
NONE, ONE, TWO, SIX = np.float32(0), np.float32(1), np.float32(2), np.float32(6)
BYTE = np.float32(1 / 255)
STRETCH = 1024  # pixels of three planes, 12 KiB: a fastest cache has 32 or more
WORTHWHILE = 1 << 17  # values from which threads are worth their start

compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


def augment(pictures: Tensor, draws: Draws, by: tuple[float, ...], less: tuple[float, ...]) -> Tensor:
    """Pictures (n, 3, P, P) changed as it was drawn, then times `by` plus `less`: (n, 3, P, P) float32."""
    n, _, P, _ = pictures.shape
    found = torch.empty(pictures.shape)
    rows = pictures.detach().permute(0, 2, 3, 1).contiguous().view(n, 3 * P * P)
    none = rows.new_empty(n, 0)  # `_picture` takes both kinds, and so is compiled once
    kinds = (rows, none.float()) if rows.dtype == torch.uint8 else (none.byte(), rows.float())
    given, floats = (kind.numpy() for kind in kinds)
    out = found.view(n, 3, P * P).numpy()
    order, factors, jitter, grey, sigma = (part.contiguous().numpy() for part in draws)
    weights = _weights(sigma)
    scale, shift = np.array(by, np.float32), np.array(less, np.float32)

    def picture(i: int) -> None:
        _picture(
            given[i], floats[i], out[i], order[i], factors[i], jitter[i], grey[i], weights[i], scale, shift, P
        )

    side_by_side(picture, n, worthwhile=found.numel() >= WORTHWHILE)
    return found


def _weights(sigma: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, RADIUS + 1): of the middle and of pixels beside it; (1, 0, ...) without a blur."""
    taps, sigma = np.arange(RADIUS + 1), sigma[:, None]
    found = np.exp(-0.5 * (taps / np.where(sigma > 0, sigma, 1).astype(np.float64)) ** 2)
    found *= taps <= np.ceil(np.float32(3) * np.maximum(sigma, 0))  # in float32, as in torch
    found /= 2 * found.sum(1, keepdims=True) - found[:, :1]
    return found.astype(np.float32)


@compiled
def _picture(given, floats, out, order, factors, jitter, grey, weights, scale, shift, P):
    pixels, turns = out.shape[1], 4 if jitter else 0
    until = turns  # of contrast, which needs the mean of what comes before it
    for turn in range(turns):
        if order[turn] == CONTRAST:
            until = turn
    sums, mean, blurred = np.zeros(STRETCH, np.float32), np.float32(0), weights[1] > 0
    for last in range(2):
        for begin in range(0, pixels, STRETCH):
            end = min(pixels, begin + STRETCH)
            r, g, b = out[0, begin:end], out[1, begin:end], out[2, begin:end]
            if last == 0 and len(given):
                _read(given[3 * begin : 3 * end], r, g, b)
            elif last == 0:
                _read(floats[3 * begin : 3 * end], r, g, b)
            for turn in range(until if last else 0, turns if last else until):
                _change(r, g, b, order[turn], factors[order[turn]], mean)
            if last == 0 and jitter:
                _add_grey(r, g, b, sums)
            if last == 1 and grey:
                _turn_grey(r, g, b)
            if last == 1 and not blurred:
                _normalise(r, g, b, scale, shift)
        total = 0.0
        for value in sums:
            total += float(value)
        mean = np.float32(total / pixels)
    if blurred:
        room = (P + 2 * RADIUS) ** 2
        wide, work = np.empty(room, np.float32), np.zeros(room, np.float32)
        for channel in range(3):
            _blur(out[channel], wide, work, weights, P)
        _normalise(out[0], out[1], out[2], scale, shift)


@compiled
def _read(given, r, g, b):
    for i in range(len(r)):
        r[i] = np.float32(given[3 * i]) * BYTE
        g[i] = np.float32(given[3 * i + 1]) * BYTE
        b[i] = np.float32(given[3 * i + 2]) * BYTE


@compiled
def _change(r, g, b, operation, factor, mean):
    """An operation of the jitter; `mean` is that of grey, for contrast; brightness goes towards black."""
    if operation == HUE:
        _shift_hue(r, g, b, SIX * factor)
    elif operation == SATURATION:
        _saturate(r, g, b, factor)
    else:
        _towards(r, g, b, (ONE - factor) * mean if operation == CONTRAST else NONE, factor)


@compiled
def _towards(r, g, b, rest, factor):
    for i in range(len(r)):
        red, green, blue = factor * r[i] + rest, factor * g[i] + rest, factor * b[i] + rest
        red = red if red > NONE else NONE
        green = green if green > NONE else NONE
        blue = blue if blue > NONE else NONE
        r[i] = red if red < ONE else ONE
        g[i] = green if green < ONE else ONE
        b[i] = blue if blue < ONE else ONE


@compiled
def _saturate(r, g, b, factor):
    rest = ONE - factor
    for i in range(len(r)):
        grey = rest * (RED * r[i] + GREEN * g[i] + BLUE * b[i])
        red, green, blue = factor * r[i] + grey, factor * g[i] + grey, factor * b[i] + grey
        red = red if red > NONE else NONE
        green = green if green > NONE else NONE
        blue = blue if blue > NONE else NONE
        r[i] = red if red < ONE else ONE
        g[i] = green if green < ONE else ONE
        b[i] = blue if blue < ONE else ONE


@compiled
def _shift_hue(r, g, b, sixths):
    """The formula is explained in `patch_augment`."""
    for i in range(len(r)):
        red, green, blue = r[i], g[i], b[i]
        least, most = (red, green) if red < green else (green, red)
        least = least if least < blue else blue
        most = most if most > blue else blue
        chroma = most - least
        rest = least + TWO * chroma - red - green - blue
        far_r, far_g, far_b = rest + TWO * red, rest + TWO * green, rest + TWO * blue
        turn, round_, double = sixths * chroma, SIX * chroma, TWO * chroma
        base = least - chroma
        far_r = abs((far_r if blue >= green else -far_r) + turn)
        far_g = abs((far_g if red >= blue else -far_g) + turn)
        far_b = abs((far_b if green >= red else -far_b) + turn)
        other_r, other_g, other_b = round_ - far_r, round_ - far_g, round_ - far_b
        far_r = far_r if far_r < other_r else other_r
        far_g = far_g if far_g < other_g else other_g
        far_b = far_b if far_b < other_b else other_b
        far_r = far_r if far_r > chroma else chroma
        far_g = far_g if far_g > chroma else chroma
        far_b = far_b if far_b > chroma else chroma
        r[i] = base + (far_r if far_r < double else double)
        g[i] = base + (far_g if far_g < double else double)
        b[i] = base + (far_b if far_b < double else double)


@compiled
def _add_grey(r, g, b, sums):
    for i in range(len(r)):
        sums[i] += RED * r[i] + GREEN * g[i] + BLUE * b[i]


@compiled
def _turn_grey(r, g, b):
    for i in range(len(r)):
        grey = RED * r[i] + GREEN * g[i] + BLUE * b[i]
        r[i] = grey
        g[i] = grey
        b[i] = grey


@compiled
def _normalise(r, g, b, scale, shift):
    by_r, by_g, by_b = scale[0], scale[1], scale[2]
    more_r, more_g, more_b = shift[0], shift[1], shift[2]
    for i in range(len(r)):
        r[i] = r[i] * by_r + more_r
        g[i] = g[i] * by_g + more_g
        b[i] = b[i] * by_b + more_b


@compiled
def _blur(x, wide, work, weights, P):
    """Blur a plane (P x P,); `wide` and `work` have room for it with RADIUS pixels more at each side.

    Rows are that wide in both, so that each pass is one loop: at their ends are sums that nobody reads.
    """
    W = P + 2 * RADIUS
    for y in range(P):
        row = wide[(y + RADIUS) * W : (y + RADIUS + 1) * W]
        _copy(x[y * P : (y + 1) * P], row[RADIUS:])
        for tap in range(1, RADIUS + 1):
            row[RADIUS - tap] = row[RADIUS + tap]
            row[RADIUS + P - 1 + tap] = row[RADIUS + P - 1 - tap]
    first, last = RADIUS * W, (RADIUS + P - 1) * W
    for tap in range(W, (RADIUS + 1) * W, W):
        _copy(wide[first + tap : first + tap + W], wide[first - tap :])
        _copy(wide[last - tap : last - tap + W], wide[last + tap :])
    _sum_taps(wide, work[: W * W - 2 * RADIUS], weights, 1)
    _sum_taps(work, wide[: P * W], weights, W)
    for y in range(P):
        _copy(wide[y * W : y * W + P], x[y * P :])


@compiled
def _copy(x, out):
    for i in range(len(x)):
        out[i] = x[i]


@compiled
def _sum_taps(x, out, weights, step):
    """Sums of 13 values that are `step` apart.

    In two loops, as LLVM does not check for more than eight places whether they are the result's own; with a
    view for each place, as an index that may be negative keeps a loop from becoming vectors.
    """
    _sum_inner(
        x[3 * step :], x[4 * step :], x[5 * step :], x[6 * step :], x[7 * step :], x[8 * step :],
        x[9 * step :], weights, out,
    )  # fmt: skip
    if weights[4] > 0:
        _add_outer(
            x, x[step:], x[2 * step :], x[10 * step :], x[11 * step :], x[12 * step :], weights, out
        )  # fmt: skip


@compiled
def _sum_inner(a, b, c, d, e, f, g, weights, out):
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for i in range(len(out)):
        out[i] = w0 * d[i] + w1 * (c[i] + e[i]) + w2 * (b[i] + f[i]) + w3 * (a[i] + g[i])


@compiled
def _add_outer(a, b, c, d, e, f, weights, out):
    w4, w5, w6 = weights[4], weights[5], weights[6]
    for i in range(len(out)):
        out[i] += w4 * (c[i] + d[i]) + w5 * (b[i] + e[i]) + w6 * (a[i] + f[i])
