"""Scores predictions with the functions that the catalogue names, in the units of its results (ours).

Every number comes with how many items it is of, the metric's id, and the convention used.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from vlp_atlas import answer_scoring, navigation_scoring, score_files, search_scoring
from vlp_atlas.scores import Missing, Score, Scores, choice, matrix, paired, predictions

__all__ = ["JAVA", "TASKS", "UNSCORED", "Missing", "Score", "Scores", "report", "score"]

REQUIRED_MISSING = 3  # exit code: a metric that was required could not be computed
JAVA = {"meteor-java": "meteor", "spice-java": "spice"}
"""metrics whose code is Java, by the name people know; never replaced silently by ours"""


def score(
    task: str,
    pred: Path,
    gold: Path,
    *,
    missing: Missing = "error",
    convention: str | None = None,
    graph: Path | None = None,
) -> Scores:
    """Score a file of predictions.

    Args:
        task: a key of TASKS, or any name of a task that the catalogue knows.
        pred: predictions.
        gold: the truth.
        missing: whether a missing prediction is an error, or scores nothing.
        convention: of the task's metric; its usual one by default.
        graph: viewpoints of navigation, see `navigation_scoring`; for no other task.

    Raises:
        UserError: an unknown task or one that is not scored here, files that do not fit, missing predictions.
    """
    name = task if task in TASKS else _known(task)
    if graph is not None and name != "navigation":
        raise UserError(f"--graph: {name} has no graph; leave it out")
    for path in (pred, gold, *([graph] if graph else [])):
        if not path.exists():
            raise UserError(f"{path}: no such file")
    found = Scores(name, graph=graph)
    TASKS[name](found, pred, gold, missing, convention)
    return found


def _known(task: str) -> str:
    from vlp_atlas import Atlas

    name = Atlas.load().resolve(task, "tasks")[1]
    if name in UNSCORED:
        raise UserError(f"{name} is not scored here: {UNSCORED[name]}")
    if name not in TASKS:
        raise UserError(f"{name}: no scorer for it here; there are {', '.join(TASKS)}")
    return name


def _vqa(
    found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None, stem: bool = False
) -> None:
    from nonet.metrics.vqa import CONVENTIONS, vqa_accuracy

    chosen = choice(convention, list(CONVENTIONS))
    predicted = predictions(found, pred)
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

    chosen = choice(convention, list(SIDES))
    predicted = predictions(found, pred)
    answers, _, _ = score_files.answer_lists(gold)
    told = anls(predicted, answers, side=chosen, missing=missing)  # type: ignore[arg-type]
    found.counts |= {"missing": told.missing, "extra": told.extra}
    found.add("anls", told.mean, len(answers), f"threshold 0.5, {chosen}", "fraction")


def _accuracy(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.classification import accuracy, macro_f1

    choice(convention, ["exact"])
    predicted, truth, ids = paired(found, pred, gold, missing)
    ours, theirs = [str(predicted.get(key, "\0missing")) for key in ids], [str(truth[key]) for key in ids]
    found.add("accuracy", accuracy(ours, theirs), len(ids), "exact match of labels")
    found.add("macro-f1", macro_f1(ours, theirs), len(ids), "mean over the labels that occur")


def _nlvr2(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.reasoning import nlvr2, nlvr2_sentence

    choice(convention, ["exact"])
    predicted, truth, ids = paired(found, pred, gold, missing)
    ours = [_truth(predicted.get(key)) for key in ids]
    theirs = [_truth(truth[key]) for key in ids]
    told = nlvr2(ours, theirs, [nlvr2_sentence(key) for key in ids])
    found.add("accuracy", told.accuracy, len(ids), "pairs of images")
    found.add("consistency", told.consistency, told.sentences, "sentences with all pairs right")


def _truth(label: Any) -> str:
    return str(label).strip().lower()


def _referring(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.grounding import referring_accuracy

    form = choice(convention, ["xyxy", "xywh"])
    predicted, truth, ids = paired(found, pred, gold, missing)
    there = [key for key in ids if key in predicted]
    ours = [_box(predicted[key], f"{pred}: {key}") for key in there]
    theirs = [_box(truth[key], f"{gold}: {key}") for key in there]
    value = referring_accuracy(ours, theirs, form=form)  # type: ignore[arg-type]
    found.add("referring-acc", value * len(there) / len(ids), len(ids), f"IoU > 0.5, boxes {form}")


def _box(held: Any, where: str) -> list[float]:
    if not isinstance(held, list) or len(held) != 4:
        raise UserError(f"{where}: expected a box of four numbers, not {held!r:.60}")
    return score_files.numbers(held, [where] * 4, where)


def _retrieval(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.cross_modal import cross_modal, fold_mean

    chosen = choice(convention, ["all", "1k-folds"])
    owner = score_files.read(gold)
    if not isinstance(owner, list):
        raise UserError(f"{gold}: expected a list: the number of the image (from 0) of each text")
    similarity = matrix(pred)
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


def _sentiment(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    from nonet.metrics.sentiment import sentiment

    weigh = choice(convention, ["truth", "predictions"])
    if missing == "zero":
        raise UserError("--missing zero: no prediction of a sentiment counts nothing; add the missing ones")
    predicted, truth, ids = paired(found, pred, gold, missing)
    ours = score_files.numbers([predicted[key] for key in ids], ids, pred)
    theirs = score_files.numbers([truth[key] for key in ids], ids, gold)
    told = sentiment(ours, theirs, weigh_by=weigh)  # type: ignore[arg-type]
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
    predicted = predictions(found, pred)
    caption_scores(found, predicted, score_files.caption_lists(gold), missing=missing)


def _ok_vqa(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    _vqa(found, pred, gold, missing, convention, stem=True)


def _video_qa(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    if choice(convention, ["exact", "count", "count-rounded"]) == "exact":
        _accuracy(found, pred, gold, missing, None)
    else:
        answer_scoring.counts(found, pred, gold, missing, convention)


TASKS: dict[str, Callable[[Scores, Path, Path, Missing, str | None], None]] = {
    "vqa": _vqa, "text-vqa": _vqa, "ok-vqa": _ok_vqa, "doc-vqa": _anls, "nlvr2": _nlvr2,
    "snli-ve": _accuracy, "video-inference": _accuracy, "category-recognition": _accuracy,
    "accuracy": _accuracy, "video-qa": _video_qa, "referring-expressions": _referring,
    "image-text-retrieval": _retrieval, "retrieval": _retrieval, "captioning": _captions,
    "sentiment": _sentiment, "navigation": navigation_scoring.walks,
    "gqa": answer_scoring.compositional, "a-okvqa": answer_scoring.a_okvqa, "vcr": answer_scoring.commonsense,
    "hateful-memes": answer_scoring.hateful, "document-understanding": answer_scoring.documents,
    "video-retrieval": search_scoring.videos, "moment-retrieval": search_scoring.moments,
    "visual-dialog": search_scoring.dialogues, "phrase-grounding": search_scoring.phrases,
    "relation-detection": search_scoring.relations,
}  # fmt: skip
"""scorers by the task's id; a few short names beside"""

UNSCORED = {
    "text-to-image": "FID, Inception score and CLIPScore need images and the weights of other networks; "
    "their features go into nonet.metrics.image_generation",
    "multimodal-translation": "BLEU of translations has tokenisers of its own; use sacrebleu",
}
"""tasks of the catalogue without a scorer, and why"""


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
