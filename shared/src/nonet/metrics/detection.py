"""COCO's twelve numbers for detections (Lin et al. 2014; the rules of pycocotools).

Average precision over 101 recall levels and the overlaps .50:.05:.95, for objects of all, small (below 32^2
pixels of annotated area), medium and large (96^2 and more) sizes, with 100 detections an image; and average
recall. Crowd regions are ignored: what they cover counts neither way. A package counts the matches: hotcoco
(Rust), else faster-coco-eval (C++), else pycocotools, which agree. The means are taken here.
"""

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError, needs

# Shapes: T overlaps, R recall levels, K classes, A sizes, M limits of detections.

Backend = Literal["auto", "hotcoco", "faster-coco-eval", "pycocotools"]
BACKENDS = {"hotcoco": "hotcoco", "faster-coco-eval": "faster_coco_eval", "pycocotools": "pycocotools"}
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class TrueBoxes(Protocol):
    """The truth of an image: `id`, (n, 4) `boxes` xyxy in pixels, (n,) `labels`, `crowd` and `areas`."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def boxes(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def crowd(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def areas(self) -> NDArray[np.float64]: ...  # noqa: D102


class FoundBoxes(Protocol):
    """What was found in an image: `image_id`, (n, 4) `boxes` xyxy in pixels, (n,) `scores`, (n,) `labels`."""

    @property
    def image_id(self) -> int: ...  # noqa: D102
    @property
    def boxes(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def scores(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def labels(self) -> NDArray[Any]: ...  # noqa: D102


class CocoScores(NamedTuple):
    """Scores in 0..1; NaN where there is nothing to find.

    Attributes:
        values: the twelve numbers by their `NAMES`.
        class_ap: (K,) AP of each class.
        class_ap50: (K,) AP at an overlap of one half.
    """

    values: dict[str, float]
    class_ap: NDArray[np.float64]
    class_ap50: NDArray[np.float64]


def coco_scores(
    truth: Sequence[TrueBoxes], found: Sequence[FoundBoxes], classes: int, *, backend: Backend = "auto"
) -> CocoScores:
    """Score detections.

    Args:
        truth: the images with their true boxes, labels in 0..K-1.
        found: detections of these images, by `image_id`; an image without any may be missing.
        classes: K.
        backend: the package that counts; auto takes the first that is installed.

    Raises:
        UserError: no such package, detections of unknown images or twice of one, a label that is out of
            range, or numbers that are not finite.
    """
    boxes = _found(truth, found, classes)
    true = _true(truth, classes)
    precision_TRKAM, recall_TKAM = _count(backend, true, boxes)
    at = precision_TRKAM[..., 0, -1]
    values = {
        "AP": _mean(at),
        "AP50": _mean(at[0]),
        "AP75": _mean(at[5]),
        **{f"AP{size}": _mean(precision_TRKAM[..., 1 + i, -1]) for i, size in enumerate("sml")},
        **{f"AR{most}": _mean(recall_TKAM[..., 0, i]) for i, most in enumerate((1, 10, 100))},
        **{f"AR{size}": _mean(recall_TKAM[..., 1 + i, -1]) for i, size in enumerate("sml")},
    }
    each = np.array([_mean(at[:, :, k]) for k in range(classes)])
    each50 = np.array([_mean(at[0, :, k]) for k in range(classes)])
    return CocoScores(values, each, each50)


def percent(value: float) -> str:
    """A score times 100 with one decimal, as COCO's numbers are given; "n/a" for NaN."""
    return "n/a" if np.isnan(value) else f"{100 * value:.1f}"


def check_found(truth: Sequence[TrueBoxes], found: Sequence[FoundBoxes], classes: int) -> None:
    """Nothing, unless detections do not fit the images.

    Raises:
        UserError: as `coco_scores`.
    """
    known, seen = {image.id for image in truth}, set()
    for image in found:
        where = f"detections of image {image.image_id}"
        if image.image_id not in known:
            raise UserError(f"{where}: there is no image with that id")
        if image.image_id in seen:
            raise UserError(f"{where} come twice")
        seen.add(image.image_id)
        labels = np.asarray(image.labels)
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            wrong = labels[(labels < 0) | (labels >= classes)][0]
            raise UserError(f"{where}: label {wrong} is out of range; there are {classes} classes, from 0")
        if not all(np.isfinite(np.asarray(values)).all() for values in (image.boxes, image.scores)):
            raise UserError(f"{where}: a box or a score is not finite")


