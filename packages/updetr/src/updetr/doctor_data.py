"""What in the labels can keep a detector from learning (ours; the questions users ask most).

Levels: `wrong` will not work, `look` may be the reason, `fine` was looked at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from nonet.data.images import fitted_size
from nonet.data.labelled_boxes import LabelledImages, listed
from nonet.errors import UserError
from updetr.box_transforms import shares
from updetr.finetune_data import open_labelled

FEW = 10  # boxes of a class below which its score says little
CROWDED = 0.8  # share of the queries that an image's boxes may take
SAMPLED = 32  # images that are decoded


class Finding(NamedTuple):
    """One thing that was looked at: how bad, what it is about, what was found and what to do."""

    level: Literal["fine", "look", "wrong"]
    about: str
    says: str


def data_findings(
    labelled: LabelledImages,
    names: Sequence[str] | None,
    *,
    queries: int,
    stride: int,
    scale: int,
    longest: int,
) -> list[Finding]:
    """Look at the labels beside the detector that learns them.

    Args:
        labelled: training data.
        names: of the detector's classes; None where there is no detector yet.
        queries: of the detector.
        stride: of the map that it encodes, pixels.
        scale: shorter side of an image as it sees it, pixels.
        longest: longer side at most, pixels.
    """
    return [
        _classes(labelled, names),
        _rare(labelled),
        _empty(labelled),
        _queries(labelled, queries),
        _ranges(labelled),
        _sizes(labelled, stride, scale, longest),
        _defects(labelled),
    ]


def _classes(labelled: LabelledImages, names: Sequence[str] | None) -> Finding:
    count = len(labelled.names)
    if names is None or tuple(names) == labelled.names:
        return Finding(
            "fine", "classes", f"{count}, numbered 0 to {count - 1}; no object is one more, our own"
        )
    if set(names) == set(labelled.names):
        return Finding(
            "look", "classes", "model and data have the same ones in another order; they go by name"
        )
    unknown = [name for name in labelled.names if name not in names]
    if unknown:
        return Finding(
            "wrong", "classes",
            f"the data have {listed(unknown)}, the model only {listed(list(names))}: fine-tune it on them",
        )  # fmt: skip
    return Finding("look", "classes", f"the model has {len(names)}, the data {count} of them")


def _rare(labelled: LabelledImages) -> Finding:
    counts = labelled.boxes_a_class()
    none = [name for name, count in zip(labelled.names, counts, strict=True) if not count]
    few = [f"{name} ({count})" for name, count in zip(labelled.names, counts, strict=True) if 0 < count < FEW]
    if none:
        return Finding("look", "boxes", f"none of {listed(none)}: that class cannot be found")
    if few:
        return Finding("look", "boxes", f"few of {listed(few)}: scores of these classes say little")
    return Finding("fine", "boxes", f"{int(counts.sum())}, at least {int(counts.min())} of each class")


def _empty(labelled: LabelledImages) -> Finding:
    empty = sum(not (~image.crowd).any() for image in labelled.images)
    share = empty / len(labelled)
    text = f"{empty} of {len(labelled)} have no box"
    if share > 0.5:
        more = ": most of what is learnt is no object; leave some out, or lower loss.no_object"
        return Finding("look", "images", text + more)
    return Finding("fine", "images", text)


def _queries(labelled: LabelledImages, queries: int) -> Finding:
    counts = np.array([int((~image.crowd).sum()) for image in labelled.images])
    most, path = labelled.most_boxes()
    where = f"an image has {most} boxes ({Path(path or '').name})"
    if most > queries:
        lost = int(np.clip(counts - queries, 0, None).sum())
        return Finding(
            "wrong", "queries", f"{queries}, but {where}; {lost} boxes are never learnt: raise them"
        )
    if most > CROWDED * queries:
        return Finding("look", "queries", f"{queries}, and {where}: crowded; take some more")
    if counts.mean() * 50 < queries:
        return Finding(
            "look", "queries",
            f"{queries} for {counts.mean():.1f} boxes an image: if it finds nothing, lower loss.no_object",
        )  # fmt: skip
    return Finding("fine", "queries", f"{queries}; {where}, {counts.mean():.1f} on average")


def _ranges(labelled: LabelledImages) -> Finding:
    """Whether boxes become cxcywh in 0..1, on images that are really opened."""
    step = max(1, len(labelled) // SAMPLED)
    for image in labelled.images[::step]:
        try:
            boxes = shares(open_labelled(image))
        except UserError as error:
            return Finding("wrong", "cxcywh", str(error))
        if len(boxes) and not (boxes.min() >= 0 and boxes.max() <= 1):
            return Finding(
                "wrong",
                "cxcywh",
                f"{image.path.name}: a box in {boxes.min():.2f}..{boxes.max():.2f}, not 0..1",
            )
    return Finding("fine", "cxcywh", "in 0..1, and sizes of images are those that the labels say")


def _sizes(labelled: LabelledImages, stride: int, scale: int, longest: int) -> Finding:
    sides: list[float] = []
    for image in labelled.images:
        factor = fitted_size(image.width, image.height, scale, longest)[0] / image.width
        boxes = image.boxes[~image.crowd]
        sides += ((boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) * factor).tolist()
    if not sides:
        return Finding("wrong", "sizes", "there is no box")
    small = float(np.mean(np.array(sides) < stride / 2))
    text = f"the median box is {np.median(sides):.0f} pixels across where the model sees it"
    if small > 0.3:
        more = f"; {100 * small:.0f} % are below half a cell ({stride} pixels): raise the scales, or dilation"
        return Finding("look", "sizes", text + more)
    return Finding("fine", "sizes", text)


def _defects(labelled: LabelledImages) -> Finding:
    if labelled.defects:
        return Finding(
            "look", "labels",
            f"{len(labelled.defects)} defects, the first: {labelled.defects[0]} (`updetr data check`)",
        )  # fmt: skip
    return Finding("fine", "labels", "no defects")
