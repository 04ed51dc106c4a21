"""Scores predictions with the functions that the catalogue names, in the units of its results (ours).

Every number comes with how many items it is of, the metric's id, and the convention used.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.errors import UserError
from vlp_atlas import score_files

Missing = Literal["error", "zero"]
REQUIRED_MISSING = 3  # exit code: a metric that was required could not be computed
JAVA = {"meteor-java": "meteor", "spice-java": "spice"}
"""metrics whose code is Java, by the name people know; never replaced silently by ours"""


class Score(NamedTuple):
    """A number, or why there is none.

    Attributes:
        metric: id in the catalogue.
        value: None if it could not be computed.
        unit: percent, x100, metres or none, as the catalogue writes the metric's results.
        n: items it is of.
        convention: how it was computed.
        note: what a reader must know; for no value, why.
    """

    metric: str
    value: float | None
    unit: str
    n: int
    convention: str
    note: str = ""


@dataclass
class Scores:
    """The scores of one file of predictions, and what was odd about it."""

    task: str
    scores: list[Score] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(
        self, metric: str, value: float, n: int, convention: str, unit: str = "percent", note: str = ""
    ) -> None:
        """Add a number; a fraction is written in percent."""
        shown = 100 * value if unit in ("percent", "x100") else value
        self.scores.append(Score(metric, float(shown), unit, n, convention, note))


def score(
    task: str, pred: Path, gold: Path, *, missing: Missing = "error", convention: str | None = None
) -> Scores:
    """Score a file of predictions.

    Args:
        task: a key of TASKS, or any name of a task that the catalogue knows.
        pred: predictions.
        gold: the truth.
        missing: whether a missing prediction is an error, or scores nothing.
        convention: of the task's metric; its usual one by default.

    Raises:
        UserError: an unknown task, files that do not fit, missing predictions.
    """
    name = task if task in TASKS else _known(task)
    for path in (pred, gold):
        if not path.exists():
            raise UserError(f"{path}: no such file")
    found = Scores(name)
    TASKS[name](found, pred, gold, missing, convention)
    return found


def _known(task: str) -> str:
    from vlp_atlas import Atlas

    name = Atlas.load().resolve(task, "tasks")[1]
    if name not in TASKS:
        raise UserError(f"{name}: no scorer for it here; there are {', '.join(TASKS)}")
    return name


def _choice(convention: str | None, known: Sequence[str]) -> str:
    if convention is None:
        return known[0]
    if convention not in known:
        raise UserError(f"--convention {convention}: there are {', '.join(known)}")
    return convention


def _predictions(found: Scores, pred: Path) -> dict[str, str]:
    told = score_files.predicted_texts(pred)
    found.counts |= {"predictions": len(told.values), "numeric": told.numbers, "empty": told.empty}
    return told.values


def _paired(
    found: Scores, pred: Path, gold: Path, missing: Missing
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Predictions, truth, and the ids to score; a missing one is among them only if it may be missing."""
    from nonet.metrics.predictions import align

    predicted, truth = score_files.values(pred), score_files.values(gold)
    aligned = align(predicted, truth, missing=missing)
    found.counts |= {
        "predictions": len(predicted), "missing": len(aligned.missing), "extra": len(aligned.extra),
    }  # fmt: skip
    return predicted, truth, list(truth) if missing == "zero" else aligned.ids


def _vqa(
    found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None, stem: bool = False
) -> None:
    from nonet.metrics.vqa import CONVENTIONS, vqa_accuracy

    chosen = _choice(convention, list(CONVENTIONS))
    predicted = _predictions(found, pred)
    answers, types, numbered = score_files.answer_lists(gold)
    told = vqa_accuracy(
        predicted, answers, convention=chosen, types=types or None, stem=stem, answer_ids=numbered,  # type: ignore[arg-type]
        missing=missing,
    )  # fmt: skip
    found.counts |= {"missing": told.missing, "extra": told.extra}
    found.add("vqa-acc", told.accuracy, len(answers), chosen)
    for kind, value in told.by_type.items():
        number = sum(one == kind for one in types.values())
        found.add("vqa-acc", value, number, chosen, note=f"answers of type {kind}")


