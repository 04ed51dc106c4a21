"""What labelled scenes go through before a head learns from them (PonderV2, semseg-* and insseg-*).

The list of the released code is made for rooms: it tilts them and bends them by decimetres. `gentle` leaves
that out, for tables and objects; it is ours.
"""

import math

from ponderv2.color_transforms import ChromaticAutoContrast, ChromaticJitter, ChromaticTranslation
from ponderv2.finetune_options import Augment
from ponderv2.samples import Transform
from ponderv2.transforms import (
    CenterShift,
    GridSample,
    RandomDropout,
    RandomFlip,
    RandomRotate,
    RandomScale,
    Shuffle,
    SphereCrop,
    Upright,
    finetuning_transforms,
    plain_transforms,
)


def task_transforms(augment: Augment, voxel: float, crop: int) -> tuple[Transform, ...]:
    """The augmentations in order.

    Args:
        augment: full, gentle or none.
        voxel: metres.
        crop: voxels of a scene at most; 0: all.
    """
    points = crop or None
    if augment == "full":
        return finetuning_transforms(voxel, crop_points=points)
    if augment == "none":
        *first, shift = plain_transforms(voxel)
        return (*first, SphereCrop(points), shift)
    return (
        Upright(),
        CenterShift(),
        RandomDropout(0.2, p=0.2),
        RandomRotate(-math.pi, math.pi, "z", 0.5),
        RandomScale(),
        RandomFlip(),
        ChromaticAutoContrast(),
        ChromaticTranslation(),
        ChromaticJitter(std=0.02),
        GridSample(voxel),
        SphereCrop(points),
        CenterShift(floor=False),
        Shuffle(),
    )
