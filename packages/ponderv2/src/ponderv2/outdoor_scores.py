"""Boxes as nuScenes' measure of detections takes them, and the true ones that count there."""

import numpy as np

from nonet.metrics.driving_detection import DrivingBoxes
from ponderv2.boxes3d import Boxes3D


def counted(truth: Boxes3D, *, measured: bool = True) -> Boxes3D:
    """The true boxes that count: of a class, and with `measured` not those without any LiDAR point."""
    return truth[(truth.label >= 0) & ((truth.points != 0) | (not measured))]


def driving_boxes(boxes: Boxes3D) -> DrivingBoxes:
    """Boxes in the form of the metric; none of them has an attribute."""
    return DrivingBoxes(
        boxes.center,
        boxes.size,
        boxes.yaw,
        boxes.velocity,
        boxes.label,
        boxes.score,
        np.full(len(boxes), -1, np.int64),
    )
