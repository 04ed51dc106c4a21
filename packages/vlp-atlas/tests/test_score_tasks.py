"""Scoring of every task of the catalogue: the data sets' own files, numbers counted by hand."""

import json
import math

import numpy
import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas
from vlp_atlas.scoring import TASKS, UNSCORED, report, score

# ---- R2R: a corridor a-b-c-d of 2 m steps, the corner e 2 m off c, and f, which nothing joins ----
POSITIONS = {
    "a": [0, 0, 0], "b": [2, 0, 0], "c": [4, 0, 0], "d": [6, 0, 0], "e": [4, 2, 0], "f": [9, 9, 9],
}  # fmt: skip
EDGES = [["a", "b"], ["b", "c"], ["c", "d"], ["c", "e"]]
WALKED = {
    "7_0": [["a", 0, 0], ["b", 0, 0], ["b", 1.5, 0], ["c", 0, 0], ["d", 0, 0]],  # turns once at b; perfect
    "7_1": [["a", 0, 0], ["b", 0, 0], ["c", 0, 0], ["b", 0, 0], ["b", 3, 0]],  # was 2 m from d, ends 4 m off
}
R2R = [
    {"path_id": 7, "scan": "S", "path": ["a", "b", "c", "d"], "instructions": ["go", "walk"], "heading": 0}
]
COVERED = (3 + math.exp(-2 / 3)) / 4  # of the second walk: only d is off, by 2 m


def written(folder, **files):
    """Paths of files with that content, as JSON where it is no text."""
    paths = []
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        paths.append(path)
    return paths


def told(found):
    """(value, n) by metric and convention or note, whichever tells lines of one metric apart."""
    return {(one.metric, one.convention, one.note): (one.value, one.n) for one in found.scores}


def first(found):
    by_metric = {}
    for one in found.scores:
        by_metric.setdefault(one.metric, one.value)
    return by_metric


def connectivity():
    """The corridor as Matterport3D's simulator has it."""
    joined = {frozenset(edge) for edge in EDGES}
    return [
        {
            "image_id": name,
            "pose": [1, 0, 0, place[0], 0, 1, 0, place[1], 0, 0, 1, place[2], 0, 0, 0, 1],
            "included": name != "f",
            "unobstructed": [frozenset((name, other)) in joined or other == "f" for other in POSITIONS],
        }
        for name, place in POSITIONS.items()
    ]


def submission(walked):
    return [{"instr_id": key, "trajectory": steps} for key, steps in walked.items()]


@pytest.fixture
def corridor(tmp_path):
    folder = tmp_path / "connectivity"
    folder.mkdir()
    (folder / "S_connectivity.json").write_text(json.dumps(connectivity()), encoding="utf-8")
    return folder


def test_every_task_of_the_catalogue_has_a_scorer_or_says_why_not(tmp_path):
    tasks = [record["id"] for record in Atlas.load().all("tasks")]
    assert len(tasks) == 25
    assert {*tasks} == {*UNSCORED} | {task for task in TASKS if task in tasks}
    for task in UNSCORED:
        with pytest.raises(UserError, match=f"^{task} is not scored here: .+") as why:
            score(task, tmp_path / "pred.json", tmp_path / "gold.json")
        assert "\n" not in str(why.value)
    for task in set(tasks) - set(UNSCORED):
        with pytest.raises(UserError, match="no such file"):
            score(task, tmp_path / "pred.json", tmp_path / "gold.json")


def test_walks_of_r2r_are_measured_along_the_graph(tmp_path, corridor):
    pred, gold = written(tmp_path, pred=submission(WALKED), gold=R2R)
    found = score("navigation", pred, gold, graph=corridor)
    values = first(found)
    assert values["success-rate"] == 50
    assert values["oracle-success-rate"] == 100
    assert values["navigation-error"] == pytest.approx((0 + 4) / 2)
    assert values["trajectory-length"] == pytest.approx((6 + 6) / 2)
    assert values["spl"] == pytest.approx(50)
    # DTW of a b c b with a b c d: 0, 0, 0, and 4 m from b to d
    assert values["ndtw"] == pytest.approx(100 * (1 + math.exp(-4 / (4 * 3))) / 2)
    assert values["sdtw"] == pytest.approx(50)
    cls = COVERED * 6 * COVERED / (6 * COVERED + (6 - 6 * COVERED))
    assert values["cls"] == pytest.approx(100 * (1 + cls) / 2)
    assert {one.n for one in found.scores} == {2}
    assert found.counts == {"predictions": 2, "missing": 0, "extra": 0}


