"""Scoring of files: formats of the data sets, what is counted, what is refused."""

import json
import sys
import types

import numpy
import pytest

from nonet.errors import UserError
from vlp_atlas.caption_scoring import METRICS
from vlp_atlas.scoring import JAVA, TASKS, Scores, report, score


def written(folder, **files):
    """Paths of files with that content, as JSON where it is no text."""
    paths = []
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        paths.append(path)
    return paths


def by_metric(found):
    told = {}
    for one in found.scores:
        told.setdefault(one.metric, one)
    return told


def vqa_gold(answers):
    return {
        "annotations": [
            {
                "question_id": number,
                "answer_type": "other",
                "answers": [{"answer": text, "answer_id": place} for place, text in enumerate(given, 1)],
            }
            for number, given in answers.items()
        ]
    }


def test_vqa_scores_the_official_files_of_both_sides(tmp_path):
    pred, gold = written(
        tmp_path,
        pred=[{"question_id": 1, "answer": "red"}, {"question_id": 2, "answer": "2"}],
        gold=vqa_gold({1: ["red"] * 2 + ["blue"] * 8, 2: ["2"] * 10}),
    )
    found = score("vqa", pred, gold)
    first = by_metric(found)["vqa-acc"]
    assert first.value == pytest.approx(100 * (0.6 + 1) / 2)  # two of ten: .6
    assert (first.n, first.unit, first.convention) == (2, "percent", "official-2015")
    assert found.counts == {"predictions": 2, "numeric": 0, "empty": 0, "missing": 0, "extra": 0}
    assert found.scores[1].note == "answers of type other"
    assert by_metric(score("vqa", pred, gold, convention="fixed"))["vqa-acc"].convention == "fixed"
    with pytest.raises(UserError, match=r"--convention old: there are official-2015"):
        score("vqa", pred, gold, convention="old")


def test_numbers_empty_texts_and_extra_ids_are_counted(tmp_path):
    pred, gold = written(
        tmp_path,
        pred=[
            {"question_id": 1, "answer": 2},
            {"question_id": 2, "answer": " "},
            {"question_id": 9, "answer": "x"},
        ],
        gold=vqa_gold({1: ["2"] * 10, 2: ["no"] * 10}),
    )
    found = score("vqa", pred, gold)
    assert found.counts == {"predictions": 3, "numeric": 1, "empty": 1, "missing": 0, "extra": 1}
    assert found.scores[0].value == pytest.approx(50.0)


def test_missing_predictions_are_listed_or_score_nothing_on_request(tmp_path):
    gold = {str(number): ["cat"] * 10 for number in range(8)}
    pred, gold = written(tmp_path, pred={"0": "cat"}, gold=gold)
    with pytest.raises(UserError, match=r"7 of 8 predictions are missing: 1, 2, 3, 4, 5, \.\.\."):
        score("vqa", pred, gold)
    found = score("vqa", pred, gold, missing="zero")
    assert found.counts["missing"] == 7
    assert found.scores[0].value == pytest.approx(100 / 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"question_id": 1, "answer": "a"}, {"question_id": 1, "answer": "b"}]', "more than once: 1"),
        ('{"1": "a", "1": "b"}', "1 given twice"),
        ('{"1": "a"', r"pred.json:1: broken JSON"),
        ("", "is empty"),
        ('[{"question": 1, "text": "a"}]', "no id"),
        ('["a", "b"]', "expected a list of records"),
        ('[{"question_id": 1, "answer": true}]', "must be text"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, message):
    pred, gold = written(tmp_path, pred=content, gold={"1": ["a"] * 10})
    with pytest.raises(UserError, match=message):
        score("vqa", pred, gold)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    (pred,) = written(tmp_path, pred="{}")
    pred.write_bytes(b'{"1": "caf\xe9"}')
    (gold,) = written(tmp_path, gold={"1": ["a"]})
    with pytest.raises(UserError, match=r"pred.json: not UTF-8 \(byte 10\)"):
        score("vqa", pred, gold)


def test_json_lines_are_records(tmp_path):
    pred = tmp_path / "pred.jsonl"
    pred.write_text('{"id": "a", "label": "x"}\n{"id": "b", "label": "y"}\n', encoding="utf-8")
    (gold,) = written(tmp_path, gold=[{"id": "a", "label": "x"}, {"id": "b", "label": "z"}])
    told = by_metric(score("accuracy", pred, gold))
    assert told["accuracy"].value == 50.0
    assert told["macro-f1"].n == 2


def test_docvqa_reads_its_own_format(tmp_path):
    pred, gold = written(
        tmp_path,
        pred=[{"questionId": 5, "answer": "abd"}, {"questionId": 6, "answer": "ax"}],
        gold={"data": [{"questionId": 5, "answers": ["abc"]}, {"questionId": 6, "answers": ["ab"]}]},
    )
    told = by_metric(score("doc-vqa", pred, gold))["anls"]
    assert told.value == pytest.approx((2 / 3 + 0) / 2)  # NL of exactly .5 scores nothing


