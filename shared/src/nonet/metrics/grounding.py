"""Finding what words speak of: referring expressions, phrases, relations (numpy).

Sources: Kazemzadeh et al. 2014 and Yu et al. 2016 (RefCOCO; right is an overlap above one half); Plummer et
al. 2015 (Flickr30k Entities; right is at least one half) and, for any-box and merged-box, Kamath et al. 2021,
"MDETR"; Lu et al. 2016, "Visual Relationship Detection with Language Priors" (recall among the first 50 or
100).
"""

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nonet.errors import UserError
from nonet.metrics.boxes import Floats, Format, Scale, check_boxes, iou, merged, paired_iou, same_scale
from nonet.metrics.predictions import same_length

HALF = 0.5
Protocol = Literal["any", "merged"]


class PhraseRecall(NamedTuple):
    """Recall at each k, 0..1, the share that is found at all, and the number of phrases."""

    at: dict[int, float]
    bound: float
    phrases: int


class Relation(NamedTuple):
    """A relation in an image: labels of subject, predicate and object, and the boxes of the two.

    Attributes:
        triple: (subject, predicate, object).
        boxes: (2, 4) xyxy of subject and object.
        score: of a prediction; the truth does not use it.
    """

    triple: tuple[Hashable, Hashable, Hashable]
    boxes: ArrayLike
    score: float = 0.0


def referring_accuracy(
    predicted: ArrayLike,
    gold: ArrayLike,
    *,
    threshold: float = HALF,
    form: Format = "xyxy",
    scale: Scale = "any",
) -> float:
    """Share of expressions whose box overlaps the true one by *more* than the threshold (strictly), 0..1.

    `referring_accuracy([[0, 0, 2, 2]], [[0, 0, 2, 4]])` is 0, as the overlap is exactly one half.

    Args:
        predicted: (n, 4) a box for each expression; whether it was chosen among true or detected boxes is
            another measurement, and must be said with the number.
        gold: (n, 4) the true ones, of the same scale.
        threshold: of intersection over union.
        form: of both.
        scale: of both, see `check_boxes`.

    Raises:
        UserError: a box is none (see `check_boxes`), numbers differ, or scales do.
    """
    ours = check_boxes(predicted, "predicted boxes", form=form, scale=scale)
    theirs = check_boxes(gold, "true boxes", form=form, scale=scale)
    same_length(ours.tolist(), theirs.tolist(), "predicted and true boxes")
    if scale == "any":
        same_scale(ours, theirs, "predicted and true boxes")
    return float((paired_iou(ours, theirs) > threshold).mean())


def phrase_recall(
    predicted: Sequence[ArrayLike],
    gold: Sequence[ArrayLike],
    *,
    protocol: Protocol,
    cuts: Sequence[int] = (1, 5, 10),
    threshold: float = HALF,
    form: Format = "xyxy",
    scale: Scale = "any",
) -> PhraseRecall:
    """Share of phrases for which one of the first k boxes overlaps the truth by *at least* the threshold.

    Args:
        predicted: (n, 4) boxes of each phrase, best first; a phrase may have none.
        gold: (m, 4) true boxes of each phrase, m >= 1.
        protocol: `"any"`: one of the true boxes is enough; `"merged"`: the box around all of them is the
            truth.
        cuts: values of k, from 1.
        threshold: of intersection over union.
        form: of all boxes.
        scale: of all boxes, see `check_boxes`.

    Raises:
        UserError: unknown protocol, a wrong cut or box, a phrase without truth, or other numbers of phrases.
    """
    if protocol not in ("any", "merged"):
        raise UserError(f"no protocol {protocol!r} for phrases; there are any and merged")
    if not cuts or min(cuts) < 1:
        raise UserError(f"cuts are whole numbers from 1, got {list(cuts)}")
    same_length(predicted, gold, "phrases with predicted and with true boxes")
    hits = dict.fromkeys(cuts, 0)
    found = 0
    for place, (guesses, truth) in enumerate(zip(predicted, gold, strict=True)):
        ours = check_boxes(guesses, f"phrase {place}, predicted boxes", form=form, scale=scale)
        theirs = check_boxes(truth, f"phrase {place}, true boxes", form=form, scale=scale)
        if not len(theirs):
            raise UserError(f"phrase {place} has no true box; leave such phrases out")
        if scale == "any":
            same_scale(ours, theirs, f"phrase {place}")
        overlap = iou(ours, merged(theirs) if protocol == "merged" else theirs).max(1)
        right = np.flatnonzero(overlap >= threshold)
        found += bool(len(right))
        for cut in hits:
            hits[cut] += bool(len(right) and right[0] < cut)
    return PhraseRecall({cut: n / len(gold) for cut, n in hits.items()}, found / len(gold), len(gold))