def test_a_graph_may_be_one_file_and_walks_plain(tmp_path):
    pred, gold, graph = written(
        tmp_path,
        pred={"x": ["a", "b", "c", "e"]},
        gold={"x": {"path": ["a", "b", "c", "d"]}},
        graph={"S": {"positions": POSITIONS, "edges": EDGES}},
    )
    values = first(score("navigation", pred, gold, graph=graph))
    assert values["navigation-error"] == pytest.approx(4)  # straight it is 2.83 m, a success
    assert values["success-rate"] == 0


def test_a_missing_walk_has_no_length(tmp_path, corridor):
    pred, gold = written(tmp_path, pred=submission({"7_0": WALKED["7_0"]}), gold=R2R)
    with pytest.raises(UserError, match="1 of 2 predictions are missing: 7_1"):
        score("navigation", pred, gold, graph=corridor)
    found = score("navigation", pred, gold, graph=corridor, missing="zero")
    assert first(found)["spl"] == first(found)["ndtw"] == 50
    assert first(found)["trajectory-length"] is None
    assert found.scores[-1].note == "skipped: 1 episodes have no walk"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (["b", "c"], "7_0 starts at b, but the episode at a"),
        (["a", "z"], "the graph has no viewpoint z"),
        (["a", "f"], "the graph has no viewpoint f"),
        ([], "at least one"),
    ],
)
def test_a_walk_that_cannot_be_is_refused(tmp_path, corridor, path, message):
    pred, gold = written(tmp_path, pred={"7_0": path, "7_1": ["a"]}, gold=R2R)
    with pytest.raises(UserError, match=message):
        score("navigation", pred, gold, graph=corridor)


def test_navigation_needs_a_graph_and_nothing_else_takes_one(tmp_path, vlp, corridor):
    pred, gold = written(tmp_path, pred=submission(WALKED), gold=R2R)
    with pytest.raises(UserError, match="navigation needs --graph"):
        score("navigation", pred, gold)
    with pytest.raises(UserError, match="vcr has no graph"):
        score("vcr", pred, gold, graph=corridor)
    code, out, err = vlp(f"score navigation --pred {pred} --gold {gold} --graph {corridor}")
    assert code == 0, err
    assert "spl" in out
    (unjoined,) = written(tmp_path, graph={"S": {"positions": POSITIONS, "edges": EDGES}})
    (pred,) = written(tmp_path, pred={"7_0": ["a", "f"], "7_1": ["a"]})
    with pytest.raises(UserError, match="no way in S"):
        score("navigation", pred, gold, graph=unjoined)


VCR_GOLD = "\n".join(
    json.dumps({"annot_id": f"val-{place}", "answer_label": 1, "rationale_label": 2}) for place in range(4)
)


def test_vcr_reads_choices_and_counts_questions_with_both_right(tmp_path):
    gold = tmp_path / "val.jsonl"
    gold.write_text(VCR_GOLD, encoding="utf-8")
    (pred,) = written(tmp_path, pred={"val-0": [1, 0], "val-1": [1, 2], "val-2": [1, 2], "val-3": [0, 2]})
    values = told(score("vcr", pred, gold))
    assert values["accuracy", "Q->A", "answers"] == (75, 4)
    assert values["accuracy", "QA->R", "rationales, given the right answer"] == (75, 4)
    assert values["vcr-q-ar", "both right", ""] == (50, 4)  # the product would be 56.25
    (pred,) = written(tmp_path, pred={"val-0": [1, 2]})
    assert first(score("vcr", pred, gold, missing="zero")) == {"accuracy": 25, "vcr-q-ar": 25}
    (pred,) = written(tmp_path, pred={f"val-{place}": [1, 4] for place in range(4)})
    with pytest.raises(UserError, match="val-0: 4 is no choice from 0 to 3"):
        score("vcr", pred, gold)