def _mean(values: NDArray[np.float64]) -> float:
    """The mean of what is there: COCO writes -1 where there is nothing to find."""
    there = values[values > -1]
    return float(there.mean()) if there.size else float("nan")


def _found(truth: Sequence[TrueBoxes], found: Sequence[FoundBoxes], classes: int) -> NDArray[np.float64]:
    """(n, 7) image id, x, y, w, h, score, label from 1, in the images' order."""
    check_found(truth, found, classes)
    by_id = {image.image_id: image for image in found}
    rows = [np.zeros((0, 7))]
    for image in truth:
        one = by_id.get(image.id)
        if one is None or not len(one.scores):
            continue
        corners = np.asarray(one.boxes, np.float64)
        columns = (
            np.full(len(corners), float(image.id)),
            *corners[:, :2].T,
            *(corners[:, 2:] - corners[:, :2]).T,
            np.asarray(one.scores, np.float64),
            np.asarray(one.labels, np.float64) + 1,
        )
        rows.append(np.stack(columns, 1))
    return np.concatenate(rows)


def _true(truth: Sequence[TrueBoxes], classes: int) -> dict[str, Any]:
    """The truth as a COCO file has it; classes count from 1."""
    annotations: list[dict[str, Any]] = []
    for image in truth:
        corners = np.asarray(image.boxes, np.float64).reshape(-1, 4)
        sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist()
        columns = (sides, image.labels.tolist(), image.crowd.tolist(), image.areas.tolist())
        for box, label, crowd, area in zip(*columns, strict=True):
            if not 0 <= label < classes:
                raise UserError(f"image {image.id}: label {label} is not in 0..{classes - 1}")
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                    "ignore": int(crowd),
                }
            )
    images = [{"id": image.id, "width": image.width, "height": image.height} for image in truth]
    names = [{"id": number, "name": f"class {number}"} for number in range(1, classes + 1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": names}


def _count(
    backend: Backend, true: dict[str, Any], found: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision (T, R, K, A, M) and recall (T, K, A, M); -1 where there is nothing to find."""
    name: str = backend
    if backend == "auto":
        there = [name for name, module in BACKENDS.items() if importlib.util.find_spec(module)]
        name = there[0] if there else "hotcoco"
    if name not in BACKENDS:
        raise UserError(f"no package {name!r} for COCO's numbers; there are {', '.join(BACKENDS)}")
    package = needs(BACKENDS[name], to="compute COCO's numbers", install=name)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says at length that it works
        if name == "hotcoco":
            gold = package.COCO(true)
            scorer = package.COCOeval(gold, gold.load_res(found), "bbox")
        elif name == "faster-coco-eval":
            gold, mine = package.COCO(true), package.COCO(_results(true, found))
            scorer = package.COCOeval_faster(gold, mine, "bbox")
        else:
            coco = needs("pycocotools.coco", to="compute COCO's numbers", install=name)
            module = needs("pycocotools.cocoeval", to="compute COCO's numbers", install=name)
            gold, mine = coco.COCO(), coco.COCO()
            gold.dataset, mine.dataset = true, _results(true, found)
            gold.createIndex()
            mine.createIndex()
            scorer = module.COCOeval(gold, mine, "bbox")
        scorer.evaluate()
        scorer.accumulate()
    return np.asarray(scorer.eval["precision"]), np.asarray(scorer.eval["recall"])


def _results(true: dict[str, Any], found: NDArray[np.float64]) -> dict[str, Any]:
    rows = [
        {
            "id": number,
            "image_id": int(image),
            "category_id": int(label),
            "bbox": box,
            "area": box[2] * box[3],
            "score": score,
            "iscrowd": 0,
        }
        for number, (image, *box, score, label) in enumerate(found.tolist(), 1)
    ]
    return {**true, "annotations": rows}
