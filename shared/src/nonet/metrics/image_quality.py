"""How like a rendered picture is to a photograph: PSNR, SSIM, within a mask as well (numpy).

PSNR = 10 log10(peak^2 / mean squared error), of each picture, then the mean over pictures: one over the
errors of a whole batch, as the released code of PonderV2 logs it, is another number (never above the mean).
SSIM is that of Wang et al. 2004 with their Gaussian window, 11 x 11 of deviation 1.5, K1 = .01, K2 = .03, and
variances over n; channels are averaged, and only whole windows count.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError, needs

Floats = NDArray[np.float64]

# Shapes: H x W pixels, C channels.

RADIUS = 5  # pixels of the window on each side of its middle
DEVIATION = 1.5  # pixels
K1, K2 = 0.01, 0.03


def psnr(image: Any, truth: Any, mask: Any = None, peak: float = 1.0) -> float:
    """Peak signal to noise ratio of a picture, in decibels; infinite where it is exact.

    Args:
        image: (H, W) or (H, W, C) numbers, finite where the mask is.
        truth: the same of the photograph.
        mask: (H, W) bool, what counts; None: all.
        peak: the greatest value a pixel can have: 1, or 255.

    Returns:
        `psnr(zeros, full(.1))` is 20. NaN if the mask is empty.

    Raises:
        UserError: shapes differ, or a number that counts is not finite.
    """
    mine, true, inside = _pair(image, truth, mask)
    if not inside.any():
        return float("nan")
    error = float(np.square(mine[inside] - true[inside]).mean())
    return float(10 * np.log10(peak**2 / error)) if error else float("inf")


def ssim(image: Any, truth: Any, mask: Any = None, peak: float = 1.0) -> float:
    """Structural similarity of a picture, -1..1; 1 where it is exact.

    Args:
        image: (H, W) or (H, W, C), at least 11 x 11, finite.
        truth: the same of the photograph.
        mask: (H, W) bool: windows count whose middle is in it, though they reach beyond it; None: all.
        peak: the greatest value a pixel can have.

    Returns:
        NaN if no whole window counts.

    Raises:
        UserError: shapes differ, the picture is too small, or a number is not finite.
    """
    mine, true, inside = _pair(image, truth, mask)
    if min(inside.shape) <= 2 * RADIUS:
        raise UserError(
            f"SSIM needs pictures of {2 * RADIUS + 1} x {2 * RADIUS + 1} and more, not {inside.shape}"
        )
    if not (np.isfinite(mine).all() and np.isfinite(true).all()):
        raise UserError("SSIM needs finite numbers outside of the mask, too, since windows reach there")
    counted = inside[RADIUS:-RADIUS, RADIUS:-RADIUS]
    if not counted.any():
        return float("nan")
    first, second = (K1 * peak) ** 2, (K2 * peak) ** 2
    left, right = _blurred(mine), _blurred(true)
    both, squares = left * right, np.square(left) + np.square(right)
    spread = _blurred(np.square(mine)) + _blurred(np.square(true)) - squares
    shared = _blurred(mine * true) - both
    values = (2 * both + first) * (2 * shared + second) / ((squares + first) * (spread + second))
    return float(values[counted].mean())


def mean_psnr(
    images: Iterable[Any], truths: Iterable[Any], masks: Sequence[Any] | None = None, peak: float = 1.0
) -> float:
    """The mean of `psnr` over pictures whose mask is not empty; NaN if there are none."""
    listed = list(zip(images, truths, strict=True))
    chosen = [None] * len(listed) if masks is None else list(masks)
    each = [psnr(*pair, mask, peak) for pair, mask in zip(listed, chosen, strict=True)]
    there = [value for value in each if not np.isnan(value)]
    return float(np.mean(there)) if there else float("nan")


def perceptual_distance(image: Any, truth: Any, network: Literal["alex", "squeeze", "vgg"] = "alex") -> float:
    """LPIPS of a picture by torchmetrics (Zhang et al. 2018); 0 is best. No weights come with this package.

    Args:
        image: (H, W, 3) in 0..1.
        truth: the same of the photograph.
        network: which one; torchvision fetches its ImageNet weights, or has them in torch's hub folder.

    Raises:
        UserError: torchmetrics or torchvision is missing, the network's weights cannot be fetched, or shapes
            differ.
    """
    mine, true, _ = _pair(image, truth, None)
    if mine.ndim != 3 or mine.shape[2] != 3:
        raise UserError(f"LPIPS needs pictures (H, W, 3), not {mine.shape}")
    torch = needs("torch", to="compute LPIPS", install="torch")
    needs("torchvision", to="compute LPIPS", install="torchvision")
    metrics = needs("torchmetrics.image.lpip", to="compute LPIPS", install="nonet[lpips]")
    try:
        measure = metrics.LearnedPerceptualImagePatchSimilarity(net_type=network, normalize=True)
    except OSError as error:  # urllib's errors are of this kind
        raise UserError(
            f"LPIPS needs the weights of {network}, which cannot be fetched ({error}); put them into the "
            f"folder {torch.hub.get_dir()}/checkpoints, or leave LPIPS out"
        ) from None
    pictures = (torch.as_tensor(part, dtype=torch.float32).permute(2, 0, 1)[None] for part in (mine, true))
    with torch.no_grad():
        return float(measure(*pictures))


def _pair(image: Any, truth: Any, mask: Any) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    mine, true = (_array(values) for values in (image, truth))
    if mine.shape != true.shape or mine.ndim not in (2, 3):
        raise UserError(
            f"pictures must have one shape, (H, W) or (H, W, C), not {mine.shape} and {true.shape}"
        )
    inside = np.ones(mine.shape[:2], np.bool_) if mask is None else np.asarray(_plain(mask), np.bool_)
    if inside.shape != mine.shape[:2]:
        raise UserError(f"the mask has shape {inside.shape}, the pictures {mine.shape}")
    if not (np.isfinite(mine[inside]).all() and np.isfinite(true[inside]).all()):
        raise UserError("a picture has a number that is not finite; mask it out")
    return mine, true, inside


def _array(values: Any) -> Floats:
    return np.asarray(_plain(values), np.float64)


def _plain(values: Any) -> Any:
    return values.detach().cpu() if hasattr(values, "detach") else values


def _blurred(image: Floats) -> Floats:
    """Weighted means over all whole windows, (H - 10, W - 10[, C])."""
    steps = np.arange(-RADIUS, RADIUS + 1)
    weights = np.exp(-(steps**2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    high, wide = image.shape[0] - 2 * RADIUS, image.shape[1] - 2 * RADIUS
    rows = sum(weight * image[i : i + high] for i, weight in enumerate(weights))
    return np.asarray(sum(weight * rows[:, i : i + wide] for i, weight in enumerate(weights)))
