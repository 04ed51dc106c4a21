"""Where each voxel's object is: targets of offsets, and their losses (PointGroup, Jiang et al. 2020).

An offset leads from a voxel to the middle of its object: the mean of its voxels for instance segmentation,
the middle of its box for detection by votes.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nonet.kernels.voxels import scatter_mean
from nonet.training.strategies import global_mean

# Shapes: M voxels.

Middle = Literal["mean", "box"]
TINY = 1e-8  # added to lengths, as in the original


class OffsetTargets(NamedTuple):
    """What offsets are compared with.

    Attributes:
        offset: (M, 3) float32 metres, zero where unknown.
        known: (M,) bool, whether the voxel belongs to an object.
    """

    offset: Tensor
    known: Tensor


def offset_targets(coord_M3: Tensor, scene_M: Tensor, instance_M: Tensor, *, middle: Middle) -> OffsetTargets:
    """The way from each voxel to the middle of its object, as far as the object is in the batch.

    Args:
        coord_M3: (M, 3) float32 metres.
        scene_M: (M,) int64, the scene of each voxel.
        instance_M: (M,) int64 object numbers, unique in a scene; -1 for voxels of no object.
        middle: `mean` of the voxels, or the middle of their `box`.
    """
    known = instance_M >= 0
    offset = torch.zeros_like(coord_M3)
    if bool(known.any()):
        coord, object_ = coord_M3[known], instance_M[known]
        keys = scene_M[known] * (object_.max() + 1) + object_
        numbers, owner = keys.unique(return_inverse=True)
        if middle == "mean":
            middles = scatter_mean(coord, owner, len(numbers))
        else:
            index, shape = owner[:, None].expand(-1, 3), (len(numbers), 3)
            low = coord.new_full(shape, torch.inf).scatter_reduce(0, index, coord, "amin")
            high = coord.new_full(shape, -torch.inf).scatter_reduce(0, index, coord, "amax")
            middles = (low + high) / 2
        offset[known] = middles[owner] - coord
    return OffsetTargets(offset, known)


def offset_losses(offset_M3: Tensor, targets: OffsetTargets) -> dict[str, Tensor]:
    """Name -> scalar, means over the voxels of objects in all processes: `offset_l1`, the sum of the three
    absolute differences in metres; `offset_direction`, the negative cosine, -1 at best.

    Args:
        offset_M3: (M, 3) predicted, metres.
        targets: what it should be.
    """
    found, wanted, known = offset_M3.float(), targets.offset, targets.known.float()
    distance = (found - wanted).abs().sum(1)
    directions = [vector / (vector.norm(dim=1, keepdim=True) + TINY) for vector in (found, wanted)]
    cosine = (directions[0] * directions[1]).sum(1)
    count = known.sum()
    return {
        "offset_l1": global_mean((distance * known).sum(), count),
        "offset_direction": global_mean(-(cosine * known).sum(), count),
    }
