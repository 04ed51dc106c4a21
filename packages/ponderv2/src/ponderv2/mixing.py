"""Mix3D: two rooms in one place, so that a model does not lean on what usually stands beside what.

Source: Nekrasov et al. 2021, as the released configurations of fine-tuning use it. Their batches keep two
points of one voxel; here a voxel has one.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from nonet.errors import UserError
from ponderv2.samples import Sample
from ponderv2.transforms import GridSample


def mixed_pairs(samples: Sequence[Sample], random: np.random.Generator) -> list[Sample]:
    """Mix3D: clouds 0 and 1 become one, 2 and 3 one, and so on; an odd last one stays alone.

    Args:
        samples: voxelised, in worlds whose origin lies in the middle of the floor.
        random: decides which point a voxel keeps that both have.
    """
    return [
        mix3d(samples[first], samples[first + 1], random) if first + 1 < len(samples) else samples[first]
        for first in range(0, len(samples), 2)
    ]


def mix3d(first: Sample, second: Sample, random: np.random.Generator) -> Sample:
    """Two clouds in one place, voxelised together. Instances of the second are numbered after the first's.

    Raises:
        UserError: one has views or another voxel size.
    """
    if first.views or second.views:
        raise UserError(f"scenes {first.name} and {second.name} have views, which see one of them only")
    if first.cell is None or first.cell != second.cell:
        raise UserError(
            f"scenes {first.name} and {second.name} have voxels of {first.cell} and {second.cell} m"
        )
    clouds, beyond = (first.cloud, second.cloud), 0
    if first.cloud.instance is not None:
        beyond = max(-1, int(first.cloud.instance.max(initial=-1))) + 1
    named: dict[str, Any] = {}
    for field in fields(first.cloud):
        one, two = (getattr(cloud, field.name) for cloud in clouds)
        if field.name == "instance" and two is not None:
            two = np.where(two >= 0, two + beyond, two)
        named[field.name] = None if one is None or two is None else np.concatenate([one, two])
    kept = [
        sample.kept + start
        for sample, start in ((first, 0), (second, len(first.cloud)))
        if sample.kept is not None
    ]
    both = replace(
        first,
        name=f"{first.name} + {second.name}",
        cloud=replace(first.cloud, **named),
        index=np.full(len(first.cloud) + len(second.cloud), -1),
        kept=np.concatenate(kept) if kept else None,
        grid=None,
    )
    return GridSample(first.cell)(both, random)