def test_nlvr2_counts_sentences_whose_pairs_are_all_right(tmp_path):
    truth = {"dev-1-0-0": "True", "dev-1-1-0": "False", "dev-2-0-0": "True"}
    guess = {"dev-1-0-0": True, "dev-1-1-0": "true", "dev-2-0-0": "TRUE"}
    pred, gold = written(tmp_path, pred=guess, gold=truth)
    told = by_metric(score("nlvr2", pred, gold))
    assert told["accuracy"].value == pytest.approx(200 / 3)
    assert (told["consistency"].value, told["consistency"].n) == (50.0, 2)


def test_a_box_that_overlaps_by_exactly_one_half_is_wrong(tmp_path):
    pred, gold = written(
        tmp_path,
        pred=[{"ref_id": 1, "bbox": [0, 0, 2, 2]}, {"ref_id": 2, "bbox": [0, 0, 2, 3]}],
        gold=[{"ref_id": 1, "bbox": [0, 0, 2, 4]}, {"ref_id": 2, "bbox": [0, 0, 2, 4]}],
    )
    assert score("referring-expressions", pred, gold).scores[0].value == 50.0
    assert score("referring-expressions", pred, gold, convention="xywh").scores[0].convention.endswith("xywh")
    (fewer,) = written(tmp_path, fewer=[{"ref_id": 2, "bbox": [0, 0, 2, 4]}])
    assert score("referring-expressions", fewer, gold, missing="zero").scores[0].value == 50.0
    (wrong,) = written(tmp_path, wrong={"1": [2, 0, 0, 2], "2": [0, 0, 2, 3]})
    with pytest.raises(UserError, match="predicted boxes"):
        score("referring-expressions", wrong, gold)