def _anls(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.documents import SIDES, anls

    chosen = _choice(convention, list(SIDES))
    predicted = _predictions(found, pred)
    answers, _, _ = score_files.answer_lists(gold)
    told = anls(predicted, answers, side=chosen, missing=missing)  # type: ignore[arg-type]
    found.counts |= {"missing": told.missing, "extra": told.extra}
    found.add("anls", told.mean, len(answers), f"threshold 0.5, {chosen}", "fraction")


def _accuracy(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.classification import accuracy, macro_f1

    _choice(convention, ["exact"])
    predicted, truth, ids = _paired(found, pred, gold, missing)
    ours, theirs = [str(predicted.get(key, "\0missing")) for key in ids], [str(truth[key]) for key in ids]
    found.add("accuracy", accuracy(ours, theirs), len(ids), "exact match of labels")
    found.add("macro-f1", macro_f1(ours, theirs), len(ids), "mean over the labels that occur")


def _nlvr2(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.reasoning import nlvr2, nlvr2_sentence

    _choice(convention, ["exact"])
    predicted, truth, ids = _paired(found, pred, gold, missing)
    ours = [_truth(predicted.get(key)) for key in ids]
    theirs = [_truth(truth[key]) for key in ids]
    told = nlvr2(ours, theirs, [nlvr2_sentence(key) for key in ids])
    found.add("accuracy", told.accuracy, len(ids), "pairs of images")
    found.add("consistency", told.consistency, told.sentences, "sentences with all pairs right")


def _truth(label: Any) -> str:
    return str(label).strip().lower()


def _referring(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.grounding import referring_accuracy

    form = _choice(convention, ["xyxy", "xywh"])
    predicted, truth, ids = _paired(found, pred, gold, missing)
    there = [key for key in ids if key in predicted]
    value = referring_accuracy([predicted[key] for key in there], [truth[key] for key in there], form=form)  # type: ignore[arg-type]
    found.add("referring-acc", value * len(there) / len(ids), len(ids), f"IoU > 0.5, boxes {form}")


def _retrieval(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.cross_modal import cross_modal, fold_mean

    chosen = _choice(convention, ["all", "1k-folds"])
    owner = score_files.read(gold)
    if not isinstance(owner, list):
        raise UserError(f"{gold}: expected a list: the number of the image (from 0) of each text")
    similarity = _matrix(pred)
    told = (fold_mean if chosen == "1k-folds" else cross_modal)(similarity, owner)
    found.counts |= {"images": len(similarity), "texts": len(owner)}
    tied = max(told.text_to_image.ties, told.image_to_text.ties)
    note = f"{tied:.1%} of queries tie, counted pessimistically" if tied else ""
    for prefix, way in (("ir", told.text_to_image), ("tr", told.image_to_text)):
        for cut, value in way.recall.items():
            found.add(f"{prefix}-recall-at-{cut}", value, way.queries, chosen, note=note)
    for metric, get in (("median-rank", "median_rank"), ("mean-rank", "mean_rank")):
        for way, name in ((told.text_to_image, "text to image"), (told.image_to_text, "image to text")):
            found.add(metric, getattr(way, get), way.queries, chosen, "count", name)
    found.add("rsum", told.rsum, told.text_to_image.queries, chosen, "none", "sum of six recalls in percent")


def _matrix(path: Path) -> Any:
    """Similarities, images by texts, of a .npy or JSON file."""
    import numpy

    try:
        if path.suffix == ".npy":
            return numpy.load(path, allow_pickle=False)
        return numpy.asarray(score_files.read(path), dtype=numpy.float64)
    except UserError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{path}: no matrix of numbers: {error}") from None


def _sentiment(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.sentiment import sentiment

    weigh = _choice(convention, ["truth", "predictions"])
    if missing == "zero":
        raise UserError("--missing zero: no prediction of a sentiment counts nothing; add the missing ones")
    predicted, truth, ids = _paired(found, pred, gold, missing)
    told = sentiment([predicted[key] for key in ids], [truth[key] for key in ids], weigh_by=weigh)  # type: ignore[arg-type]
    kept = len(ids) - told.zeros
    how = f"F1 weighed by {weigh}"
    found.add("mae", told.mae, len(ids), "mean", "none")
    found.add("pearson", told.pearson, len(ids), "sample", "fraction")
    found.add("acc-7", told.acc_7, len(ids), "halves round to even")
    found.add("acc-2-nonneg", told.acc_2_nonneg, len(ids), "negative against not negative")
    found.add("f1-nonneg", told.f1_nonneg, len(ids), how)
    found.add("acc-2-pos", told.acc_2_pos, kept, "negative against positive, zeros left out")
    found.add("f1-pos", told.f1_pos, kept, how)


def _captions(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from vlp_atlas.caption_scoring import caption_scores

    if convention is not None:
        raise UserError(f"--convention {convention}: captions are scored by all metrics, each by its own")
    predicted = _predictions(found, pred)
    caption_scores(found, predicted, score_files.caption_lists(gold), missing=missing)


def _ok_vqa(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    _vqa(found, pred, gold, missing, convention, stem=True)


TASKS: dict[str, Callable[[Scores, Path, Path, Missing, str | None], None]] = {
    "vqa": _vqa, "text-vqa": _vqa, "ok-vqa": _ok_vqa, "doc-vqa": _anls, "gqa": _accuracy, "nlvr2": _nlvr2,
    "snli-ve": _accuracy, "video-qa": _accuracy, "category-recognition": _accuracy, "accuracy": _accuracy,
    "referring-expressions": _referring, "image-text-retrieval": _retrieval, "retrieval": _retrieval,
    "captioning": _captions, "sentiment": _sentiment,
}  # fmt: skip
"""scorers by the task's id; a few short names beside"""


def report(found: Scores, *, require: Sequence[str] = (), as_json: bool = False) -> int:
    """Print scores; the exit code is 3 if a required metric has no value."""
    names = {JAVA.get(each.metric, each.metric): each for each in found.scores}
    names |= {each.metric: each for each in found.scores}
    unknown = [name for part in require for name in part.split(",") if name and name not in names]
    if unknown:
        raise UserError(f"--require {unknown[0]}: no metric of {found.task}; there are {', '.join(names)}")
    if as_json:
        told = {"task": found.task, "counts": found.counts, "scores": [one._asdict() for one in found.scores]}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))
    lacking = [name for part in require for name in part.split(",") if name and names[name].value is None]
    if lacking:
        print(f"vlp-atlas score: {', '.join(lacking)} could not be computed and is required", file=sys.stderr)
        return REQUIRED_MISSING
    return 0


def _lines(found: Scores) -> list[str]:
    from vlp_atlas.tables import grid

    body = [
        [
            one.metric,
            f"{one.value:.4f}" if one.value is not None else "",
            "" if one.unit == "none" else one.unit,
            str(one.n) if one.n else "",
            one.convention,
            one.note,
        ]
        for one in found.scores
    ]
    counted = ", ".join(f"{number} {name}" for name, number in found.counts.items())
    return [*grid(["metric", "value", "unit", "n", "convention", "note"], body, right={1, 3}), counted]
