"""Scores what was found: videos, moments, answers of a dialogue, boxes of phrases, relations (ours).

Formats are those of the data sets where they have one: submissions of TVR, ranks and annotations of VisDial,
annotations of VRD (whose boxes are top, bottom, left, right).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from vlp_atlas import score_files
from vlp_atlas.scores import Missing, Scores, choice, matched, matrix

ANNOTATORS = 4  # of a moment of DiDeMo, at least
AGREE = 2  # of them must be overlapped


def videos(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """Recall and ranks of both directions from a matrix of similarities, videos by texts."""
    from nonet.metrics.cross_modal import cross_modal, dual_softmax

    chosen = choice(convention, ["plain", "dual-softmax"])
    owner = score_files.read(gold)
    if not isinstance(owner, list):
        raise UserError(f"{gold}: expected a list: the number of the video (from 0) of each text")
    similarity = matrix(pred)
    found.counts |= {"videos": len(similarity), "texts": len(owner)}
    if chosen == "plain":
        both = cross_modal(similarity, owner)
        to_video, to_text = both.text_to_image, both.image_to_text
    else:
        to_video = cross_modal(dual_softmax(similarity, queries="columns"), owner).text_to_image
        to_text = cross_modal(dual_softmax(similarity, queries="rows"), owner).image_to_text
    how = chosen if chosen == "plain" else "dual-softmax over all test queries, scale 1"
    for prefix, way in (("t2v", to_video), ("v2t", to_text)):
        note = f"{way.ties:.1%} of queries tie, counted pessimistically" if way.ties else ""
        for cut, value in way.recall.items():
            found.add(f"{prefix}-recall-at-{cut}", value, way.queries, how, note=note)
    for way, name in ((to_video, "text to video"), (to_text, "video to text")):
        found.add("median-rank", way.median_rank, way.queries, how, "count", name)
        found.add("mean-rank", way.mean_rank, way.queries, how, "count", name)


def moments(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """R@1 at overlaps of .5 and .7, in the right video or in the whole collection."""
    from nonet.metrics.moments import moment_recall, time_iou

    chosen = choice(convention, ["one-video", "collection"])
    guessed = _first_spans(pred, gold, chosen == "collection")
    truth = {key: _spans(record, f"{gold}: {key}", "ts") for key, record in score_files.by_id(gold).items()}
    found.counts["predictions"] = len(guessed)
    ids = matched(found, guessed, truth, missing)
    for overlap in (0.5, 0.7):
        hits = 0.0
        for key in ids:
            span, spans = guessed.get(key) or [], truth[key]
            if len(spans) == 1:
                hits += moment_recall([span], spans, overlap=overlap)
            elif span:
                hits += int((time_iou(span * len(spans), spans) >= overlap).sum()) >= AGREE
        found.add("moment-recall", hits / len(ids), len(ids), f"R@1, IoU >= {overlap}, {chosen}")


def _first_spans(pred: Path, gold: Path, collection: bool) -> dict[str, list[list[float]]]:
    """The best span of each query, none where its video is wrong; of TVR's submission or by id."""
    content = score_files.read(pred)
    if not (isinstance(content, Mapping) and "video2idx" in content):
        if collection:
            raise UserError(
                f"{pred}: spans in a collection need video2idx and VCMR, as in a submission to TVR"
            )
        return {
            key: _spans(record, f"{pred}: {key}", "predictions", least=0)[:1]
            for key, record in score_files.by_id(pred, content).items()
        }
    part = "VCMR" if collection else "SVMR"
    if not isinstance(content["video2idx"], Mapping):
        raise UserError(f"{pred}: video2idx gives each video its number")
    if not isinstance(content.get(part), list):
        raise UserError(f"{pred}: no {part}, the spans of {'the collection' if collection else 'one video'}")
    places, truth = content["video2idx"], score_files.by_id(gold)
    told: dict[str, list[list[float]]] = {}
    for key, record in score_files.by_id(pred, content[part]).items():
        rows = record.get("predictions")
        if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) < 3 for row in rows):
            raise UserError(f"{pred}: {key}: predictions are rows of video, start and end")
        video = truth[key].get("vid_name") if isinstance(truth.get(key), Mapping) else None
        if key in truth and video not in places:
            raise UserError(f"{pred}: {key}: its video {video!r} is not in video2idx")
        wanted = places.get(video)
        considered = rows[:1] if collection else rows
        told[key] = [row[1:3] for row in considered if row[0] == wanted][:1]
    return told


