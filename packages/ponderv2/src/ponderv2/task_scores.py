"""What a task reaches on labelled scenes: collected scene by scene, added up over processes and folds (ours).

A judge knows by what rule its numbers were made: on voxels in validation, on all points by votes in the test
protocol. The two are never compared: a scores file keeps the rule, and sums of folds refuse to mix them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError
from nonet.metrics.detection_3d import BoxAP
from nonet.metrics.instance_segmentation import FoundInstance, InstanceAP
from nonet.metrics.segmentation import Confusion

# Shapes: N points (or voxels) of a scene, K classes.

Row = dict[str, Any]
Classes = Mapping[str, tuple[str, ...]]

VOXELS = "voxels"
"""rule of validation: one point of each voxel, no variants"""
POINTS = "points"
"""every point of the cloud, by the voxel that it lies in"""
VOTES = "votes"
"""the test protocol: every point, by votes of fragments and variants"""


class Judge(ABC):
    """Collects scenes of several data sets, each with its own classes.

    Args:
        classes: each data set's name to its class names.
        rule: `voxels`, `points` or `votes`.
    """

    monitor: str
    """the number that says which weights are best"""

    def __init__(self, classes: Classes, rule: str) -> None:
        self.classes, self.rule = dict(classes), rule

    @abstractmethod
    def of_dataset(self, dataset: str) -> dict[str, float]:
        """The numbers of one data set by name, in 0..1."""

    @abstractmethod
    def rows(self, dataset: str) -> list[Row]:
        """A row for each class of one data set, times 100."""

    @abstractmethod
    def __add__(self, other: Self) -> Self:
        """Both together."""

    def numbers(self) -> dict[str, float]:
        """The numbers by name; of several data sets DATASET/NAME, and their means."""
        each = {dataset: self.of_dataset(dataset) for dataset in self.classes}
        if len(each) == 1:
            return next(iter(each.values()))
        found = {
            f"{dataset}/{name}": value for dataset, values in each.items() for name, value in values.items()
        }
        names = next(iter(each.values()))
        return {name: float(np.mean([values[name] for values in each.values()])) for name in names} | found

    def record(self) -> dict[str, Any]:
        """The numbers times 100 and the rows of the classes, for JSON; what is not a number is None."""
        return {
            "rule": self.rule,
            "scores": {name: percent(value) for name, value in self.numbers().items()},
            "classes": {dataset: self.rows(dataset) for dataset in self.classes},
        }

    def text(self) -> str:
        """The same as tables for a terminal."""
        lines = [f"{name:<28}{_shown(percent(value)):>8}" for name, value in self.numbers().items()]
        for dataset in self.classes:
            rows = self.rows(dataset)
            titles = list(rows[0]) if rows else []
            wide = max([len(str(row["class"])) for row in rows] + [len(dataset)]) + 2
            lines += ["", f"{dataset:<{wide}}" + "".join(f"{title:>12}" for title in titles[1:])]
            for row in rows:
                lines.append(f"{row['class']:<{wide}}" + "".join(f"{_shown(row[t]):>12}" for t in titles[1:]))
        return "\n".join(lines)


class SemanticJudge(Judge):
    """mIoU over all classes, mean accuracy, accuracy; counts are added before they are divided."""

    monitor = "miou"

    def __init__(self, classes: Classes, rule: str = VOXELS) -> None:
        super().__init__(classes, rule)
        self.counts = {dataset: Confusion(len(names)) for dataset, names in classes.items()}

    def add(self, dataset: str, predicted: ArrayLike, target: ArrayLike, scene: str = "the scene") -> None:
        """Count a scene's points: (N,) predicted classes and true ones, -1 ignored."""
        self.counts[dataset].add(predicted, target, what=f"scene {scene}")

    def of_dataset(self, dataset: str) -> dict[str, float]:
        """`miou`, `macc`, `accuracy`."""
        count = self.counts[dataset]
        return {"miou": count.miou(), "macc": count.macc(), "accuracy": count.accuracy()}

    def rows(self, dataset: str) -> list[Row]:
        """Class, true points (voxels, where these are scored), IoU, share of them that are found."""
        count, names = self.counts[dataset], self.classes[dataset]
        true = count.matrix.sum(1)
        found = count.matrix.diagonal() / np.maximum(true, 1)
        unit = VOXELS if self.rule == VOXELS else POINTS
        return [
            {"class": name, unit: int(n), "IoU": percent(float(iou)), "accuracy": percent(float(share))}
            for name, n, iou, share in zip(names, true, count.iou(), found, strict=True)
        ]

    def __add__(self, other: Self) -> Self:
        if self.classes != other.classes or self.rule != other.rule:
            raise UserError("counts of other classes, or by another rule, do not add up")
        both = type(self)(self.classes, self.rule)
        both.counts = {name: self.counts[name] + other.counts[name] for name in self.counts}
        return both

    def record(self) -> dict[str, Any]:
        """With the counts themselves, so that folds can be added."""
        return super().record() | {
            "names": {dataset: list(names) for dataset, names in self.classes.items()},
            "confusion": {dataset: count.matrix.tolist() for dataset, count in self.counts.items()},
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any], where: str) -> Self:
        """A judge from what `record` gave.

        Raises:
            UserError: it is not the record of a segmentation.
        """
        try:
            classes = {name: tuple(map(str, found)) for name, found in record["names"].items()}
            judge = cls(classes, str(record["rule"]))
            for dataset, matrix in record["confusion"].items():
                counts = np.asarray(matrix, np.int64)
                if counts.shape != judge.counts[dataset].matrix.shape:
                    raise ValueError(f"counts of shape {counts.shape}")
                judge.counts[dataset].matrix = counts
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: not the scores of a semantic segmentation ({error})") from error
        return judge