def test_vcr_takes_the_rationale_scores_of_the_right_answer_from_the_leaderboards_file(tmp_path):
    gold = tmp_path / "val.jsonl"
    gold.write_text(VCR_GOLD.splitlines()[0] + "\n" + VCR_GOLD.splitlines()[1] + "\n", encoding="utf-8")
    groups = ["answer", *[f"rationale_conditioned_on_a{number}" for number in range(4)]]
    lines = [",".join(["annot_id", *[f"{group}_{place}" for group in groups for place in range(4)]])]
    right, wrong = [0, 0, 1, 0], [1, 0, 0, 0]
    for name, answer in (("val-0", [0.1, 0.7, 0.1, 0.1]), ("val-1", [0.7, 0.1, 0.1, 0.1])):
        lines.append(",".join(map(str, [name, *answer, *wrong, *right, *wrong, *wrong])))
    pred = tmp_path / "pred.csv"
    pred.write_text("\n".join(lines), encoding="utf-8")
    values = told(score("vcr", pred, gold))
    assert values["accuracy", "Q->A", "answers"] == (50, 2)
    assert values["accuracy", "QA->R", "rationales, given the right answer"] == (100, 2)
    pred.write_text(lines[0] + "\n" + lines[1][:-2], encoding="utf-8")
    with pytest.raises(UserError, match=r"pred.csv:2: 20 values, but the first line names 21"):
        score("vcr", pred, gold)


TVR = [
    {"desc_id": 1, "vid_name": "v", "ts": [0, 10], "desc": "x", "type": "v"},
    {"desc_id": 2, "vid_name": "w", "ts": [0, 10], "desc": "y", "type": "v"},
]


def test_moments_are_hit_from_an_overlap_on(tmp_path):
    pred, gold = written(tmp_path, pred={"1": [0, 5], "2": [[0, 7], [0, 10]]}, gold=TVR)
    found = score("moment-retrieval", pred, gold)
    assert [one.value for one in found.scores] == [
        100,
        50,
    ]  # exactly .5 and .7 are hits; only the first counts
    assert found.scores[1].convention == "R@1, IoU >= 0.7, one-video"
    (pred,) = written(tmp_path, pred={"1": [5, 0], "2": [0, 1]})
    with pytest.raises(UserError, match="0 <= start <= end"):
        score("moment-retrieval", pred, gold)
    (pred,) = written(tmp_path, pred={"1": [0, 5, 7], "2": [0, 1]})
    with pytest.raises(UserError, match=r"expected \[start, end\] in seconds"):
        score("moment-retrieval", pred, gold)


def test_a_submission_to_tvr_has_one_video_or_the_collection(tmp_path):
    rows = [
        {"desc_id": 1, "predictions": [[1, 0, 10, 0.9], [0, 0, 10, 0.8]]},  # the right video comes second
        {"desc_id": 2, "predictions": [[1, 0, 6, 0.9]]},
    ]
    pred, gold = written(tmp_path, pred={"video2idx": {"v": 0, "w": 1}, "SVMR": rows, "VCMR": rows}, gold=TVR)
    assert [one.value for one in score("moment-retrieval", pred, gold).scores] == [100, 50]
    found = score("moment-retrieval", pred, gold, convention="collection")
    assert [one.value for one in found.scores] == [50, 0]


def test_a_moment_of_didemo_must_meet_two_of_its_annotators(tmp_path):
    spans = [[0, 5], [0, 5], [10, 15], [20, 25]]
    pred, gold = written(tmp_path, pred={"1": [0, 5], "2": [10, 15]}, gold={"1": spans, "2": spans})
    assert [one.value for one in score("moment-retrieval", pred, gold).scores] == [50, 50]
    (gold,) = written(tmp_path, gold={"1": spans[:2], "2": spans})
    with pytest.raises(UserError, match="2 true spans"):
        score("moment-retrieval", pred, gold)


def test_videos_and_texts_are_ranked_both_ways(tmp_path):
    matrix = [[9.0, 1.0, 2.0, -9.0], [7.0, 6.0, 1.0, -8.0], [3.0, 5.0, 6.5, -7.0], [8.0, 7.0, 7.5, 0.0]]
    pred, gold = written(tmp_path, pred=matrix, gold=[0, 1, 2, 3])
    found = score("video-retrieval", pred, gold)
    values = first(found)
    assert values["t2v-recall-at-1"] == 50  # columns: ranks 1, 2, 2, 1
    assert values["v2t-recall-at-1"] == 50  # rows: ranks 1, 2, 1, 4
    assert values["v2t-recall-at-5"] == values["t2v-recall-at-10"] == 100
    assert told(found)["median-rank", "plain", "video to text"] == (1.5, 4)
    assert told(found)["mean-rank", "plain", "text to video"] == (1.5, 4)