def _spans(record: Any, where: str, name: str, least: int = 1) -> list[list[float]]:
    spans = record.get(name, record.get("ts")) if isinstance(record, Mapping) else record
    if isinstance(spans, list) and len(spans) == 2 and not any(isinstance(one, list) for one in spans):
        spans = [spans]
    if not isinstance(spans, list) or any(not isinstance(one, list) or len(one) != 2 for one in spans):
        raise UserError(f"{where}: expected [start, end] in seconds, or several of them")
    if least and (not spans or 1 < len(spans) < ANNOTATORS):
        raise UserError(
            f"{where}: {len(spans)} true spans; there is one, or {ANNOTATORS} and more as in DiDeMo"
        )
    flat = [number for span in spans for number in span]
    score_files.numbers(flat, [where] * len(flat), where)
    return spans


def dialogues(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """VisDial: NDCG where answers have relevances, R@k, MRR and mean rank where the right answer is known."""
    from nonet.metrics.dialogue import answer_ranks, ndcg

    choice(convention, ["exact"])
    guessed, truth = _rounds(score_files.read(pred), pred), _rounds(score_files.read(gold), gold)
    found.counts["predictions"] = len(guessed)
    ids = matched(found, guessed, truth, missing)
    scores = {
        key: _options(guessed[key], ("ranks", "scores"), f"{pred}: {key}") for key in ids if key in guessed
    }
    graded = [key for key in ids if "gt_relevance" in truth[key]]
    known = [key for key in ids if "gt_index" in truth[key]]
    there = [key for key in graded if key in scores]
    if there:
        gains = [_options(truth[key], ("gt_relevance",), f"{gold}: {key}") for key in there]
        value = (
            ndcg(_even([scores[key] for key in there], pred), _even(gains, gold)) * len(there) / len(graded)
        )
        found.add("ndcg", value, len(graded), "K = answers with relevance above 0")
    else:
        found.skip("ndcg", "percent", "no round with gt_relevance in the truth, the dense annotations")
    there = [key for key in known if key in scores]
    if not there:
        why = "no round with gt_index in the truth, the dialogues"
        for metric, unit in (("mrr", "percent"), ("recall-at-k", "percent"), ("mean-rank", "count")):
            found.skip(metric, unit, why)
        return
    told = answer_ranks(
        _even([scores[key] for key in there], pred), [truth[key]["gt_index"] for key in there]
    )
    share = len(there) / len(known)
    note = f"{told.ties:.1%} of rounds tie, counted pessimistically" if told.ties else ""
    found.add("mrr", told.mrr * share, len(known), "ties pessimistic", note=note)
    for cut, value in told.recall.items():
        found.add("recall-at-k", value * share, len(known), f"R@{cut}, ties pessimistic", note=note)
    if len(there) < len(known):
        found.skip("mean-rank", "count", f"{len(known) - len(there)} rounds have no rank")
    else:
        found.add("mean-rank", told.mean_rank, len(known), "ties pessimistic", "count", note)


def _rounds(content: Any, path: Path) -> dict[str, Mapping[str, Any]]:
    """Rounds by `IMAGE-ROUND`, from 1: of lists with image_id and round_id, or of VisDial's dialogues."""
    data = content.get("data") if isinstance(content, Mapping) else None
    if isinstance(data, Mapping) and isinstance(data.get("dialogs"), list):
        try:
            content = [
                {"image_id": dialogue["image_id"], "round_id": place} | turn
                for dialogue in data["dialogs"]
                for place, turn in enumerate(dialogue["dialog"], 1)
            ]
        except (TypeError, KeyError):
            raise UserError(f"{path}: a dialogue has image_id and dialog, a list of rounds") from None
    if isinstance(content, Mapping):
        content = [
            {"image_id": key, **record} for key, record in content.items() if isinstance(record, Mapping)
        ]
    told: dict[str, Mapping[str, Any]] = {}
    for record in content if isinstance(content, list) else []:
        if not isinstance(record, Mapping) or "image_id" not in record:
            raise UserError(f"{path}: a round is a record with image_id and round_id")
        key = (
            f"{record['image_id']}-{record['round_id']}" if "round_id" in record else str(record["image_id"])
        )
        if key in told:
            raise UserError(f"{path}: {key} is given twice; keep one of each")
        told[key] = record
    return told


def _options(record: Mapping[str, Any], names: Sequence[str], where: str) -> list[float]:
    """Numbers of a round's options, higher for better: ranks are turned round."""
    name = next((name for name in names if isinstance(record.get(name), list)), None)
    if name is None:
        raise UserError(f"{where}: no list {' or '.join(names)}, a number for each candidate answer")
    values = score_files.numbers(record[name], [where] * len(record[name]), where)
    return [-value for value in values] if name == "ranks" else values


def _even(rows: list[list[float]], path: Path) -> list[list[float]]:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise UserError(
            f"{path}: rounds have {lengths[0]} to {lengths[-1]} candidates; all must have as many"
        )
    return rows


def phrases(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """R@1, 5 and 10 of phrases, by any true box and by the box around all."""
    from nonet.metrics.grounding import phrase_recall

    protocols = ["any", "merged"]
    if convention is not None:
        protocols = [choice(convention, protocols)]
    predicted = {key: _boxes(held, f"{pred}: {key}") for key, held in score_files.by_id(pred).items()}
    truth = {key: _boxes(held, f"{gold}: {key}") for key, held in score_files.by_id(gold).items()}
    found.counts["predictions"] = len(predicted)
    ids = matched(found, predicted, truth, missing)
    for protocol in protocols:
        told = phrase_recall(
            [predicted.get(key, []) for key in ids], [truth[key] for key in ids], protocol=protocol,  # type: ignore[arg-type]
        )  # fmt: skip
        for cut, value in told.at.items():
            found.add("phrase-recall", value, told.phrases, f"{protocol}: R@{cut}, IoU >= 0.5, boxes xyxy")


def _boxes(held: Any, where: str) -> list[list[float]]:
    boxes = held.get("boxes", held.get("bbox")) if isinstance(held, Mapping) else held
    if isinstance(boxes, list) and len(boxes) == 4 and not any(isinstance(one, list) for one in boxes):
        boxes = [boxes]
    if not isinstance(boxes, list) or any(not isinstance(one, list) or len(one) != 4 for one in boxes):
        raise UserError(f"{where}: expected boxes, each left, top, right, bottom")
    for box in boxes:
        score_files.numbers(box, [where] * 4, where)
    return boxes


def relations(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """R@50 and R@100 of relations."""
    from nonet.metrics.grounding import relation_recall

    kind = choice(convention, ["relation", "phrase", "none"])
    predicted = {key: _relations(held, f"{pred}: {key}") for key, held in score_files.by_id(pred).items()}
    truth = {key: _relations(held, f"{gold}: {key}") for key, held in score_files.by_id(gold).items()}
    found.counts["predictions"] = len(predicted)
    ids = matched(found, predicted, truth, missing)
    number = sum(len(truth[key]) for key in ids)
    for cut in (50, 100):
        value = relation_recall(
            [predicted.get(key, []) for key in ids], [truth[key] for key in ids], cut=cut, boxes=kind,  # type: ignore[arg-type]
        )  # fmt: skip
        found.add("relation-recall", value, number, f"{kind}: R@{cut}, IoU >= 0.5")


def _relations(held: Any, where: str) -> list[Any]:
    """Relations of an image: as VRD annotates them, or records with triple, boxes (xyxy) and score."""
    from nonet.metrics.grounding import Relation

    listed: list[Any] = held if isinstance(held, list) else [None]
    told = []
    for record in listed:
        try:
            if "predicate" in record:
                ends = [record["subject"], record["object"]]
                names = (ends[0]["category"], record["predicate"], ends[1]["category"])
                boxes = []
                for end in ends:
                    top, bottom, left, right = end["bbox"]
                    boxes.append([left, top, right, bottom])
            else:
                names, boxes = tuple(record["triple"]), record["boxes"]
            subject, predicate, thing = map(str, names)
            pair = _boxes(boxes, where)
            told.append(Relation((subject, predicate, thing), pair, float(record.get("score", 0.0))))
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UserError(
                f"{where}: a relation has subject and object with category and bbox, and predicate, "
                "as in VRD; or triple, boxes and score"
            ) from None
    return told