class InstanceJudge(Judge):
    """ScanNet's average precision of objects: AP over overlaps .50 to .90, AP50, AP25."""

    monitor = "ap50"

    def __init__(self, classes: Classes, ignored: Mapping[str, tuple[int, ...]], rule: str = POINTS) -> None:
        super().__init__(classes, rule)
        self.ignored = dict(ignored)
        self.scenes = {
            dataset: InstanceAP(len(names), ignored=self.ignored[dataset])
            for dataset, names in classes.items()
        }

    def add(
        self,
        dataset: str,
        semantic: NDArray[np.int64],
        instance: NDArray[np.int64],
        found: list[FoundInstance],
    ) -> None:
        """Count a scene: (N,) true classes and objects, and what was found."""
        self.scenes[dataset].add(semantic, instance, found)

    def of_dataset(self, dataset: str) -> dict[str, float]:
        """`ap`, `ap50`, `ap25`."""
        scores = self.scenes[dataset].scores()
        return {"ap": float(scores.ap), "ap50": float(scores.ap50), "ap25": float(scores.ap25)}

    def rows(self, dataset: str) -> list[Row]:
        """Class, AP, AP50, AP25; classes that are no objects are left out."""
        scores, names = self.scenes[dataset].scores(), self.classes[dataset]
        columns = {"AP": scores.class_ap, "AP50": scores.class_ap50, "AP25": scores.class_ap25}
        return [
            {"class": name} | {title: percent(float(column[number])) for title, column in columns.items()}
            for number, name in enumerate(names)
            if number not in self.ignored[dataset]
        ]

    def __add__(self, other: Self) -> Self:
        if self.classes != other.classes or self.rule != other.rule:
            raise UserError("objects of other classes, or by another rule, do not add up")
        both = type(self)(self.classes, self.ignored, self.rule)
        both.scenes = {name: self.scenes[name] + other.scenes[name] for name in self.scenes}
        return both


class BoxJudge(Judge):
    """Average precision of boxes at overlaps .25 and .5, mean over the classes in the truth."""

    monitor = "ap25"

    def __init__(self, classes: Classes, ignored: Mapping[str, tuple[int, ...]], rule: str = POINTS) -> None:
        super().__init__(classes, rule)
        self.ignored = dict(ignored)
        self.scenes: dict[str, list[tuple[Any, ...]]] = {dataset: [] for dataset in classes}

    def add(
        self, dataset: str, true_boxes: ArrayLike, true_labels: ArrayLike, boxes: ArrayLike,
        labels: ArrayLike, scores: ArrayLike,
    ) -> None:  # fmt: skip
        """Count a scene: (n, 6) true boxes with (n,) classes, (m, 6) found ones with classes and scores."""
        self.scenes[dataset].append((true_boxes, true_labels, boxes, labels, scores))

    def of_dataset(self, dataset: str) -> dict[str, float]:
        """`ap25`, `ap50`."""
        low, high = self._scores(dataset).mean_ap
        return {"ap25": float(low), "ap50": float(high)}

    def rows(self, dataset: str) -> list[Row]:
        """Class, true boxes, AP25, AP50 and the recalls; classes without true boxes have none, and classes
        that are no objects are left out."""
        scores = self._scores(dataset)
        labels = [np.asarray(scene[1], np.int64).reshape(-1) for scene in self.scenes[dataset]]
        counts = np.bincount(
            np.concatenate([np.zeros(0, np.int64), *labels]), minlength=len(self.classes[dataset])
        )
        columns = {
            "AP25": scores.class_ap[0], "AP50": scores.class_ap[1],
            "recall25": scores.class_recall[0], "recall50": scores.class_recall[1],
        }  # fmt: skip
        return [
            {"class": name, "boxes": int(counts[number])}
            | {title: percent(float(column[number])) for title, column in columns.items()}
            for number, name in enumerate(self.classes[dataset])
            if number not in self.ignored[dataset]
        ]

    def __add__(self, other: Self) -> Self:
        if self.classes != other.classes or self.rule != other.rule:
            raise UserError("boxes of other classes, or by another rule, do not add up")
        both = type(self)(self.classes, self.ignored, self.rule)
        both.scenes = {name: self.scenes[name] + other.scenes[name] for name in self.scenes}
        return both

    def _scores(self, dataset: str) -> Any:
        counted = BoxAP(len(self.classes[dataset]), (0.25, 0.5))
        for scene in self.scenes[dataset]:
            counted.add(*scene)
        return counted.scores()


def percent(value: float) -> float | None:
    """A share times 100, to four places; None for what is not a number."""
    return None if math.isnan(value) else round(100 * value, 4)


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.1f}" if isinstance(value, float) else f"{value:,}"
