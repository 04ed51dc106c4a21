"""How images are made ready for an image-text model: crops, flips and random operations in training.

A random crop of 0.2 to 1 of the area, a flip, two of ten operations of RandAugment (Cubuk et al. 2020) at
magnitude 7 of 10, each applied with probability 1/2: the pipeline released with ALBEF (Li et al. 2021) and
kept by mPLUG and TiMix. Ours draws from one generator that is handed over, and leaves out the flip where a
caption tells left from right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nonet.data.images import to_uint8
from nonet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of R, G and B in 0..1, of CLIP's training images
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
FILL = (128, 128, 128)  # where a moved image leaves nothing
RATIOS = (3 / 4, 4 / 3)  # width to height of a crop
SHEAR, SHIFT, TURN = 0.3, 10.0, 30.0  # at full magnitude: slope, pixels, degrees

_TRIES = 10  # crops drawn before the centre is taken


@dataclass(frozen=True, kw_only=True)
class TrainImages:
    """Random crop, flip and operations.

    Attributes:
        height: of the result, pixels.
        width: of the result, pixels.
        scale: least and greatest share of the area that is kept.
        flip: probability of the mirror image.
        operations: how many are drawn, with repetition; each is applied with probability 1/2.
        magnitude: 0..10.
        colour_only: leave out operations that move pixels, as where boxes have to stay true.
        mean: of red, green and blue in 0..1, taken off.
        deviation: that they are divided by.
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.2, 1.0)
    flip: float = 0.5
    operations: int = 2
    magnitude: float = 7
    colour_only: bool = False
    mean: Sequence[float] = CLIP_MEAN
    deviation: Sequence[float] = CLIP_STD

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"scale is {self.scale}; two shares of the area, 0 < least <= greatest <= 1")
        if not 0 <= self.flip <= 1:
            raise UserError(f"flip is {self.flip}; a probability")
        if self.operations < 0 or not 0 <= self.magnitude <= 10:
            raise UserError(
                f"{self.operations} operations of magnitude {self.magnitude}; 0 or more, of 0..10"
            )

    def __call__(self, image: "Image", random: np.random.Generator, *, may_flip: bool = True) -> "Tensor":
        """(3, height, width) float32, normalised, of an RGB image."""
        box = crop_box(image.width, image.height, self.scale, random)
        image = _resized(image.crop(box), self.height, self.width)
        if random.random() < self.flip and may_flip:
            image = mirrored(image)
        image = rand_augment(image, random, self.operations, self.magnitude, colour_only=self.colour_only)
        return as_input(image, self.mean, self.deviation)


@dataclass(frozen=True, kw_only=True)
class PlainImages:
    """Resized without keeping the aspect, as for evaluation; attributes as of `TrainImages`."""

    height: int
    width: int
    mean: Sequence[float] = CLIP_MEAN
    deviation: Sequence[float] = CLIP_STD

    def __call__(
        self, image: "Image", random: np.random.Generator | None = None, *, may_flip: bool = True
    ) -> "Tensor":
        """(3, height, width) float32, normalised, of an RGB image; nothing is random."""
        return as_input(_resized(image, self.height, self.width), self.mean, self.deviation)


