"""Where "up" is in a room whose poses do not say: most of what faces up is level (ours).

A rough direction comes from the cameras, which people hold more or less upright. Floors, seats and tables
then agree on one direction near it: the peak of the normals' directions. In the office of 7-Scenes it is 28
degrees away from the world's own axis.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ponderv2.scenes import Array

NEAR = 50.0
"""degrees between the rough direction and the one that is found, at most"""
AGREE = 8.0
"""degrees within which normals count as the same"""
LEAST = 0.05
"""share of the normals that must agree, or the rough direction stays"""

_TRIES, _SEEN = 500, 5000


def upright_of_cameras(poses: Sequence[Array]) -> NDArray[np.float64]:
    """(3,) float64: the mean of the directions that are up in the images; (0, 0, 1) if they cancel."""
    mean = -np.mean([np.asarray(pose)[:3, 1] for pose in poses], 0)
    length = np.linalg.norm(mean)
    return mean / length if length > 0.1 else np.array([0.0, 0.0, 1.0])


def level_up(normals: Array, rough: Array) -> NDArray[np.float64]:
    """(3,) float64 of length 1: the direction near a rough one that most normals agree on.

    Args:
        normals: (N, 3) of length 1, out of the surfaces.
        rough: (3,).
    """
    normals = np.asarray(normals, np.float64)
    rough = np.asarray(rough, np.float64) / np.linalg.norm(rough)
    facing = normals[normals @ rough > np.cos(np.radians(NEAR))]
    if not len(facing):
        return rough
    random = np.random.default_rng(0)
    some = facing[random.integers(len(facing), size=_SEEN)]
    agreeing = (some[:_TRIES] @ some.T > np.cos(np.radians(AGREE))).mean(1)
    best = some[agreeing.argmax()]
    same = facing[facing @ best > np.cos(np.radians(AGREE))]
    if len(same) < LEAST * len(normals):
        return rough
    mean = same.mean(0)
    return mean / np.linalg.norm(mean)
