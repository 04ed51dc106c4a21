"""Colour jitter, grey and blur of many small pictures at once (formulas of Pillow and torchvision, restated).

In 0..1 and in the order that was drawn for each picture: brightness b x, contrast c x + (1 - c)
mean(grey(x)), saturation s x + (1 - s) grey(x), and a shift of the hue in HSV, each clamped to 0..1; grey is
.299 R + .587 G + .114 B. Then grey for some, then for some a separable Gaussian of radius ceil(3 sigma), at
most 6 pixels, with reflected borders, then ImageNet's mean and deviation.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.data.images import normalise

# Shapes: n pictures of P x P pixels.

RADIUS = 6  # of the blur at most, pixels
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the operations of the jitter


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
    """Draw what is done to each of some pictures; the defaults are those of UP-DETR and MoCo v2.

    Args:
        random: where the numbers come from.
        count: n.
        jitter: share of the pictures whose colours are changed.
        strength: factors are uniform in 1 - strength to 1 + strength, the hue's shift in +- strength.
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
def patch_augment(pictures: Tensor, draws: Draws) -> Tensor:
    """Pictures changed as they were drawn, and normalised.

    Args:
        pictures: (n, 3, P, P) float in 0..255, P of 7 pixels at least.
        draws: for each.

    Returns:
        (n, 3, P, P) float32 with ImageNet's mean and deviation.
    """
    x = pictures.float() / 255
    for turn in range(4):
        for operation in range(4):
            rows = (draws.jitter & (draws.order[:, turn] == operation)).nonzero()[:, 0]
            x[rows] = _jitter(x[rows], operation, draws.factors[rows, operation]).clamp(0, 1)
    x = torch.where(draws.grey[:, None, None, None], _grey(x), x)
    rows = (draws.sigma > 0).nonzero()[:, 0]
    x[rows] = _blur(x[rows], draws.sigma[rows])
    return normalise(x)


def _grey(x: Tensor) -> Tensor:
    """(n, 1, P, P)."""
    return (x * torch.tensor([0.299, 0.587, 0.114], device=x.device)[:, None, None]).sum(1, keepdim=True)


def _jitter(x: Tensor, operation: int, factor: Tensor) -> Tensor:
    factor = factor[:, None, None, None]
    if operation == BRIGHTNESS:
        return factor * x
    if operation == CONTRAST:
        return factor * x + (1 - factor) * _grey(x).mean((2, 3), keepdim=True)
    if operation == SATURATION:
        return factor * x + (1 - factor) * _grey(x)
    return _shift_hue(x, factor[:, 0])


def _shift_hue(x: Tensor, turns: Tensor) -> Tensor:
    value, least = x.amax(1), x.amin(1)
    chroma = value - least
    r, g, b = (x - least[:, None]).unbind(1)
    safe = torch.where(chroma > 0, chroma, 1)
    sector = torch.where(
        value == x[:, 0],
        (g - b) / safe,
        torch.where(value == x[:, 1], 2 + (b - r) / safe, 4 + (r - g) / safe),
    )
    hue = sector + 6 * turns
    parts = [((hue + shift) % 6) for shift in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in parts], 1)


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    count, channels = x.shape[:2]
    if not count:
        return x
    taps = torch.arange(-RADIUS, RADIUS + 1, device=x.device)
    weights = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    weights = weights * (taps.abs() <= torch.ceil(3 * sigma)[:, None])
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(x, (RADIUS,) * 4, mode="reflect").flatten(0, 1)[None]
    flat = F.conv2d(flat, weights[:, None, :, None], groups=len(weights))
    flat = F.conv2d(flat, weights[:, None, None, :], groups=len(weights))
    return flat[0].unflatten(0, (count, channels))