def crop_box(
    width: int, height: int, scale: tuple[float, float], random: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random crop: area uniform in `scale`, logarithm of the aspect uniform in 3/4..4/3.

    Args:
        width: of the image, pixels.
        height: of the image, pixels.
        scale: least and greatest share of the area.
        random: draws up to ten times; after that it is the largest central crop of an allowed aspect.

    Returns:
        (left, top, right, bottom), right and bottom exclusive.

    Source: Szegedy et al. 2015, as in torchvision's RandomResizedCrop.
    """
    for _ in range(_TRIES):
        area = width * height * random.uniform(*scale)
        aspect = np.exp(random.uniform(*np.log(RATIOS)))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * RATIOS[1])))
    h = min(height, max(1, round(width / RATIOS[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def rand_augment(
    image: "Image",
    random: np.random.Generator,
    operations: int = 2,
    magnitude: float = 7,
    *,
    colour_only: bool = False,
) -> "Image":
    """An RGB image after some random operations, each drawn with repetition and applied with probability 1/2.

    Args:
        image: RGB.
        random: what is drawn.
        operations: how many are drawn.
        magnitude: 0..10.
        colour_only: leave out shears, shifts and turns.
    """
    names = list(COLOUR_OPERATIONS if colour_only else OPERATIONS)
    for number in random.integers(len(names), size=operations):
        applied = random.random() < 0.5
        side = 1.0 if random.random() < 0.5 else -1.0
        if applied:
            image = OPERATIONS[names[number]](image, side * magnitude / 10)
    return image


def mirrored(image: "Image") -> "Image":
    """An image with left and right exchanged."""
    from PIL.Image import Transpose

    return image.transpose(Transpose.FLIP_LEFT_RIGHT)


def as_input(image: "Image", mean: Sequence[float], deviation: Sequence[float]) -> "Tensor":
    """(3, height, width) float32 of an RGB image: (value / 255 - mean) / deviation."""
    import torch

    shift, scale = (torch.tensor(tuple(numbers))[:, None, None] for numbers in (mean, deviation))
    return to_uint8(image).contiguous().float().div_(255).sub_(shift).div_(scale)


def as_picture(
    images: "Tensor", mean: Sequence[float] = CLIP_MEAN, deviation: Sequence[float] = CLIP_STD
) -> "Tensor":
    """(..., 3, H, W) uint8 pixels of normalised images, for drawing."""
    import torch

    shift = torch.tensor(tuple(mean), device=images.device)[:, None, None]
    scale = torch.tensor(tuple(deviation), device=images.device)[:, None, None]
    return ((images.float() * scale + shift) * 255).round().clamp(0, 255).to(torch.uint8)


def _resized(image: "Image", height: int, width: int) -> "Image":
    from PIL.Image import Resampling

    return image.resize((width, height), Resampling.BICUBIC)


def _identity(image: "Image", level: float) -> "Image":
    return image


def _auto_contrast(image: "Image", level: float) -> "Image":
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalize(image: "Image", level: float) -> "Image":
    from PIL import ImageOps

    return ImageOps.equalize(image)


def _brightness(image: "Image", level: float) -> "Image":
    from PIL import ImageEnhance

    return ImageEnhance.Brightness(image).enhance(_factor(level))


def _sharpness(image: "Image", level: float) -> "Image":
    from PIL import ImageEnhance

    return ImageEnhance.Sharpness(image).enhance(_factor(level))


def _shear_x(image: "Image", level: float) -> "Image":
    return _moved(image, (1, level * SHEAR, 0, 0, 1, 0))


def _shear_y(image: "Image", level: float) -> "Image":
    return _moved(image, (1, 0, 0, level * SHEAR, 1, 0))


def _translate_x(image: "Image", level: float) -> "Image":
    return _moved(image, (1, 0, level * SHIFT, 0, 1, 0))


def _translate_y(image: "Image", level: float) -> "Image":
    return _moved(image, (1, 0, 0, 0, 1, level * SHIFT))


def _rotate(image: "Image", level: float) -> "Image":
    from PIL.Image import Resampling

    return image.rotate(level * TURN, Resampling.BILINEAR, fillcolor=FILL)


def _factor(level: float) -> float:
    """0.1 (nearly black or blurred) to 1.9; the sign of the level means nothing here."""
    return abs(level) * 1.8 + 0.1


def _moved(image: "Image", numbers: tuple[float, ...]) -> "Image":
    from PIL.Image import Resampling, Transform

    return image.transform(image.size, Transform.AFFINE, numbers, Resampling.BILINEAR, fillcolor=FILL)


COLOUR_OPERATIONS: dict[str, Callable[["Image", float], "Image"]] = {
    "Identity": _identity,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
}

OPERATIONS: dict[str, Callable[["Image", float], "Image"]] = COLOUR_OPERATIONS | {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
}
