"""Scores answers and labels: GQA, A-OKVQA, VCR, Hateful Memes, entities of documents, counts (ours).

Formats are those of the data sets: questions of GQA, annotations of A-OKVQA, annotations and leaderboard CSV
of VCR, `id,proba,label` of Hateful Memes, token and tag per line as LayoutLM writes FUNSD.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from vlp_atlas import score_files
from vlp_atlas.scores import Missing, Scores, choice, matched, paired, predictions

CHOICES = 4  # answers and rationales of VCR


def compositional(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """GQA: accuracy, and of the other metrics those for which the questions have what they need."""
    from nonet.metrics.gqa import gqa

    choice(convention, ["exact"])
    predicted = predictions(found, pred)
    records = score_files.by_id(gold)
    questions = {key: _question(record, key, gold) for key, record in records.items()}
    scored = {key: question for key, question in questions.items() if question.balanced}
    ids = matched(found, predicted, scored, missing)
    found.counts["extra"] = len(predicted.keys() - questions.keys())
    predicted = dict.fromkeys(ids, "") | predicted
    follow = {other for question in scored.values() for other in question.entailed}
    absent = sorted(follow - (predicted.keys() & questions.keys()))
    if absent:
        questions = {key: question._replace(entailed=()) for key, question in questions.items()}
    told = gqa(predicted, questions)
    found.add("accuracy", told.accuracy, len(ids), "exact match")
    for kind, value, number in (
        ("binary", told.binary, sum(question.binary for question in scored.values())),
        ("open", told.open, sum(not question.binary for question in scored.values())),
    ):
        if value is not None and 0 < number < len(ids):
            found.add("accuracy", value, number, "exact match", note=f"{kind} questions")
    whole = "no question has 'entailed'; give the file of all questions"
    if absent:
        whole = f"{len(absent)} entailed questions lack a prediction or the truth, such as {absent[0]}"
    elif follow:
        whole = "no question with entailed ones was answered rightly"
    listed = "no question has {0!r}; copy it there from the choices of the data set"
    for name, value, unit, number, why in (
        ("consistency", told.consistency, "percent", len(_following(predicted, scored)), whole),
        ("validity", told.validity, "percent", _given(scored, "valid"), listed.format("valid")),
        (
            "plausibility",
            told.plausibility,
            "percent",
            _given(scored, "plausible"),
            listed.format("plausible"),
        ),
        (
            "distribution",
            told.distribution,
            "none",
            _given(scored, "group"),
            "no question has a global group",
        ),
    ):
        if value is None:
            found.skip(f"gqa-{name}", unit, why)
        else:
            found.add(f"gqa-{name}", value, number, "as the data set's script", unit)
    found.skip("gqa-grounding", "percent", "needs attention over the image; see nonet.metrics.gqa.grounding")


def _question(record: Any, key: str, path: Path) -> Any:
    from nonet.metrics.gqa import Question

    if isinstance(record, str):
        return Question(record)
    if not isinstance(record, Mapping) or not isinstance(record.get("answer"), str):
        raise UserError(f"{path}: {key}: expected an answer, or a question with 'answer'")
    kinds, groups = record.get("types") or {}, record.get("groups") or {}
    for name, value, kind in (
        ("types", kinds, Mapping), ("groups", groups, Mapping),
        ("entailed", record.get("entailed") or [], list), ("valid", record.get("valid", []), list),
        ("plausible", record.get("plausible", []), list),
    ):  # fmt: skip
        if not isinstance(value, kind):
            raise UserError(f"{path}: {key}: {name} is not as in the questions of GQA")
    return Question(
        record["answer"], record.get("isBalanced", True), tuple(map(str, record.get("entailed") or ())),
        record.get("valid"), record.get("plausible"), "Common" in str(kinds.get("detailed")),
        groups.get("global"), bool(kinds) and kinds.get("structural") != "query",
    )  # fmt: skip


def _following(predicted: Mapping[str, str], questions: Mapping[str, Any]) -> list[str]:
    return [
        key
        for key, question in questions.items()
        if predicted[key] == question.answer and any(other != key for other in question.entailed)
    ]


def _given(questions: Mapping[str, Any], name: str) -> int:
    return sum(getattr(question, name) is not None for question in questions.values())


def a_okvqa(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """A-OKVQA: direct answers or the choice of four, with and without questions that are hard to score."""
    chosen = choice(convention, ["direct-answer", "multiple-choice"])
    predicted, truth = predictions(found, pred), score_files.by_id(gold)
    ids = matched(found, predicted, truth, missing)
    values = {key: _a_okvqa(predicted.get(key), truth[key], chosen, f"{gold}: {key}") for key in ids}
    easy = [key for key in ids if not truth[key].get("difficult_direct_answer")]
    metric = "vqa-acc" if chosen == "direct-answer" else "accuracy"
    how = "direct-answer: min(1, equal answers / 3)" if chosen == "direct-answer" else chosen
    parts = [(ids, "all questions")]
    if easy and len(easy) < len(ids):
        parts.append((easy, "without those with difficult_direct_answer"))
    for part, note in parts:
        found.add(metric, sum(values[key] for key in part) / len(part), len(part), how, note=note)


def _a_okvqa(answer: str | None, record: Any, chosen: str, where: str) -> float:
    try:
        if chosen == "direct-answer":
            return min(1.0, list(record["direct_answers"]).count(answer) / 3)
        return float(record["choices"][record["correct_choice_idx"]] == answer)
    except (TypeError, KeyError, IndexError):
        needs = "direct_answers" if chosen == "direct-answer" else "choices and correct_choice_idx"
        raise UserError(f"{where}: {chosen} needs {needs}, as annotations of A-OKVQA have them") from None


def commonsense(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """VCR: Q->A, QA->R and Q->AR."""
    from nonet.metrics.reasoning import vcr

    choice(convention, ["exact"])
    predicted, truth = score_files.by_id(pred), score_files.by_id(gold)
    found.counts["predictions"] = len(predicted)
    ids = matched(found, predicted, truth, missing)
    there = [key for key in ids if key in predicted]
    right = [_label(truth[key], f"{gold}: {key}") for key in there]
    pairs = [
        _chosen(predicted[key], answer, f"{pred}: {key}")
        for key, (answer, _) in zip(there, right, strict=True)
    ]
    told = vcr([a for a, _ in pairs], [r for _, r in pairs], [a for a, _ in right], [r for _, r in right])
    share = len(there) / len(ids)
    found.add("accuracy", told.q_a * share, len(ids), "Q->A", note="answers")
    found.add("accuracy", told.qa_r * share, len(ids), "QA->R", note="rationales, given the right answer")
    found.add("vcr-q-ar", told.q_ar * share, len(ids), "both right")


def _label(record: Any, where: str) -> tuple[int, int]:
    if isinstance(record, Mapping):
        record = (record.get("answer_label"), record.get("rationale_label"))
    if not isinstance(record, list | tuple) or len(record) != 2:
        raise UserError(f"{where}: expected answer_label and rationale_label, or [answer, rationale]")
    answer, rationale = (_number(one, where) for one in record)
    return answer, rationale


def _chosen(record: Any, right: int, where: str) -> tuple[int, int]:
    """Answer and rationale of a prediction; of a CSV row the largest scores, given the right answer."""
    if isinstance(record, Mapping) and "answer_0" in record:
        groups = ("answer", f"rationale_conditioned_on_a{right}")
        names = [[f"{group}_{place}" for place in range(CHOICES)] for group in groups]
        lacking = [name for part in names for name in part if name not in record]
        if lacking:
            raise UserError(f"{where}: no column {lacking[0]}")
        record = [score_files.numbers([record[name] for name in part], part, where) for part in names]
    elif isinstance(record, Mapping):
        record = [record.get("answer"), record.get("rationale")]
    if not isinstance(record, list) or len(record) != 2:
        raise UserError(f"{where}: expected [answer, rationale], or scores as in the leaderboard's CSV")
    answer, rationale = (_number(one, where) for one in record)
    return answer, rationale


def _number(value: Any, where: str) -> int:
    """A choice, 0..3, of a number or four scores."""
    if isinstance(value, list) and len(value) == CHOICES:
        if any(isinstance(one, str | bool) or one is None or one != one for one in value):
            raise UserError(f"{where}: {CHOICES} scores must be numbers, not {value!r:.60}")
        return value.index(max(value))
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < CHOICES:
        raise UserError(
            f"{where}: {value!r:.60} is no choice from 0 to {CHOICES - 1}, and not {CHOICES} scores"
        )
    return value


def hateful(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """Hateful Memes: AUROC of scores, accuracy of labels, or of scores from one half on."""
    from nonet.metrics.classification import accuracy, auroc

    choice(convention, ["exact"])
    predicted, truth = score_files.by_id(pred), score_files.values(gold)
    found.counts["predictions"] = len(predicted)
    ids = matched(found, predicted, truth, missing)
    there = [key for key in ids if key in predicted]
    labels = dict(zip(ids, score_files.numbers([truth[key] for key in ids], ids, gold), strict=True))
    held = [predicted[key] for key in there]
    rows = [one if isinstance(one, Mapping) else {"proba": one} for one in held]
    told = score_files.numbers([row.get("proba", row.get("label")) for row in rows], there, pred)
    own = all("label" in row for row in rows)
    guesses = (
        score_files.numbers([row["label"] for row in rows], there, pred)
        if own
        else [float(value >= 0.5) for value in told]
    )
    if len(there) < len(ids):
        found.skip("auroc", "percent", f"{len(ids) - len(there)} items have no score")
    else:
        hard = "only 0 and 1 as scores: labels, not comparable to scores" if set(told) <= {0.0, 1.0} else ""
        found.add("auroc", auroc(told, list(labels.values())), len(ids), "ties count half", note=hard)
    right = accuracy(guesses, [labels[key] for key in there]) * len(there) / len(ids)
    found.add("accuracy", right, len(ids), "labels of the file" if own else "hateful from 0.5 on")


def documents(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """FUNSD: precision, recall and F1 of entities."""
    from nonet.metrics.documents import entity_f1

    choice(convention, ["exact"])
    predicted, truth = _tags(pred), _tags(gold)
    found.counts["predictions"] = len(predicted)
    ids = matched(found, predicted, truth, missing)
    for key in ids:
        if key in predicted and len(predicted[key]) != len(truth[key]):
            raise UserError(f"{pred}: {key} has {len(predicted[key])} tags, the truth {len(truth[key])}")
    told = entity_f1(
        [predicted.get(key, ["O"] * len(truth[key])) for key in ids], [truth[key] for key in ids]
    )
    note = f"precision {told.precision:.4f}, recall {told.recall:.4f} of {told.predicted} predicted"
    found.add("entity-f1", told.f1, told.gold, "kind and both ends, all pages together", note=note)


def _tags(path: Path) -> dict[str, list[str]]:
    """Tags by sequence: of JSON by id; of text a token and its tag a line, empty lines between sequences."""
    if path.suffix in (".json", ".jsonl", ".csv"):
        told = score_files.by_id(path)
        for key, record in told.items():
            tags = record.get("tags") if isinstance(record, Mapping) else record
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise UserError(f"{path}: {key}: expected a list of tags, such as B-QUESTION")
            told[key] = tags
        return told
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert it") from None
    sequences: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() and not line.startswith("-DOCSTART-"):
            sequences[-1].append(line.split()[-1])
        elif sequences[-1]:
            sequences.append([])
    return {str(place): tags for place, tags in enumerate(sequences) if tags}


def counts(found: Scores, pred: Path, gold: Path, missing: Missing, convention: str | None) -> None:
    """TGIF-QA's repetition count: mean squared error of the numbers, as they are or rounded to 1..10."""
    from nonet.metrics.classification import count_error

    chosen = choice(convention, ["count", "count-rounded"])
    if missing == "zero":
        raise UserError("--missing zero: no prediction of a count counts nothing; add the missing ones")
    predicted, truth, ids = paired(found, pred, gold, missing)
    ours = score_files.numbers([predicted[key] for key in ids], ids, pred)
    theirs = score_files.numbers([truth[key] for key in ids], ids, gold)
    rounded = chosen == "count-rounded"
    how = "rounded: halves up, cut to 1..10" if rounded else "raw: numbers as they are"
    found.add("count-mse", count_error(ours, theirs, rounded=rounded), len(ids), how, "none")