def relation_recall(
    predicted: Sequence[Sequence[Relation]],
    gold: Sequence[Sequence[Relation]],
    *,
    cut: int,
    boxes: Literal["relation", "phrase", "none"] = "relation",
    threshold: float = HALF,
) -> float:
    """Share of true relations that the k best predictions of their image find, over all images, 0..1 (VRD).

    A prediction with the right triple takes the true relation that it overlaps most and that no better
    prediction has taken.

    Args:
        predicted: relations of each image, in any order; equal scores keep theirs.
        gold: the true ones.
        cut: how many predictions of an image count, 50 or 100.
        boxes: what must overlap by at least the threshold: `"relation"` both boxes, `"phrase"` the box around
            both, `"none"` nothing (predicate detection: boxes are given, and must be equal to the true ones).
        threshold: of intersection over union.

    Raises:
        UserError: another kind, a cut below 1, a wrong box, a score that is NaN, other numbers of images, or
            no true relation at all.
    """
    if boxes not in ("relation", "phrase", "none") or cut < 1:
        raise UserError(
            f"relations are compared by relation, phrase or none, and cuts are from 1; got {boxes}, {cut}"
        )
    same_length(predicted, gold, "images with predicted and with true relations")
    hits = total = 0
    for place, (guesses, truth) in enumerate(zip(predicted, gold, strict=True)):
        if any(guess.score != guess.score for guess in guesses):
            raise UserError(f"image {place}: the score of a predicted relation is not a number (NaN)")
        total += len(truth)
        best = sorted(guesses, key=lambda relation: -relation.score)[:cut]
        hits += _found(best, truth, boxes, threshold, f"image {place}")
    if not total:
        raise UserError("there are no true relations, so that recall is not defined")
    return hits / total


def _found(
    best: Sequence[Relation], truth: Sequence[Relation], boxes: str, threshold: float, where: str
) -> int:
    ours = [_pair(relation, f"{where}, predicted relation") for relation in best]
    theirs = [_pair(relation, f"{where}, true relation") for relation in truth]
    free = set(range(len(truth)))
    for guess, pair in zip(best, ours, strict=True):
        fits = [
            (overlap, -number)
            for number in free
            if truth[number].triple == guess.triple
            and (overlap := _overlap(pair, theirs[number], boxes)) >= (1.0 if boxes == "none" else threshold)
        ]
        if fits:
            free.remove(-max(fits)[1])
    return len(truth) - len(free)


def _overlap(ours: Floats, theirs: Floats, boxes: str) -> float:
    if boxes == "none":
        return float(np.array_equal(ours, theirs))
    if boxes == "phrase":
        return float(iou(merged(ours), merged(theirs))[0, 0])
    return float(paired_iou(ours, theirs).min())


def _pair(relation: Relation, what: str) -> Floats:
    pair = check_boxes(relation.boxes, what)
    if len(pair) != 2:
        raise UserError(f"{what} needs the two boxes of subject and object, but has {len(pair)}")
    return pair