def test_dual_softmax_is_another_convention_and_says_so(tmp_path):
    # text 0 is close to both videos; weighed by the softmax over videos, video 1 finds its own text
    pred, gold = written(tmp_path, pred=[[4.0, 0.0], [2.0, 1.9]], gold=[0, 1])
    assert first(score("video-retrieval", pred, gold))["v2t-recall-at-1"] == 50
    found = score("video-retrieval", pred, gold, convention="dual-softmax")
    assert first(found)["v2t-recall-at-1"] == 100
    (pred,) = written(tmp_path, pred=[[4.0, 2.0], [0.0, 1.9]])  # the same for texts that look for videos
    assert first(score("video-retrieval", pred, gold))["t2v-recall-at-1"] == 50
    found = score("video-retrieval", pred, gold, convention="dual-softmax")
    assert first(found)["t2v-recall-at-1"] == 100
    assert {one.convention for one in found.scores} == {"dual-softmax over all test queries, scale 1"}


RANKS = [
    {"image_id": 5, "round_id": 1, "ranks": [1, 2, 3]},
    {"image_id": 5, "round_id": 2, "ranks": [3, 1, 2]},
]


def test_dialogues_need_the_right_answer_or_relevances(tmp_path):
    turns = [{"question": 0, "gt_index": 1}, {"question": 1, "gt_index": 1}]
    pred, gold = written(tmp_path, pred=RANKS, gold={"data": {"dialogs": [{"image_id": 5, "dialog": turns}]}})
    found = score("visual-dialog", pred, gold)
    values = told(found)
    assert values["mrr", "ties pessimistic", ""] == (75, 2)
    assert values["recall-at-k", "R@1, ties pessimistic", ""] == (50, 2)
    assert values["recall-at-k", "R@5, ties pessimistic", ""] == (100, 2)
    assert values["mean-rank", "ties pessimistic", ""] == (1.5, 2)
    assert first(found)["ndcg"] is None
    dense = [{"image_id": 5, "round_id": 1, "gt_relevance": [0, 1, 0.5]}]
    (gold,) = written(tmp_path, gold=dense)
    found = score("visual-dialog", pred, gold)
    assert first(found)["ndcg"] == pytest.approx(100 / (math.log2(3) + 0.5))  # .6309 of 1.3155
    assert first(found)["mrr"] is None
    assert found.counts == {"predictions": 2, "missing": 0, "extra": 1}


def test_a_missing_round_scores_nothing_and_has_no_rank(tmp_path):
    truth = [{"image_id": 5, "round_id": place, "gt_index": 0} for place in (1, 2)]
    pred, gold = written(tmp_path, pred=RANKS[:1], gold=truth)
    values = first(score("visual-dialog", pred, gold, missing="zero"))
    assert (values["mrr"], values["recall-at-k"], values["mean-rank"]) == (50, 50, None)
    (broken,) = written(tmp_path, broken={"data": {"dialogs": [{"image_id": 5}]}})
    with pytest.raises(UserError, match="a dialogue has image_id and dialog"):
        score("visual-dialog", pred, broken)
    (pred,) = written(tmp_path, pred=[RANKS[0], RANKS[0]])
    with pytest.raises(UserError, match="5-1 is given twice"):
        score("visual-dialog", pred, gold)
    (pred,) = written(tmp_path, pred=[RANKS[0], {"image_id": 5, "round_id": 2, "ranks": [1, 2]}])
    with pytest.raises(UserError, match="rounds have 2 to 3 candidates"):
        score("visual-dialog", pred, gold)


def test_phrases_are_scored_by_any_and_by_merged_boxes(tmp_path):
    truth = {"p": [[0, 0, 10, 10], [20, 0, 30, 10]], "q": [[0, 0, 2, 4]]}
    guesses = {"p": [[50, 50, 60, 60], [0, 0, 10, 10]], "q": [[0, 0, 2, 2]]}  # q overlaps by exactly one half
    pred, gold = written(tmp_path, pred=guesses, gold=truth)
    found = score("phrase-grounding", pred, gold)
    assert [one.value for one in found.scores] == [50, 100, 100, 50, 50, 50]
    assert found.scores[3].convention == "merged: R@1, IoU >= 0.5, boxes xyxy"
    assert [one.value for one in score("phrase-grounding", pred, gold, convention="merged").scores] == [
        50
    ] * 3
    (pred,) = written(tmp_path, pred={"q": [[0, 0, 2, 2]]})
    assert score("phrase-grounding", pred, gold, missing="zero").scores[0].value == 50
    (pred,) = written(tmp_path, pred={"p": [[0, 0, 1]], "q": []})
    with pytest.raises(UserError, match="p: expected boxes, each left, top, right, bottom"):
        score("phrase-grounding", pred, gold)


