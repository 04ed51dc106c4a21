"""What detections on streets reach: nuScenes' mAP over distances, its errors, and NDS."""

from typing import Any, Self

import numpy as np

from nonet.errors import UserError
from nonet.metrics.driving_detection import ERRORS, DrivingBoxes, DrivingScore, DrivingScores
from ponderv2.boxes3d import Boxes3D
from ponderv2.outdoor_scores import counted, driving_boxes
from ponderv2.task_scores import Classes, Judge, Row, percent

FRAMES = "frames"
"""rule: all boxes of a frame that are within reach of their class and, in KITTI, on the image in which boxes
were drawn, in the LiDAR's frame of reference"""
COLUMNS = {"mATE": "ATE cm", "mASE": "ASE %", "mAOE": "AOE deg", "mAVE": "AVE cm/s"}


class DrivingJudge(Judge):
    """NDS and mAP of boxes on streets. Attributes are not predicted: their error is 1."""

    monitor = "nds"

    def __init__(self, classes: Classes, rule: str = FRAMES) -> None:
        super().__init__(classes, rule)
        self.frames: dict[str, list[tuple[DrivingBoxes, DrivingBoxes]]] = {name: [] for name in classes}

    def add(self, dataset: str, truth: Boxes3D, found: Boxes3D) -> None:
        """Count a frame; true boxes without a class or without a LiDAR point do not count."""
        self.frames[dataset].append((driving_boxes(counted(truth)), driving_boxes(found)))

    def of_dataset(self, dataset: str) -> dict[str, float]:
        """`nds`, `map`."""
        scores = self.scores(dataset)
        return {"nds": scores.nds, "map": scores.mean_ap}

    def scores(self, dataset: str) -> DrivingScores:
        """All numbers of a data set."""
        summed = DrivingScore(self.classes[dataset])
        for truth, found in self.frames[dataset]:
            summed.add(truth, found)
        return summed.scores()

    def rows(self, dataset: str) -> list[Row]:
        """Class, true boxes, AP, and the errors in the units that their columns name.

        A class without true boxes has neither, though nuScenes' means count its AP as 0. There is no column
        of velocities where no true box has one, as in KITTI.
        """
        scores = self.scores(dataset)
        labels = [truth.label for truth, _ in self.frames[dataset]]
        names = self.classes[dataset]
        boxes = np.bincount(np.concatenate([np.zeros(0, np.int64), *labels]), minlength=len(names))
        factors = {"mAOE": 180 / np.pi / 100}
        moving = any(np.isfinite(truth.velocity).any() for truth, _ in self.frames[dataset])
        shown = {error: title for error, title in COLUMNS.items() if moving or error != "mAVE"}
        columns = {"AP": scores.class_ap.mean(1)} | {
            title: scores.class_errors[:, ERRORS.index(error)] * factors.get(error, 1)
            for error, title in shown.items()
        }
        return [
            {"class": name, "boxes": int(boxes[number])}
            | {
                title: percent(float(column[number])) if boxes[number] else None
                for title, column in columns.items()
            }
            for number, name in enumerate(names)
        ]

    def record(self) -> dict[str, Any]:
        """With `errors`, the means as nuScenes gives them: metres, shares, radians, metres a second."""
        errors = {
            dataset: {
                name: None if np.isnan(value) else value
                for name, value in self.scores(dataset).errors.items()
            }
            for dataset in self.classes
        }
        return super().record() | {"errors": errors}

    def __add__(self, other: Self) -> Self:
        if self.classes != other.classes or self.rule != other.rule:
            raise UserError("boxes of other classes, or by another rule, do not add up")
        both = type(self)(self.classes, self.rule)
        both.frames = {name: self.frames[name] + other.frames[name] for name in self.frames}
        return both
