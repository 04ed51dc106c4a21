"""nuScenes' scores for boxes around a vehicle: mAP over distances of centres, five errors, NDS (numpy).

Detections of a class are taken by falling score over all scenes (equal ones as given); each takes the nearest
true box of its class and scene that is still free, centres seen from above, and is right if it is closer than
.5, 1, 2 or 4 m. AP is the mean of precision above .1 at the recalls .11, .12, ..., 1, over .9. At 2 m the
pairs give five errors, each a running mean over falling score, averaged over the same recalls as far as they
are reached (1 if .11 is not): translation (m, from above), scale (1 - IoU of sizes), orientation (radians;
barriers by half turns), velocity (m/s), attribute (1 - accuracy). Means are over classes; cones have no
orientation, and cones and barriers neither velocity nor attribute.

    NDS = (5 mAP + sum over errors of 1 - min(1, error)) / 10

Source: Caesar et al. 2020, section 3.1, and the released nuscenes-devkit, whose configuration
`detection_cvpr_2019` these numbers are. With the full data set at hand, its own tool also filters boxes
without points and bicycles in racks, which is not done here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]

# Shapes: n boxes of a scene, K classes, 4 distances, 5 errors, 101 recalls.

RANGES = {
    "car": 50, "truck": 50, "bus": 50, "trailer": 50, "construction_vehicle": 50, "pedestrian": 40,
    "motorcycle": 40, "bicycle": 40, "traffic_cone": 30, "barrier": 30,
}  # metres from the vehicle up to which boxes of a class count  # fmt: skip
KITTI_RANGES = {
    "Car": 50, "Van": 50, "Truck": 50, "Tram": 50, "Misc": 50, "Pedestrian": 40, "Person_sitting": 40,
    "Cyclist": 40,
}  # likewise for KITTI, which has no such measure: those of the like classes above (ours)  # fmt: skip
DISTANCES = (0.5, 1.0, 2.0, 4.0)  # metres
JUDGED = 2  # the place among them of the distance for errors
ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
WITHOUT = {"traffic_cone": ("mAOE", "mAVE", "mAAE"), "barrier": ("mAVE", "mAAE")}
HALF_TURNS = ("barrier",)  # the same from both sides
LOW = 0.1  # recall and precision up to which nothing counts
RECALLS = np.linspace(0, 1, 101)
FIRST = 11  # the place of the first recall above LOW


class DrivingBoxes(NamedTuple):
    """Boxes of a scene, true or found, in one frame whose z axis points up.

    Attributes:
        center: (n, 3) metres.
        size: (n, 3) metres, length, width, height, above 0.
        yaw: (n,) radians, of the length about z from x towards y.
        velocity: (n, 2) m/s; NaN where the truth does not know it.
        label: (n,) whole numbers, places in the list of classes.
        score: (n,) finite; not looked at in the truth.
        attribute: (n,) whole numbers; -1 for none.
    """

    center: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: NDArray[np.float64]
    velocity: NDArray[np.float64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    attribute: NDArray[np.int64]


class DrivingScores(NamedTuple):
    """What detections come to.

    Attributes:
        nds: in 0..1.
        mean_ap: in 0..1, over all classes; a class without true boxes has AP 0, as in the devkit.
        errors: the means by their names in `ERRORS`, at least 0; NaN if no class has that error.
        class_ap: (K, 4).
        class_errors: (K, 5) in the order of `ERRORS`; NaN where a class has none.
    """

    nds: float
    mean_ap: float
    errors: dict[str, float]
    class_ap: Floats
    class_errors: Floats


class DrivingScore:
    """Collects scenes; `scores` says what they come to. Those of several processes add up with `+`.

    Args:
        classes: names of the classes; boxes of a class in `RANGES` or `KITTI_RANGES` count up to its
            distance, others anywhere.
    """

    def __init__(self, classes: Sequence[str] = tuple(RANGES)) -> None:
        self.classes = tuple(classes)
        far = RANGES | KITTI_RANGES
        self._far = np.array([far.get(name, np.inf) for name in self.classes])
        self._scenes: list[tuple[DrivingBoxes, DrivingBoxes]] = []

    def add(
        self,
        truth: DrivingBoxes,
        found: DrivingBoxes,
        ego: ArrayLike = (0.0, 0.0),
        what: str = "the scene",
    ) -> None:
        """Count a scene.

        Args:
            truth: its true boxes.
            found: those that were found.
            ego: x, y of the vehicle in the boxes' frame, metres.
            what: how messages call the scene.

        Raises:
            UserError: lengths differ, a label is out of range, a number is not finite, or a size is not
                above 0.
        """
        place = np.asarray(ego, np.float64)[:2]
        sides = []
        for boxes, true in ((truth, True), (found, False)):
            boxes = self._checked(boxes, f"{what}: {'true' if true else 'found'} boxes", true)
            near = np.linalg.norm(boxes.center[:, :2] - place, axis=1) < self._far[boxes.label]
            sides.append(_chosen(boxes, near))
        self._scenes.append((sides[0], sides[1]))

    def __add__(self, other: "DrivingScore") -> "DrivingScore":
        if self.classes != other.classes:
            raise UserError(f"boxes of classes {self.classes} and {other.classes} do not add up")
        both = DrivingScore(self.classes)
        both._scenes = self._scenes + other._scenes
        return both

    def scores(self) -> DrivingScores:
        """The scores of what was counted so far."""
        K = len(self.classes)
        ap, errors = np.zeros((K, len(DISTANCES))), np.full((K, len(ERRORS)), np.nan)
        for kind, name in enumerate(self.classes):
            scenes = [
                (_chosen(truth, truth.label == kind), _chosen(found, found.label == kind))
                for truth, found in self._scenes
            ]
            for place, distance in enumerate(DISTANCES):
                curve = _curve(scenes, distance, name in HALF_TURNS)
                ap[kind, place] = np.clip(curve.precision[FIRST:] - LOW, 0, None).mean() / (1 - LOW)
                if place == JUDGED:
                    missing = [error in WITHOUT.get(name, ()) for error in ERRORS]
                    errors[kind] = np.where(missing, np.nan, curve.error_means())
        means = {}
        for column, error in zip(errors.T, ERRORS, strict=True):
            known = column[~np.isnan(column)]
            means[error] = float(known.mean()) if known.size else float("nan")
        good = sum(max(0.0, 1 - value) for value in means.values() if not np.isnan(value))
        mean_ap = float(ap.mean())
        return DrivingScores((5 * mean_ap + good) / 10, mean_ap, means, ap, errors)

    def _checked(self, boxes: DrivingBoxes, what: str, true: bool) -> DrivingBoxes:
        n = len(boxes.label)
        widths = (3, 3, None, 2, None, None, None)
        kinds = (float, float, float, float, np.int64, float, np.int64)
        parts = []
        for name, values, width, kind in zip(boxes._fields, boxes, widths, kinds, strict=True):
            array = np.asarray(values, kind)
            wanted = (n,) if width is None else (n, width)
            if array.size == 0 and n == 0:
                array = array.reshape(wanted)
            if array.shape != wanted:
                raise UserError(f"{what}: {name} has shape {array.shape}, not {wanted}")
            if not np.isfinite(array).all() and not (name == "velocity" and true):
                raise UserError(f"{what}: {name} has a number that is not finite")
            parts.append(array)
        checked = DrivingBoxes(*parts)
        if n and (checked.size <= 0).any():
            raise UserError(f"{what}: box {int((checked.size <= 0).any(1).argmax())} has a size not above 0")
        wrong = checked.label[(checked.label < 0) | (checked.label >= len(self.classes))]
        if wrong.size:
            raise UserError(
                f"{what}: label {wrong[0]} is out of range; there are {len(self.classes)} classes, from 0"
            )
        return checked


class _Curve(NamedTuple):
    precision: Floats  # (101,)
    reached: int  # the place of the last recall that is reached
    errors: Floats  # (101, 5)

    def error_means(self) -> Floats:
        if self.reached < FIRST:
            return np.ones(len(ERRORS))
        return np.asarray(self.errors[FIRST : self.reached + 1].mean(0))


def _chosen(boxes: DrivingBoxes, rows: NDArray[Any]) -> DrivingBoxes:
    return DrivingBoxes(**{name: part[rows] for name, part in boxes._asdict().items()})


def _curve(scenes: Sequence[tuple[DrivingBoxes, DrivingBoxes]], distance: float, half_turns: bool) -> _Curve:
    """Precision and errors at each recall, of the boxes of one class."""
    wanted = sum(len(truth.label) for truth, _ in scenes)
    scores, right, pairs = [np.zeros(0)], [np.zeros(0, np.bool_)], [np.zeros((0, len(ERRORS)))]
    for truth, found in scenes:
        order = np.argsort(-found.score, kind="stable")
        ordered = _chosen(found, order)
        partner = _partners(truth, ordered, distance)
        hit = partner >= 0
        scores.append(ordered.score)
        right.append(hit)
        errors = np.full((len(order), len(ERRORS)), np.nan)
        errors[hit] = _errors(_chosen(truth, partner[hit]), _chosen(ordered, hit), half_turns)
        pairs.append(errors)
    score, hits, error = np.concatenate(scores), np.concatenate(right), np.concatenate(pairs)
    if not hits.any():
        return _Curve(np.zeros(101), 0, np.ones((101, len(ERRORS))))
    order = np.argsort(-score, kind="stable")
    score, hits, error = score[order], hits[order], error[order]
    found_so_far = hits.cumsum()
    recall = found_so_far / wanted
    precision = np.interp(RECALLS, recall, found_so_far / np.arange(1, len(hits) + 1), right=0)
    sure = np.interp(RECALLS, recall, score, right=0)
    means = _running_means(error[hits])
    columns = [np.interp(sure[::-1], score[hits][::-1], column[::-1])[::-1] for column in means.T]
    reached = int(np.searchsorted(RECALLS, recall[-1], side="right")) - 1
    return _Curve(precision, reached, np.stack(columns, 1))


def _partners(truth: DrivingBoxes, found: DrivingBoxes, distance: float) -> NDArray[np.int64]:
    """(m,): the true box that each found one takes, by falling score; -1 for none."""
    partner = np.full(len(found.label), -1)
    apart = np.linalg.norm(found.center[:, None, :2] - truth.center[None, :, :2], axis=-1)
    for row in range(len(partner)):
        if apart.shape[1]:
            best = int(apart[row].argmin())
            if apart[row, best] < distance:
                partner[row] = best
                apart[:, best] = np.inf
    return partner


def _errors(truth: DrivingBoxes, found: DrivingBoxes, half_turns: bool) -> Floats:
    """(p, 5) errors of pairs, in the order of `ERRORS`; NaN where the truth knows none."""
    place = np.linalg.norm(found.center[:, :2] - truth.center[:, :2], axis=1)
    common = np.minimum(truth.size, found.size).prod(1)
    scale = 1 - common / (truth.size.prod(1) + found.size.prod(1) - common)
    period = np.pi if half_turns else 2 * np.pi
    turn = np.abs((truth.yaw - found.yaw + period / 2) % period - period / 2)
    speed = np.linalg.norm(found.velocity - truth.velocity, axis=1)
    attribute = np.where(truth.attribute < 0, np.nan, truth.attribute != found.attribute)
    return np.stack([place, scale, turn, speed, attribute], 1)


def _running_means(errors: Floats) -> Floats:
    """(p, 5) means of what is known up to each row; 0 before anything is, 1 where nothing ever is."""
    known = ~np.isnan(errors)
    count = known.cumsum(0)
    means = np.where(known, errors, 0.0).cumsum(0) / np.maximum(count, 1)
    return np.asarray(np.where(known.any(0), means, 1.0))
