"""Semantic segmentation: how many points of each class are called what, and the shares that follow (numpy).

IoU of a class = common / (true + found - common), accumulated over all scenes before it is divided, plus
1e-10 below, so that a class that never occurs scores 0 and lowers the mean over *all* classes: the rule of
ScanNet, S3DIS and Pointcept, by which the tables of PonderV2 (Zhu et al. 2023) are made. torchmetrics and
others leave absent classes out; `miou(present=True)` does so.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]

TINY = 1e-10  # below a quotient, as Pointcept has it


class Confusion:
    """Counts of points by true and found class; counts of several folds or processes add up with `+`.

    Args:
        classes: how many there are, K.

    Attributes:
        matrix: (K, K + 1) int64; row: the true class, column: the found one, the last: none was found.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise UserError(f"{classes} classes cannot be told apart; at least 1 is needed")
        self.classes = classes
        self.matrix = np.zeros((classes, classes + 1), np.int64)

    def add(self, predicted: Any, target: Any, ignore: int = -1, what: str = "the labels") -> None:
        """Count points.

        Args:
            predicted: whole numbers in 0..K-1, of any shape; `ignore` for a point without prediction, which
                is a miss. numpy, or torch on any device. At ignored points nothing is looked at.
            target: the same of the truth; points of value `ignore` do not count.
            ignore: no class.
            what: how messages call them.

        Raises:
            UserError: shapes differ, a label is out of range, or labels are not whole numbers.
        """
        found, true = _whole(predicted, what), _whole(target, what)
        if found.shape != true.shape:
            raise UserError(
                f"{what}: predictions have shape {found.shape} and the truth {true.shape}; give one for each"
            )
        counted = true != ignore
        found, true = found[counted], true[counted]
        _check_range(true, self.classes, f"{what}: the truth")
        found = np.where(found == ignore, self.classes, found)
        _check_range(found, self.classes + 1, f"{what}: a prediction", self.classes)
        cells = np.bincount(true * (self.classes + 1) + found, minlength=self.matrix.size)
        self.matrix += cells.reshape(self.matrix.shape)

    def __add__(self, other: "Confusion") -> "Confusion":
        if self.classes != other.classes:
            raise UserError(f"counts of {self.classes} and of {other.classes} classes do not add up")
        both = Confusion(self.classes)
        both.matrix = self.matrix + other.matrix
        return both

    def iou(self) -> Floats:
        """(K,) common / (union + 1e-10) of each class; 0 for a class that neither occurs nor is found."""
        common, union, _ = self._counts()
        return np.asarray(common / (union + TINY))

    def miou(self, *, present: bool = False) -> float:
        """The mean IoU.

        Args:
            present: over classes that occur or are found, in place of all.

        Returns:
            In 0..1; NaN if nothing was counted.
        """
        _, union, _ = self._counts()
        return self._mean(self.iou(), union > 0, present)

    def macc(self, *, present: bool = False) -> float:
        """The mean over classes of the share of a class's points that are found; as `miou`.

        With `present`, over the classes that occur.
        """
        common, _, true = self._counts()
        return self._mean(common / (true + TINY), true > 0, present)

    def accuracy(self) -> float:
        """The share of all points that are right; NaN if nothing was counted."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")

    def _counts(self) -> tuple[Floats, Floats, Floats]:
        """Common, union and true points of each class."""
        common = self.matrix.diagonal().astype(np.float64)
        true = self.matrix.sum(1).astype(np.float64)
        return common, true + self.matrix[:, :-1].sum(0) - common, true

    def _mean(self, values: Floats, there: NDArray[np.bool_], present: bool) -> float:
        if not self.matrix.any():
            return float("nan")
        return float(values[there].mean() if present else values.mean())


def _whole(labels: Any, what: str) -> NDArray[np.int64]:
    array = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if array.dtype.kind not in "iub":
        raise UserError(f"{what} must be whole numbers, not {array.dtype}; take the argmax of scores first")
    return array.astype(np.int64)


def _check_range(labels: NDArray[np.int64], count: int, what: str, classes: int | None = None) -> None:
    wrong = labels[(labels < 0) | (labels >= count)]
    if wrong.size:
        raise UserError(
            f"{what} has label {wrong[0]}, but there are {classes or count} classes, from 0; values that are "
            f"out of range: {np.unique(wrong)[:10].tolist()}"
        )
