"""Find crops in an image with a pre-trained model, which has seen no label (Dai et al. 2021, section 4.5).

Each crop goes to one group of queries; its box is that of the group's surest query. More crops than groups
are looked for in several passes, of which the image is encoded once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from nonet.data.images import fitted, normalise, to_uint8
from nonet.errors import UserError
from updetr.batches import Images
from updetr.query_patches import PatchDetector

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: P patches, k boxes of a patch, N queries, M groups.

PATCH_SIZE = 128  # pixels of a patch's side as the backbone sees it, in the paper
KIND = "x,y,width,height"


class Found(NamedTuple):
    """Where a patch may lie, the surest first.

    Attributes:
        boxes: (k, 4) float32 xyxy in pixels of the image, not clipped to it.
        scores: (k,) float32 in 0..1.
    """

    boxes: Tensor
    scores: Tensor


@torch.no_grad()
def locate(
    model: PatchDetector,
    image: "Image",
    patches: Sequence["Image"],
    *,
    short: int,
    longest: int,
    patch_size: int = PATCH_SIZE,
) -> list[Found]:
    """Look for pictures in an image.

    Args:
        model: pre-trained, in evaluation mode.
        image: RGB.
        patches: RGB, any number.
        short: shorter side of the image as the model sees it, pixels.
        longest: its longer side at most, pixels.
        patch_size: side of a patch as the model sees it, pixels.

    Returns:
        For each patch the N / M boxes of its group.
    """
    device = next(model.parameters()).device
    pixels = normalise(to_uint8(fitted(image, short, longest)).to(device))[None]
    memory = model.detector.encode(Images(pixels, torch.ones_like(pixels[:, 0], dtype=torch.bool)))
    scale = torch.tensor([*image.size, *image.size])
    found: list[Found] = []
    most = model.detector.config.patches
    for first in range(0, len(patches), most):
        some = torch.stack([as_patch(patch, patch_size) for patch in patches[first : first + most]])
        features = model.patch_features(some.to(device)[None])
        outputs = model(memory, features)
        logits, boxes = outputs.logits[-1, 0].float().cpu(), outputs.boxes[-1, 0].float().cpu()
        chances = logits.sigmoid() if model.detector.sigmoid else logits.softmax(-1)[:, :-1]
        centres, sides = boxes[:, :2], boxes[:, 2:]
        xyxy = torch.cat([centres - sides / 2, centres + sides / 2], -1) * scale
        scores = chances.amax(-1).unflatten(0, (len(some), -1))
        for group, own in zip(xyxy.unflatten(0, (len(some), -1)), scores, strict=True):
            order = own.argsort(descending=True, stable=True)
            found.append(Found(group[order], own[order]))
    return found


def as_patch(picture: "Image", size: int) -> Tensor:
    """(3, size, size) float32, normalised; the sides' proportion is not kept, as in pre-training."""
    from PIL.Image import Resampling

    return normalise(to_uint8(picture.resize((size, size), Resampling.BILINEAR)))


def parse_box(text: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box x, y, width, height in pixels that a text such as `10,20,64,64` says.

    Args:
        text: of the user.
        size: (width, height) of the image.

    Raises:
        UserError: not four whole numbers, or not inside the image.
    """
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"patch {text!r}: give {KIND} in pixels, such as 10,20,64,64") from None
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > size[0] or y + height > size[1]:
        raise UserError(f"patch {text!r} is not inside the image of {size[0]} x {size[1]} pixels")
    return x, y, width, height


def overlap(box: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes, xyxy in pixels."""
    from nonet.metrics.boxes import Floats, iou

    def one(values: Sequence[float]) -> Floats:
        import numpy as np

        return np.asarray([values], np.float64)

    return float(iou(one(box), one(other))[0, 0])


def locator(name: str | Path, device: str = "cpu") -> PatchDetector:
    """A model that can look for patches, in evaluation mode.

    Raises:
        UserError: no model, or one without the heads of pre-training.
    """
    from updetr.loading import load_model

    model = load_model(name, device=device)
    if not isinstance(model, PatchDetector):
        raise UserError(
            f"{name}: a detector that cannot be told a patch; name the model of a `pretrain` run, or of "
            "`oneshot train`"
        )
    return model
