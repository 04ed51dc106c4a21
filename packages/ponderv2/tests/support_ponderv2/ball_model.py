"""A model whose field is a ball that is known exactly: what is drawn of it can be worked out by hand."""

import numpy as np
import torch
from torch import nn

from ponderv2.cameras import directions
from ponderv2.field import FieldValues
from ponderv2.model_config import size
from ponderv2.ponder import Encoded, build_ponder
from ponderv2.scenes import View
from ponderv2.unit_cube import UnitCube

MIDDLE = np.array([1.0, -2.0, 3.0])
RADIUS = 0.6
BOX = np.stack([MIDDLE - 1, MIDDLE + np.array([1, 1, 0.8])]).astype(np.float32)
"""of the cloud: the cube's side is 2 m"""


class BallField(nn.Module):
    """Positive outside; the colour of a place is its normal, from -1..1 to 0..1."""

    def at(self, volume, cube):
        return AtBall(cube)


class AtBall:
    def __init__(self, cube):
        self.cube = cube

    def sdf(self, points, reader="sampler"):
        away = self.cube.to_world(points) - torch.as_tensor(MIDDLE, dtype=torch.float32)
        return (away.norm(dim=-1) - RADIUS) * self.cube.scale[:, None]

    def values(self, points, ways):
        away = self.cube.to_world(points) - torch.as_tensor(MIDDLE, dtype=torch.float32)
        normal = away / away.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return FieldValues(self.sdf(points), normal, (normal + 1) / 2, normal * 5)

    def meaning(self, hidden, weight):
        return hidden


def ball_model(sharpness=0.9):
    """The smallest model with that field; k = exp(10 * sharpness)."""
    model = build_ponder(size("tiny")).eval()
    model.field = BallField()
    with torch.no_grad():
        model.renderer.sharpness.fill_(sharpness)
    cube = UnitCube.of_boxes(torch.from_numpy(BOX)[None])
    return model, Encoded(torch.zeros(1, 2, 4, 4, 4), cube, torch.zeros(1, 1))


def ball_view(pose, intrinsics, shape):
    """What a camera sees of the ball, by the quadratic equation of each ray: planar depth and colour."""
    height, width = shape
    empty = View("ball", np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32), None, intrinsics, pose)
    v, u = np.divmod(np.arange(height * width), width)
    rays, start = directions(empty, u, v), pose[:3, 3] - MIDDLE
    a, b, c = (rays**2).sum(-1), rays @ start, start @ start - RADIUS**2
    root = b**2 - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    normal = (start + rays * depth[:, None]) / RADIUS
    color = np.where(root[:, None] > 0, (normal + 1) / 2, 0)
    return View(
        "ball", (color * 255).round().astype(np.uint8).reshape(*shape, 3),
        depth.astype(np.float32).reshape(shape), None, intrinsics, pose,
    )  # fmt: skip