def test_hateful_memes_reads_its_submission(tmp_path):
    gold = tmp_path / "dev.jsonl"
    labels = (0, 0, 1, 1)
    lines = [json.dumps({"id": place, "img": "x", "label": hit}) for place, hit in enumerate(labels)]
    gold.write_text("\n".join(lines), encoding="utf-8")
    pred = tmp_path / "pred.csv"
    pred.write_text("id,proba,label\n0,0.1,0\n1,0.4,0\n2,0.4,0\n3,0.8,1\n", encoding="utf-8")
    found = score("hateful-memes", pred, gold)
    assert first(found) == {"auroc": 87.5, "accuracy": 75}  # 3.5 of 4 pairs
    assert found.scores[1].convention == "labels of the file"
    (pred,) = written(tmp_path, pred={"0": 0.5, "1": 0.4, "2": 0.4, "3": 0.8})
    found = score("hateful-memes", pred, gold)
    assert first(found)["accuracy"] == 50
    assert found.scores[1].convention == "hateful from 0.5 on"
    (pred,) = written(tmp_path, pred={"0": 0, "1": 0, "2": 1, "3": 0})
    assert score("hateful-memes", pred, gold).scores[0].note.startswith("only 0 and 1")
    (pred,) = written(tmp_path, pred={"3": 0.9})
    assert first(score("hateful-memes", pred, gold, missing="zero")) == {"auroc": None, "accuracy": 25}
    (pred,) = written(tmp_path, pred={"0": "high", "1": 0, "2": 0, "3": 0})
    with pytest.raises(UserError, match="0: expected a number, not 'high'"):
        score("hateful-memes", pred, gold)


def test_relations_are_found_with_both_boxes(tmp_path):
    def relation(subject, thing, **more):  # boxes of VRD: top, bottom, left, right
        ends = {"subject": {"category": 1, "bbox": subject}, "object": {"category": 2, "bbox": thing}}
        return {"predicate": 7, **ends, **more}

    left, right = [0, 10, 0, 20], [0, 10, 30, 50]
    truth = {"i": [relation(left, right), relation(right, left)], "j": [relation(left, left)]}
    guesses = {"i": [relation(left, right, score=0.9), relation([0, 10, 0, 5], right, score=0.1)], "j": []}
    pred, gold = written(tmp_path, pred=guesses, gold=truth)
    found = score("relation-detection", pred, gold)
    assert [(round(one.value, 4), one.n) for one in found.scores] == [(33.3333, 3)] * 2
    plain = {
        "i": [{"triple": ["1", "7", "2"], "boxes": [[0, 0, 20, 10], [30, 0, 50, 10]], "score": 1}],
        "j": [],
    }
    (pred,) = written(tmp_path, pred=plain)
    assert score("relation-detection", pred, gold).scores[0].value == pytest.approx(100 / 3)
    many = {"i": [relation(right, right, score=1)] * 50 + [relation(left, right, score=0.5)], "j": []}
    (pred,) = written(tmp_path, pred=many)
    values = [one.value for one in score("relation-detection", pred, gold).scores]
    assert values == pytest.approx([0, 100 / 3])  # the right one is the 51st
    whole = score("relation-detection", pred, gold, convention="phrase").scores
    assert whole[0].convention == "phrase: R@50, IoU >= 0.5"
    (pred,) = written(tmp_path, pred={"i": [{"predicate": 7}], "j": []})
    with pytest.raises(UserError, match="i: a relation has subject and object"):
        score("relation-detection", pred, gold)


