"""The Triton form of `nonet.kernels.patch_augment`: three launches for all pictures.

The first changes colours, a program a picture: it goes over it once for the mean grey that contrast meets,
and once to write. What is not blurred is finished then. The other two blur along one axis each, and leave at
once where there is nothing to blur: the device decides, and nothing waits for it.
"""

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton

if TYPE_CHECKING:
    from nonet.kernels.patch_augment import Draws

RADIUS = 6  # of the blur at most, pixels, as in patch_augment
BLOCK = 1024  # pixels that a program does at a time


def augment(pictures: Tensor, draws: "Draws", scale: tuple[float, ...], shift: tuple[float, ...]) -> Tensor:
    """Pictures changed as it was drawn for them, times `scale`, plus `shift`; (n, 3, P, P) float32.

    Args:
        pictures: (n, 3, P, P) uint8, or float in 0..255.
        draws: for each of them.
        scale: of each colour in 0..1.
        shift: of each colour.
    """
    n, _, P, _ = pictures.shape
    found = torch.empty(pictures.shape, dtype=torch.float32, device=pictures.device)
    work, lines = torch.empty_like(found), torch.empty_like(found)  # only the blurred touch these
    order, factors, jitter, grey, sigma = (part.contiguous() for part in draws)
    colours, blur = _kernels()
    with torch.cuda.device_of(found):  # Triton launches on the current device
        colours[(n,)](
            pictures.contiguous(), order, factors, jitter.to(torch.int8), grey.to(torch.int8), sigma, work,
            found, P * P, *scale, *shift, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
        for source, target, last in ((work, lines, False), (lines, found, True)):
            blur[(n, 3, -(-P * P // BLOCK))](
                source, sigma, target, P, *scale, *shift, LAST=last, RADIUS=RADIUS, BLOCK=BLOCK, num_warps=4
            )  # fmt: skip
    return found


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def colours(  # type: ignore[no-untyped-def]
        pictures, order, factors, jitter, grey, sigma, work, found, pixels,
        scale_r, scale_g, scale_b, shift_r, shift_g, shift_b, BLOCK: tl.constexpr,
    ):  # fmt: skip
        n = tl.program_id(0).to(tl.int64)
        source, out = pictures + n * 3 * pixels, n * 3 * pixels
        changed, blurred = tl.load(jitter + n) != 0, tl.load(sigma + n) > 0
        total = tl.zeros((BLOCK,), tl.float32)
        for writes in range(2):
            if changed | (writes == 1):
                mean = tl.sum(total, 0) / pixels
                for start in range(0, pixels, BLOCK):
                    at = start + tl.arange(0, BLOCK)
                    inside = at < pixels
                    r = tl.load(source + at, mask=inside, other=0).to(tl.float32) / 255
                    g = tl.load(source + pixels + at, mask=inside, other=0).to(tl.float32) / 255
                    b = tl.load(source + 2 * pixels + at, mask=inside, other=0).to(tl.float32) / 255
                    going = changed
                    for turn in range(4):
                        operation = tl.load(order + n * 4 + turn)
                        factor = tl.load(factors + n * 4 + operation)
                        going = going & ((writes == 1) | (operation != 1))  # until contrast, at first
                        if going:
                            if operation == 3:
                                least = tl.minimum(tl.minimum(r, g), b)
                                chroma = tl.maximum(tl.maximum(r, g), b) - least
                                rest, moved = least + 2 * chroma - r - g - b, 6 * factor * chroma
                                far_r, far_g, far_b = rest + 2 * r, rest + 2 * g, rest + 2 * b
                                far_r = tl.abs(tl.where(b < g, -far_r, far_r) + moved)
                                far_g = tl.abs(tl.where(r < b, -far_g, far_g) + moved)
                                far_b = tl.abs(tl.where(g < r, -far_b, far_b) + moved)
                                far_r = tl.minimum(far_r, 6 * chroma - far_r)
                                far_g = tl.minimum(far_g, 6 * chroma - far_g)
                                far_b = tl.minimum(far_b, 6 * chroma - far_b)
                                least -= chroma
                                r = tl.minimum(tl.maximum(far_r, chroma), 2 * chroma) + least
                                g = tl.minimum(tl.maximum(far_g, chroma), 2 * chroma) + least
                                b = tl.minimum(tl.maximum(far_b, chroma), 2 * chroma) + least
                            else:  # mix with black, with the mean grey, or with the pixel's own
                                own = 0.299 * r + 0.587 * g + 0.114 * b
                                other = tl.where(operation == 2, own, tl.where(operation == 1, mean, 0.0))
                                other = (1 - factor) * other
                                r = tl.minimum(tl.maximum(factor * r + other, 0.0), 1.0)
                                g = tl.minimum(tl.maximum(factor * g + other, 0.0), 1.0)
                                b = tl.minimum(tl.maximum(factor * b + other, 0.0), 1.0)
                    if writes == 0:
                        total += 0.299 * r + 0.587 * g + 0.114 * b  # beyond the picture it is 0
                    else:
                        if tl.load(grey + n) != 0:
                            r = 0.299 * r + 0.587 * g + 0.114 * b
                            g = r
                            b = r
                        if blurred:
                            tl.store(work + out + at, r, mask=inside)
                            tl.store(work + out + pixels + at, g, mask=inside)
                            tl.store(work + out + 2 * pixels + at, b, mask=inside)
                        else:
                            tl.store(found + out + at, r * scale_r + shift_r, mask=inside)
                            tl.store(found + out + pixels + at, g * scale_g + shift_g, mask=inside)
                            tl.store(found + out + 2 * pixels + at, b * scale_b + shift_b, mask=inside)

    @triton.jit  # type: ignore[untyped-decorator]
    def blur(  # type: ignore[no-untyped-def]
        source, sigma, found, P, scale_r, scale_g, scale_b, shift_r, shift_g, shift_b,
        LAST: tl.constexpr, RADIUS: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        n, channel = tl.program_id(0).to(tl.int64), tl.program_id(1)
        deviation = tl.load(sigma + n)
        if deviation > 0:  # along x first, and LAST along y
            at = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
            y, x = at // P, at % P
            plane = (n * 3 + channel) * P * P
            radius = tl.ceil(3 * deviation)
            total = tl.zeros((BLOCK,), tl.float32)
            weights = 0.0 * deviation
            for tap in range(-RADIUS, RADIUS + 1):
                away = tap + 0.0 * deviation
                weight = tl.exp(-0.5 * (away / deviation) * (away / deviation))
                weight = tl.where(tl.abs(away) <= radius, weight, 0.0)
                moved = tl.abs((y if LAST else x) + tap)
                moved = tl.minimum(moved, 2 * (P - 1) - moved)
                place = moved * P + x if LAST else y * P + moved
                total += weight * tl.load(source + plane + place, mask=at < P * P, other=0.0)
                weights += weight
            total = total / weights
            if LAST:
                scale = tl.where(channel == 0, scale_r, tl.where(channel == 1, scale_g, scale_b))
                shift = tl.where(channel == 0, shift_r, tl.where(channel == 1, shift_g, shift_b))
                total = total * scale + shift
            tl.store(found + plane + at, total, mask=at < P * P)

    return colours, blur
