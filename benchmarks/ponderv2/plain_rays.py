"""The released code's way to rays, written anew from its description: a ray for every pixel, then a choice.

View by view in a Python loop: a grid of all pixels, unprojected, turned into the world, normalised; colours
of all pixels as floats; ray depth from planar depth; and at the end a few hundred of the 307,200 rays are
kept.
"""

from collections.abc import Sequence

import numpy as np

from ponderv2.rays import Rays
from ponderv2.scenes import View


def plain_rays(views: Sequence[View], count: int, generator: np.random.Generator) -> list[Rays]:
    """`count` rays of each view, through pixels with depth."""
    found = []
    for view in views:
        height, width = view.depth.shape
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        pixels = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3).astype(np.float64)
        in_camera = pixels @ np.linalg.inv(view.intrinsics).T
        in_world = in_camera @ view.camera_to_world[:3, :3].T
        lengths = np.linalg.norm(in_world, axis=-1, keepdims=True)
        ways = (in_world / lengths).astype(np.float32)
        origins = np.repeat(view.camera_to_world[None, :3, 3], len(ways), 0).astype(np.float32)
        distances = (view.depth.reshape(-1) * lengths[:, 0]).astype(np.float32)
        colors = view.color.reshape(-1, 3).astype(np.float32) / 255
        labels = np.full(len(ways), -1) if view.label is None else view.label.reshape(-1)
        usable = np.flatnonzero(distances > 0)
        kept = generator.choice(usable, count, replace=len(usable) < count)
        found.append(Rays(origins[kept], ways[kept], distances[kept], colors[kept], labels[kept]))
    return found
