"""Colour jitter, grey and blur of many small pictures at once, each as it was drawn for it.

In 0..1 and in the order that was drawn: brightness b x, contrast c x + (1 - c) mean(grey(x)), saturation
s x + (1 - s) grey(x), and a shift of the hue in HSV, each clamped to 0..1; grey is .299 R + .587 G + .114 B.
Then grey for some, then for some a Gaussian of radius ceil(3 sigma), at most 6 pixels, along one axis after
the other with reflected borders, then mean and deviation. These are the augmentations of SimCLR, MoCo v2 and
UP-DETR, from their papers and from what Pillow's operations do; only the blur differs from Pillow's, which is
three box filters. Ours.

The hue has no sectors and no division here. With t = (rgb - least) / chroma, 2 + 2 t_r - (t_r + t_g + t_b) is
how far a pixel is from cyan on the circle of six, on blue's side or green's. A shift moves it, and red is
that distance less 1, cut to 0..1. Green and blue are alike. Times chroma, nothing is left to divide by.

On a CPU pictures are worked on one by one, in cache; where numba is installed, in a few compiled passes. The
Triton form has three launches for all of them.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.kernels.dispatch import backend, compiled_form

# Shapes: n pictures of P x P pixels, g of them that are worked on together.

RADIUS = 6  # of the blur at most, pixels
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the operations of the jitter
GREY = (0.299, 0.587, 0.114)
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as in nonet.data.images
DEVIATION = (0.229, 0.224, 0.225)
STRIP = 32  # pixels that are blurred together: each depends on few others, and products want width


class Draws(NamedTuple):
    """What was drawn for each of n pictures.

    Attributes:
        order: (n, 4) int64: which operation comes first, second, third and last.
        factors: (n, 4) float32 of brightness, contrast and saturation, and the shift of the hue in turns.
        jitter: (n,) bool, whether there is any of these.
        grey: (n,) bool.
        sigma: (n,) float32 of the blur in pixels; 0: none.
    """

    order: Tensor
    factors: Tensor
    jitter: Tensor
    grey: Tensor
    sigma: Tensor


def draw_augmentations(
    random: np.random.Generator,
    count: int,
    *,
    jitter: float = 0.8,
    strength: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    grey: float = 0.2,
    blur: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
) -> Draws:
    """Draw what is done to each of some pictures; the defaults are UP-DETR's, and those of MoCo v2.

    Args:
        random: where the numbers come from.
        count: n.
        jitter: share of the pictures whose colours are changed.
        strength: brightness, contrast and saturation are uniform in 1 - strength .. 1 + strength, the hue's
            shift in -strength .. strength, at most 0.5.
        grey: share that becomes grey.
        blur: share that is blurred.
        sigma: least and greatest deviation of the blur, pixels.
    """
    order = random.permuted(np.tile(np.arange(4), (count, 1)), axis=1)
    factors = random.uniform(-1, 1, (count, 4)) * np.array(strength) + np.array([1, 1, 1, 0])
    chosen = random.random((3, count)) < np.array([[jitter], [grey], [blur]])
    deviation = random.uniform(*sigma, count) * chosen[2]
    return Draws(
        torch.from_numpy(order),
        torch.from_numpy(factors.astype(np.float32)),
        torch.from_numpy(chosen[0]),
        torch.from_numpy(chosen[1]),
        torch.from_numpy(deviation.astype(np.float32)),
    )


@torch.no_grad()  # type: ignore[untyped-decorator]
def patch_augment(
    pictures: Tensor,
    draws: Draws,
    *,
    mean: tuple[float, float, float] = MEAN,
    deviation: tuple[float, float, float] = DEVIATION,
) -> Tensor:
    """Pictures changed as it was drawn for them, and normalised.

    Args:
        pictures: (n, 3, P, P) uint8, or float in 0..255.
        draws: for each of them, on the same device. To blur takes P of 7 at least.
        mean: of red, green and blue in 0..1, to be subtracted at the end.
        deviation: to be divided by then.

    Returns:
        (n, 3, P, P) float32.

    Raises:
        ValueError: pictures are not square or too small, or draws are of another number.
    """
    n, channels, P, width = pictures.shape
    if channels != 3 or width != P or P <= RADIUS:
        raise ValueError(
            f"pictures are {tuple(pictures.shape)}; (n, 3, P, P) with P above {RADIUS} are needed"
        )
    if len(draws.order) != n:
        raise ValueError(f"draws for {len(draws.order)} pictures, and there are {n}")
    by = tuple(1 / d for d in deviation)
    less = tuple(-m / d for m, d in zip(mean, deviation, strict=True))
    if n and backend(pictures) == "triton":
        from nonet.kernels.patch_augment_triton import augment

        return augment(pictures, draws, by, less)
    if n and compiled_form(pictures):
        from nonet.kernels.patch_augment_compiled import augment as in_few_passes

        return in_few_passes(pictures, draws, by, less)
    scale, shift = _per_channel(by, pictures.device), _per_channel(less, pictures.device)
    if pictures.is_cpu:
        return _one_by_one(pictures, draws, scale, shift)
    x = pictures.to(torch.float32, copy=True, memory_format=torch.contiguous_format).mul_(1 / 255)
    _in_groups(x, draws)
    return x.mul_(scale).add_(shift)


def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values).to(device)[:, None, None]


def _one_by_one(pictures: Tensor, draws: Draws, scale: Tensor, shift: Tensor) -> Tensor:
    order, factors = draws.order.tolist(), draws.factors.tolist()
    jitter, grey = draws.jitter.tolist(), draws.grey.tolist()
    blurred = {row: place for place, row in enumerate(draws.sigma.nonzero()[:, 0].tolist())}
    bands = _bands(draws.sigma[draws.sigma > 0])
    found = torch.empty(pictures.shape)
    for i in range(len(found)):
        picture = found[i : i + 1].copy_(pictures[i : i + 1]).mul_(1 / 255)
        for operation in order[i] if jitter[i] else ():
            _jitter_(picture.flatten(2), operation, factors[i][operation])
        if grey[i]:
            picture.copy_(_grey(picture))
        if i in blurred:
            picture.copy_(_blur(picture, bands[blurred[i] : blurred[i] + 1]))
        picture.mul_(scale).add_(shift)
    return found


def _in_groups(x: Tensor, draws: Draws) -> None:
    """The same for another device without Triton: few launches rather than few bytes."""
    for turn in range(4):
        for operation in range(4):
            rows = (draws.jitter & (draws.order[:, turn] == operation)).nonzero()[:, 0]
            part = x[rows].flatten(2)
            _jitter_(part, operation, draws.factors[rows, operation][:, None, None])
            x[rows] = part.view(-1, *x.shape[1:])
    rows = draws.grey.nonzero()[:, 0]
    x[rows] = _grey(x[rows]).expand(-1, 3, -1, -1)
    rows = (draws.sigma > 0).nonzero()[:, 0]
    x[rows] = _blur(x[rows], _bands(draws.sigma[rows]))


def _grey(x: Tensor) -> Tensor:
    """(g, 1, ...)."""
    grey = torch.tensor(GREY).to(x.device) @ x.flatten(2)
    return grey.view(len(x), 1, *x.shape[2:])


def _jitter_(x: Tensor, operation: int, factor: Any) -> None:
    """Change (g, 3, pixels) in place; the factor is a number, or (g, 1, 1)."""
    if operation == HUE:
        _shift_hue_(x, factor)
        return
    if operation == BRIGHTNESS:
        x.mul_(factor)
    elif operation == CONTRAST:
        x.lerp_((x.mean(2) @ torch.tensor(GREY).to(x.device))[:, None, None], 1 - factor)
    elif operation == SATURATION:
        x.lerp_(_grey(x), 1 - factor)
    if isinstance(factor, Tensor) or factor > 1:  # else it lies between two colours
        x.clamp_(0, 1)


def _shift_hue_(x: Tensor, turns: Any) -> None:
    red, green, blue = x.split(1, dim=1)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(least)
    rest = torch.add(least, chroma, alpha=2).sub_(red).sub_(green).sub_(blue)
    side, far = torch.empty_like(x), torch.add(rest, x, alpha=2)
    torch.sub(blue, green, out=side[:, :1])
    torch.sub(red, blue, out=side[:, 1:2])
    torch.sub(green, red, out=side[:, 2:])
    far.copysign_(side).add_(torch.mul(chroma, 6 * turns, out=rest)).abs_()
    if isinstance(turns, Tensor) or abs(turns) > 1 / 6:  # no colour is halfway round else
        torch.minimum(far, torch.sub(torch.mul(chroma, 6, out=rest), far, out=side), out=far)
    torch.maximum(far, chroma, out=far)
    torch.minimum(far, torch.mul(chroma, 2, out=rest), out=far)
    torch.add(far, least.sub_(chroma), out=x)


def _bands(sigma: Tensor) -> Tensor:
    """(g, STRIP, STRIP + 2 RADIUS): what each pixel of a strip takes from it and its surroundings."""
    taps = torch.arange(-RADIUS, RADIUS + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    weights = weights * (taps.abs() <= torch.ceil(3 * sigma)[:, None])
    weights = weights / weights.sum(1, keepdim=True)
    places = torch.arange(STRIP, device=sigma.device)[:, None] + taps + RADIUS
    bands = sigma.new_zeros((len(sigma), STRIP, STRIP + 2 * RADIUS))
    return bands.scatter_(2, places.expand(len(sigma), -1, -1), weights[:, None].expand(-1, STRIP, -1))


def _blur(x: Tensor, bands: Tensor) -> Tensor:
    """(g, 3, P, P), strip by strip, as products with a small matrix for each picture."""
    (g, _, P, _), long = x.shape, STRIP + 2 * RADIUS
    strips = -(-P // STRIP)
    more = strips * STRIP - P
    wide = F.pad(F.pad(x, (RADIUS, RADIUS, 0, 0), mode="reflect"), (0, more))
    parts = wide.unfold(3, long, STRIP).reshape(g, 3 * P * strips, long)
    x = torch.bmm(parts, bands.transpose(1, 2)).view(g, 3, P, strips * STRIP)[..., :P]
    high = F.pad(F.pad(x, (0, 0, RADIUS, RADIUS), mode="reflect"), (0, 0, 0, more))
    rows = high.unfold(2, long, STRIP).transpose(3, 4)
    return torch.matmul(bands[:, None, None], rows).view(g, 3, strips * STRIP, P)[:, :, :P]
