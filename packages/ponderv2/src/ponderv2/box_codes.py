"""Boxes as ten numbers that a network predicts, and back (as CenterPoint and UVTR do).

x, y, z in metres;  log length, log width, log height;  sin yaw, cos yaw;  velocity x, y in m/s
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ponderv2.boxes3d import Boxes3D, make_boxes

# Shapes: n true boxes of a frame, Q predicted ones.

CODE = 10
"""numbers of a box"""
VELOCITY = slice(8, 10)
WEIGHTS = (1.0,) * 8 + (0.2, 0.2)
"""of the numbers in the distance of two boxes; CenterPoint's and UVTR's"""
LOG_SIZE = (-4.0, 4.0)
"""what a predicted log size is clipped to: 0.02 to 55 m"""


class TrueBoxes(NamedTuple):
    """The boxes of a frame that a head learns from.

    Attributes:
        labels: (n,) int64.
        codes: (n, 10) float32; NaN where the velocity is unknown.
    """

    labels: Tensor
    codes: Tensor


def true_boxes(
    boxes: Boxes3D, low: Sequence[float], high: Sequence[float], *, measured: bool, device: torch.device | str
) -> TrueBoxes:
    """What can be learned of a frame: boxes of a class whose middle lies in the range.

    Args:
        boxes: of the frame, in its batch's world.
        low: least x, y, z in metres.
        high: largest.
        measured: leave out boxes that the data set says no LiDAR point lies in.
        device: of the result.
    """
    within = ((boxes.center >= low) & (boxes.center <= high)).all(1) & (boxes.label >= 0)
    if measured:
        within &= boxes.points != 0
    chosen = boxes[within]
    code = np.concatenate(
        [
            chosen.center,
            np.log(np.maximum(chosen.size, 1e-3)),
            np.sin(chosen.yaw)[:, None],
            np.cos(chosen.yaw)[:, None],
            chosen.velocity,
        ],
        1,
    )
    labels = torch.from_numpy(chosen.label).to(device)
    return TrueBoxes(labels, torch.from_numpy(code.astype(np.float32)).to(device))


def decoded(codes_Q: Tensor, labels_Q: Tensor, scores_Q: Tensor) -> Boxes3D:
    """The boxes that codes stand for.

    Args:
        codes_Q: (Q, 10) float.
        labels_Q: (Q,) int64.
        scores_Q: (Q,) float in 0..1.
    """
    codes = codes_Q.detach().double().cpu().numpy()
    return make_boxes(
        codes[:, :3],
        np.exp(codes[:, 3:6].clip(*LOG_SIZE)),
        np.arctan2(codes[:, 6], codes[:, 7]),
        labels_Q.cpu().numpy(),
        velocity=codes[:, VELOCITY],
        score=scores_Q.detach().double().cpu().numpy(),
    )


def code_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """(...,) weighted sum of absolute differences of codes (..., 10); what the truth does not know is 0."""
    weights = predicted.new_tensor(WEIGHTS)
    known = ~true.isnan()
    difference = (predicted - torch.where(known, true, torch.zeros_like(true))).abs()
    return (torch.where(known, difference, torch.zeros_like(difference)) * weights).sum(-1)