def test_entities_of_forms_are_counted_over_all_pages(tmp_path):
    truth = {"p": ["B-Q", "I-Q", "O", "B-A"], "q": ["B-A", "I-A"]}
    guesses = {"p": ["B-Q", "I-Q", "O", "B-Q"], "q": ["B-A", "O"]}
    pred, gold = written(tmp_path, pred=guesses, gold=truth)
    found = score("document-understanding", pred, gold)
    assert found.scores[0].value == pytest.approx(100 / 3)
    assert found.scores[0].n == 3
    for name, tags in (("pred", guesses), ("gold", truth)):
        lines = ["\n".join(f"word\t{tag}" for tag in page) for page in tags.values()]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    texts = score("document-understanding", tmp_path / "pred.txt", tmp_path / "gold.txt")
    assert texts.scores == found.scores
    (pred,) = written(tmp_path, pred={"p": guesses["p"]})
    value = score("document-understanding", pred, gold, missing="zero").scores[0].value
    assert value == pytest.approx(100 * 2 / 5)  # one of two predicted, three true
    (pred,) = written(tmp_path, pred={"p": ["O"], "q": ["O", "O"]})
    with pytest.raises(UserError, match="p has 1 tags, the truth 4"):
        score("document-understanding", pred, gold)


def test_plain_labels_are_scored_for_video_inference(tmp_path):
    pred, gold = written(tmp_path, pred={"a": True, "b": False}, gold={"a": True, "b": True})
    assert first(score("video-inference", pred, gold))["accuracy"] == 50


def gqa_question(answer, **more):
    kinds = {"structural": "query", "semantic": "attr", "detailed": "color"}
    return {"question": "?", "answer": answer, "isBalanced": True, "types": kinds, **more}


def test_gqa_gives_each_metric_for_which_the_questions_have_what_it_needs(tmp_path):
    verify = {"structural": "verify", "semantic": "obj", "detailed": "existC"}
    truth = {
        "1": gqa_question(
            "red",
            entailed=["1", "2", "3"],
            groups={"global": "car"},
            valid=["red", "blue"],
            plausible=["red"],
        ),
        "2": gqa_question("yes", isBalanced=False, types=verify),
        "3": gqa_question("no", isBalanced=False, types=verify),
        "4": gqa_question("blue", groups={"global": "car"}, valid=["red", "blue"], plausible=["blue"]),
        "5": gqa_question("yes", types=verify, groups={"global": None}),
        "6": gqa_question(
            "color", types=verify | {"detailed": "twoCommon"}, valid=["no"], groups={"global": None}
        ),
    }
    truth["7"] = gqa_question("cat")
    answers = {"7": "dog", "1": "red", "2": "yes", "3": "yes", "4": "red", "5": "yes", "6": "shape", "9": "x"}
    guesses = [{"questionId": key, "prediction": value} for key, value in answers.items()]
    pred, gold = written(tmp_path, pred=guesses, gold=truth)
    found = score("gqa", pred, gold)
    values = told(found)
    assert values["accuracy", "exact match", ""] == (40, 5)
    assert values["accuracy", "exact match", "binary questions"] == (50, 2)
    assert values["accuracy", "exact match", "open questions"] == (pytest.approx(100 / 3), 3)
    own = "as the data set's script"
    assert values["gqa-consistency", own, ""] == (50, 1)
    assert values["gqa-validity", own, ""] == (100, 3)  # shape counts for what things have in common
    assert values["gqa-plausibility", own, ""] == (50, 2)
    assert values["gqa-distribution", own, ""] == (pytest.approx(0.02), 2)
    assert first(found)["gqa-grounding"] is None
    assert found.counts["extra"] == 1
    (odd,) = written(tmp_path, odd={"1": gqa_question("red", entailed=4)})
    with pytest.raises(UserError, match="1: entailed is not as in the questions of GQA"):
        score("gqa", pred, odd)
    del answers["2"]
    (pred,) = written(tmp_path, pred=answers)
    lines = {one.metric: one for one in score("gqa", pred, gold).scores}
    assert lines["gqa-consistency"].value is None
    assert "1 entailed questions lack a prediction or the truth, such as 2" in lines["gqa-consistency"].note


def test_gqa_of_plain_answers_says_what_is_missing(tmp_path, capsys):
    pred, gold = written(tmp_path, pred={"1": "red"}, gold={"1": "red", "2": "blue"})
    with pytest.raises(UserError, match="1 of 2 predictions are missing: 2"):
        score("gqa", pred, gold)
    found = score("gqa", pred, gold, missing="zero")
    assert first(found)["accuracy"] == 50
    assert report(found) == 0
    shown = capsys.readouterr().out
    assert "skipped: no question has 'entailed'" in shown
    assert "skipped: no question has 'valid'" in shown
    assert report(found, require=["gqa-validity"]) == 3