def test_a_similarity_that_is_no_number_is_refused(tmp_path):
    numpy.save(tmp_path / "s.npy", numpy.full((2, 2), numpy.nan))
    (gold,) = written(tmp_path, gold=[0, 1])
    with pytest.raises(UserError, match=r"(?i)nan"):
        score("retrieval", tmp_path / "s.npy", gold)
    (tmp_path / "s.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"s.npy: no matrix of numbers"):
        score("retrieval", tmp_path / "s.npy", gold)


def test_retrieval_of_a_known_permutation(tmp_path):
    similarity = numpy.eye(4)[[0, 1, 3, 2]]  # images 2 and 3 find each other's text
    numpy.save(tmp_path / "s.npy", similarity)
    (gold,) = written(tmp_path, gold=[0, 1, 2, 3])
    told = by_metric(score("retrieval", tmp_path / "s.npy", gold))
    assert told["ir-recall-at-1"].value == told["tr-recall-at-1"].value == 50.0
    assert told["rsum"].value == pytest.approx(2 * (50 + 100 + 100))
    assert "tie" in told["ir-recall-at-1"].note  # zeros


def test_sentiment_gives_both_conventions(tmp_path):
    pred, gold = written(tmp_path, pred={"a": 1.0, "b": -2.0, "c": 0.4}, gold={"a": 2.0, "b": -1.0, "c": 0.0})
    told = by_metric(score("sentiment", pred, gold))
    assert told["mae"].value == pytest.approx((1 + 1 + 0.4) / 3)
    assert (told["acc-2-nonneg"].n, told["acc-2-pos"].n) == (3, 2)
    with pytest.raises(UserError, match="counts nothing"):
        score("sentiment", pred, gold, missing="zero")


def test_a_task_may_be_named_as_the_catalogue_knows_it(vlp, tmp_path):
    pred, gold = written(tmp_path, pred={"1": "cat"}, gold={"1": ["cat"] * 10})
    code, out, _ = vlp(f"score 'visual question answering' --pred {pred} --gold {gold} --json")
    assert code == 0
    assert json.loads(out)["scores"][0]["value"] == 100.0
    assert set(TASKS) >= {"vqa", "captioning", "image-text-retrieval"}


def test_scores_are_printed_with_n_and_convention(vlp, tmp_path):
    pred, gold = written(tmp_path, pred={"1": "cat"}, gold={"1": ["cat"] * 10})
    code, out, _ = vlp(f"score vqa --pred {pred} --gold {gold}")
    assert code == 0
    assert out.splitlines()[1].split() == ["vqa-acc", "100.0000", "percent", "1", "official-2015"]
    code, out, err = vlp(f"score vqa --pred absent.json --gold {gold}")
    assert (code, out) == (2, "")
    assert "absent.json: no such file" in err


@pytest.fixture
def caption_metrics(monkeypatch):
    """Caption metrics of a catalogue: one counts equal captions, one refuses, and two are its copies."""
    from vlp_atlas import Atlas

    def equal(captions, references):
        return sum(captions[image] in references[image] for image in references) / len(references)

    def refusing(captions, references):
        raise UserError("one image has no document frequencies")

    module = types.ModuleType("fake_metrics")
    module.equal, module.refusing = equal, refusing
    monkeypatch.setitem(sys.modules, "fake_metrics", module)

    class Catalogue:
        def get(self, kind, metric):
            impl = "fake_metrics.refusing" if metric == "cider-d" else "fake_metrics.equal"
            unit = "x100" if metric == "cider-d" else "percent"
            return {"id": metric, "impl": impl, "unit": unit, "conventions": {"coco": "as there"}}

    monkeypatch.setattr(Atlas, "load", lambda: Catalogue())
    return module


def test_captions_are_scored_by_the_functions_that_the_catalogue_names(caption_metrics, tmp_path):
    pred, gold = written(
        tmp_path,
        pred=[{"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": ""}],
        gold={
            "annotations": [
                {"image_id": image, "caption": text} for image, text in ((1, "a dog"), (1, "a cat"), (2, "x"))
            ]
        },
    )
    found = score("captioning", pred, gold)
    told = by_metric(found)
    assert (told["bleu-4"].value, told["bleu-4"].n, told["bleu-4"].convention) == (50.0, 2, "coco")
    assert told["cider-d"].value is None
    assert told["cider-d"].note == "skipped: one image has no document frequencies"
    assert told["spice-java"].note == "skipped: needs Java"
    assert found.counts["empty"] == 1
    assert report(found) == 0
    assert report(found, require=["spice"]) == 3


@pytest.mark.parametrize(
    ("captions", "short", "note"),
    [
        (["a cat on mats", "one, two, three, four."], 0, ""),
        (["a cat on mats", "it is one ."], 1, "1 caption has under 4 words"),  # a full stop is no word
        (["", "a cat sits"], 2, "2 captions have under 4 words"),
    ],
)
def test_captions_under_four_words_are_counted_and_noted(caption_metrics, tmp_path, captions, short, note):
    pred, gold = written(
        tmp_path,
        pred={"1": [captions[0]], "2": [captions[1]]},
        gold={"1": ["a cat on mats"], "2": ["a dog"]},
    )
    found = score("captioning", pred, gold)
    assert found.counts["under 4 words"] == short
    notes = {one.metric: one.note for one in found.scores if one.value is not None}
    whole = f"{note}: no four in a row, which counts as 0" if note else ""
    assert notes == {"bleu-4": whole, "rouge-l": "", "meteor-py": ""}


def test_short_captions_give_a_defined_number_with_a_note(tmp_path):
    pred, gold = written(
        tmp_path,
        pred={"1": ["a cat"], "2": ["the red bus stops"]},
        gold={"1": ["a cat"], "2": ["the red bus stops"]},
    )
    told = by_metric(score("captioning", pred, gold))
    assert told["cider-d"].value == 750  # (10 * 2 / 4 + 10) / 2: two of four lengths are there, in x100
    assert told["cider-d"].note.startswith("1 caption has under 4 words")


def test_a_missing_caption_is_an_error_or_an_empty_one(caption_metrics, tmp_path):
    pred, gold = written(tmp_path, pred={"1": ["a cat"]}, gold={"1": ["a cat"], "2": ["a dog"]})
    with pytest.raises(UserError, match="1 of 2 predictions are missing: 2"):
        score("captioning", pred, gold)
    assert by_metric(score("captioning", pred, gold, missing="zero"))["rouge-l"].value == 50.0
    caption_metrics.equal = caption_metrics.refusing
    with pytest.raises(UserError, match="bleu-4: one image"):
        score("captioning", pred, gold, missing="zero")


def test_a_required_metric_without_value_is_exit_code_3(capsys):
    found = Scores("captioning")
    found.add("bleu-4", 0.5, 2, "corpus", "x100")
    found.scores.append(found.scores[0]._replace(metric="spice-java", value=None, note="skipped: needs Java"))
    assert report(found) == 0
    assert "skipped: needs Java" in capsys.readouterr().out
    assert report(found, require=["bleu-4"]) == 0
    assert report(found, require=["spice"]) == 3
    assert "spice could not be computed" in capsys.readouterr().err
    with pytest.raises(UserError, match="--require cider: no metric of captioning"):
        report(found, require=["cider"])


def test_what_is_scored_has_a_record_with_the_same_unit(tmp_path):
    from vlp_atlas import Atlas

    shipped = {record["id"]: record["unit"] for record in Atlas.load().all("metrics")}
    numpy.save(tmp_path / "s.npy", numpy.eye(3))
    truth = {"a": 1.0, "b": -2.0}
    owner, numbers, pairs, labels, answers, boxes = written(
        tmp_path,
        owner=[0, 1, 2],
        numbers=truth,
        pairs={"dev-1-0-0": "True"},
        labels={"a": "x"},
        answers={"1": ["cat"]},
        boxes={"1": [0, 0, 2, 2]},
    )
    files = {
        "retrieval": (tmp_path / "s.npy", owner),
        "sentiment": (numbers, numbers),
        "nlvr2": (pairs, pairs),
        "accuracy": (labels, labels),
        "vqa": (answers, answers),
        "doc-vqa": (answers, answers),
        "referring-expressions": (boxes, boxes),
    }
    for task, (pred, gold) in files.items():
        for one in score(task, pred, gold).scores:
            assert shipped[one.metric] == one.unit, one
    assert set(shipped) >= {*METRICS, *JAVA}