def test_a_okvqa_has_two_settings(tmp_path):
    def question(key, hard):
        return {
            "question_id": key, "choices": ["cat", "dog"], "correct_choice_idx": 1,
            "difficult_direct_answer": hard, "direct_answers": ["dog"] * 2 + ["hound"] * 8,
        }  # fmt: skip

    pred, gold = written(
        tmp_path, pred={"x": "dog", "y": "cat"}, gold=[question("x", False), question("y", True)]
    )
    values = told(score("a-okvqa", pred, gold))
    how = "direct-answer: min(1, equal answers / 3)"
    assert values["vqa-acc", how, "all questions"] == (pytest.approx(100 / 3), 2)
    assert values["vqa-acc", how, "without those with difficult_direct_answer"] == (pytest.approx(200 / 3), 1)
    assert first(score("a-okvqa", pred, gold, convention="multiple-choice")) == {"accuracy": 50}


def test_counts_are_scored_by_squared_error_raw_or_rounded(tmp_path):
    pred, gold = written(tmp_path, pred={"a": 2.5, "b": 14}, gold={"a": 2, "b": 9})
    assert first(score("video-qa", pred, gold, convention="count")) == {"count-mse": (0.25 + 25) / 2}
    found = score("video-qa", pred, gold, convention="count-rounded")
    assert first(found) == {"count-mse": (1 + 1) / 2}  # 3 for 2, and 10 for 9
    assert (found.scores[0].n, found.scores[0].unit) == (2, "none")
    assert "accuracy" in first(score("video-qa", pred, gold))
    with pytest.raises(UserError, match="counts nothing"):
        score("video-qa", pred, gold, convention="count", missing="zero")
    (pred,) = written(tmp_path, pred={"a": "two", "b": 1})
    with pytest.raises(UserError, match="a: expected a number, not 'two'"):
        score("video-qa", pred, gold, convention="count")


@pytest.mark.parametrize(
    ("task", "message"),
    [("sentiment", "x: expected a number"), ("referring-expressions", "x: expected a box of four numbers")],
)
def test_what_is_no_number_is_refused_with_its_id(task, message, tmp_path):
    pred, gold = written(tmp_path, pred={"x": {"y": 1}}, gold={"x": {"y": 1}})
    with pytest.raises(UserError, match=message):
        score(task, pred, gold)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"captioning"}))
def test_a_convention_that_does_not_exist_is_refused_for_every_task(task, tmp_path):
    pred, gold = written(tmp_path, pred={"1": "x"}, gold={"1": "x"})
    with pytest.raises(UserError, match="--convention odd: there are"):
        score(task, pred, gold, convention="odd")


def test_what_tasks_are_scored_by_has_a_record_with_the_same_unit(tmp_path, corridor):
    units = {record["id"]: record["unit"] for record in Atlas.load().all("metrics")}
    numpy.save(tmp_path / "s.npy", numpy.eye(3))
    named = {
        "walks": submission(WALKED), "r2r": R2R, "owner": [0, 1, 2], "pairs": {"x": [0, 1]},
        "texts": {"x": "y"}, "spans": {"x": [0, 5]}, "ranks": RANKS,
        "dense": [RANKS[0] | {"gt_relevance": [1, 0, 0], "gt_index": 0}],
        "boxes": {"x": [[0, 0, 2, 2]]}, "memes": {"x": 0, "y": 1}, "tags": {"x": ["B-Q"]},
        "counts": {"x": 2}, "relations": {"x": [{"triple": ["a", "b", "c"], "boxes": [[0, 0, 2, 2]] * 2}]},
    }  # fmt: skip
    paths = dict(zip(named, written(tmp_path, **named), strict=True))
    for task, pred, gold, more in (
        ("navigation", "walks", "r2r", {"graph": corridor}), ("vcr", "pairs", "pairs", {}),
        ("moment-retrieval", "spans", "spans", {}), ("visual-dialog", "ranks", "dense", {}),
        ("phrase-grounding", "boxes", "boxes", {}), ("hateful-memes", "memes", "memes", {}),
        ("relation-detection", "relations", "relations", {}), ("document-understanding", "tags", "tags", {}),
        ("gqa", "texts", "texts", {}), ("video-qa", "counts", "counts", {"convention": "count"}),
    ):  # fmt: skip
        for one in score(task, paths[pred], paths[gold], **more).scores:
            assert units[one.metric] == one.unit, one
            assert one.value is None or one.n > 0, one
    for one in score("video-retrieval", tmp_path / "s.npy", paths["owner"]).scores:
        assert units[one.metric] == one.unit, one
