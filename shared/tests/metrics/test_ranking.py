"""Ranking metrics by hand, by their invariants and, where it is installed, against trec_eval's own code."""

import math
import random
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.ranking import METRICS, in_order, parse_metric, score_run
from nonet.testing import needs

PEER = {
    "nDCG": "ndcg", "nDCG@1": "ndcg_cut_1", "nDCG@5": "ndcg_cut_5", "nDCG@20": "ndcg_cut_20", "P@1": "P_1",
    "P@20": "P_20", "MAP": "map", "MAP@5": "map_cut_5", "MRR": "recip_rank", "R@3": "recall_3",
    "R@100": "recall_100", "Success@2": "success_2",
}  # fmt: skip
ALL = [*PEER, "nDCG-exp@5", "nDCG-exp", "MRR@2"]


def peer(qrels: Any, run: Any) -> dict[str, dict[str, float]]:
    """trec_eval's values of all judged queries; those that it does not report count 0, as with -c.

    Negative grades are given as 0: pytrec_eval 0.5.11 writes outside its memory, and hangs or dies.
    """
    import pytrec_eval

    qrels = {query: {d: max(grade, 0) for d, grade in judged.items()} for query, judged in qrels.items()}
    measures = {".".join(name.rsplit("_", 1)) if name[-1].isdigit() else name for name in PEER.values()}
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    return {ours: {q: found.get(q, {}).get(theirs, 0.0) for q in qrels} for ours, theirs in PEER.items()}


def random_case(rng: random.Random, scores: Any) -> tuple[Any, Any]:
    """Judgements and a run over few documents, of which some are in one of both only."""
    names = [f"d{number}" for number in range(40)] + ["", "Z", "é", "\uffff", "\U0001f600", "d 1"]
    qrels = {}
    run = {}
    for query in map(str, range(12)):
        judged = rng.sample(names, rng.randint(1, len(names)))
        qrels[query] = {document: rng.choice((-2, -1, 0, 0, 1, 1, 2, 5)) for document in judged}
        if rng.random() < 0.9:
            run[query] = {document: scores() for document in rng.sample(names, rng.randint(0, len(names)))}
    return qrels, run | {"unjudged": {"d1": 1.0}}


# ---------------------------------------------------------------------------------------------------- by hand


def test_metrics_by_hand() -> None:
    qrels = {"q": {"a": 2, "b": -1, "c": -2, "d": 1, "e": 3}}
    run = {"q": {"b": 9.0, "a": 8.0, "x": 7.0, "d": 6.0}}  # relevant: a at rank 2, d at rank 4; e is missing
    log3, log5 = math.log2(3), math.log2(5)
    expected = {
        "nDCG": (2 / log3 + 1 / log5) / (3 + 2 / log3 + 1 / 2),
        "nDCG@2": (2 / log3) / (3 + 2 / log3),
        "nDCG-exp@4": (3 / log3 + 1 / log5) / (7 + 3 / log3 + 1 / 2),
        "P@2": 1 / 2,
        "P@10": 2 / 10,
        "MAP": (1 / 2 + 2 / 4) / 3,
        "MAP@3": (1 / 2) / 3,
        "MRR": 1 / 2,
        "MRR@2": 1 / 2,
        "MRR@1": 0,
        "R@1": 0,
        "R@2": 1 / 3,
        "R@100": 2 / 3,
        "Success@1": 0,
        "Success@2": 1,
    }
    found = score_run(qrels, run, list(expected))
    assert {name: values["q"] for name, values in found.items()} == pytest.approx(expected, abs=1e-12)


def test_mrr_at_10_is_that_of_ms_marco() -> None:
    """0 where the first relevant document is beyond rank 10; queries without results count."""
    qrels = {query: {"r": 1} for query in "abcd"}
    above = {"a": 0, "b": 9, "c": 10}
    run = {query: {f"x{i}": 99.0 - i for i in range(count)} | {"r": 1.0} for query, count in above.items()}
    found = score_run(qrels, run, ["MRR@10", "MRR"])
    assert found["MRR@10"] == pytest.approx({"a": 1, "b": 1 / 10, "c": 0, "d": 0})
    assert found["MRR"] == pytest.approx({"a": 1, "b": 1 / 10, "c": 1 / 11, "d": 0})


def test_all_judged_queries_count_and_no_others() -> None:
    qrels = {"two": {"a": 1}, "none relevant": {"a": 0, "b": -1}, "no judgement": {}, "no result": {"a": 1}}
    run = {"not judged": {"a": 1.0}, "two": {"a": 1.0}, "none relevant": {"a": 1.0}, "no result": {}}
    for name, values in score_run(qrels, run, ALL).items():
        one = 1 / 20 if name == "P@20" else 1
        assert values == pytest.approx({"two": one, "none relevant": 0, "no judgement": 0, "no result": 0})
        assert list(values) == list(qrels)


def test_ties_go_to_the_larger_document_id_whatever_the_order_of_the_run() -> None:
    for documents in ("abc", "cba", "bac"):
        scores = dict.fromkeys(documents, 1.0)
        assert in_order(scores) == ["c", "b", "a"]
        found = score_run({"q": {"b": 1}}, {"q": scores}, ["MRR"])
        assert found == {"MRR": {"q": 1 / 2}}
    assert in_order({"9": 1.0, "10": 1.0, "é": 0.5, "z": 0.5}) == ["9", "10", "é", "z"]  # ids are texts


def test_scores_are_32_bit_floats_as_in_trec_eval() -> None:
    assert in_order({"a": 1 + 1e-8, "b": 1.0}) == ["b", "a"]
    assert in_order({"a": 1 + 1e-6, "b": 1.0}) == ["a", "b"]
    assert in_order({"a": 1e300, "b": 1e200, "c": float("inf"), "d": float("-inf")}) == ["c", "b", "a", "d"]


def test_nothing_to_score() -> None:
    assert score_run({}, {"q": {"a": 1.0}}, ["MAP", "nDCG@3"]) == {"MAP": {}, "nDCG@3": {}}
    assert score_run({"q": {"a": 1}}, {}, []) == {}
    assert score_run({"q": {"a": 1}}, {}, ["P@1"]) == {"P@1": {"q": 0}}


# ------------------------------------------------------------------------------------------------- properties

QUERIES = st.sampled_from("pqr")
DOCUMENTS = st.sampled_from([f"d{number}" for number in range(9)])
GRADES = st.dictionaries(DOCUMENTS, st.integers(-1, 4), max_size=9)
SCORES = st.dictionaries(DOCUMENTS, st.sampled_from([-1.0, 0.0, 0.5, 0.5000001, 2.0]), max_size=9)


@given(GRADES, SCORES)
def test_values_are_shares_and_the_best_order_reaches_1(grades: dict, scores: dict) -> None:
    found = score_run({"q": grades}, {"q": scores}, ALL)
    assert all(0 <= values["q"] <= 1 + 1e-12 for values in found.values())
    best = score_run(
        {"q": grades}, {"q": {document: float(grade) for document, grade in grades.items()}}, ALL
    )
    for name in ("nDCG", "nDCG@5", "nDCG-exp", "MAP", "MRR", "Success@2"):
        assert best[name]["q"] == pytest.approx(1.0 if any(grade > 0 for grade in grades.values()) else 0.0)


@given(GRADES, SCORES)
def test_only_the_order_of_scores_matters(grades: dict, scores: dict) -> None:
    places = {document: -place for place, document in enumerate(in_order(scores))}
    assert score_run({"q": grades}, {"q": scores}, ALL) == score_run({"q": grades}, {"q": places}, ALL)


@given(GRADES, SCORES, st.integers(1, 9))
def test_a_cut_run_has_the_cut_metrics(grades: dict, scores: dict, cut: int) -> None:
    kept = {document: scores[document] for document in in_order(scores)[:cut]}
    for kind in ("MAP", "MRR", "R", "P", "Success"):
        name = f"{kind}@{cut}"
        whole = {"R": "R@100", "P": name, "Success": "Success@100"}.get(kind, kind)
        cut_off = score_run({"q": grades}, {"q": kept}, [whole])[whole]
        assert score_run({"q": grades}, {"q": scores}, [name])[name] == pytest.approx(cut_off)


# ------------------------------------------------------------------------------------------------------ peers


@pytest.mark.peer
@needs("pytrec-eval-terrier")
@pytest.mark.parametrize("ties", ["none", "many", "below 32 bits"])
def test_values_are_trec_eval_s(ties: str) -> None:
    rng = random.Random(len(ties))
    scores = {
        "none": rng.random,
        "many": lambda: rng.choice((0.0, -0.0, 0.25, 0.5, 1.0, -3.5)),
        "below 32 bits": lambda: 1 + rng.randint(0, 8) * 3e-8,
    }[ties]
    for _ in range(40):
        qrels, run = random_case(rng, scores)
        ours, theirs = score_run(qrels, run, list(PEER)), peer(qrels, run)
        for name in PEER:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-12), name


@pytest.mark.peer
@needs("pytrec-eval-terrier")
@given(st.dictionaries(QUERIES, GRADES.filter(bool), min_size=1), st.dictionaries(QUERIES, SCORES))
@settings(max_examples=60)
def test_values_are_trec_eval_s_in_odd_cases(qrels: dict, run: dict) -> None:
    ours, theirs = score_run(qrels, run, list(PEER)), peer(qrels, run)
    for name in PEER:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-12), name


@pytest.mark.peer
@needs("pytrec-eval-terrier")
def test_thousand_documents_a_query_are_trec_eval_s() -> None:
    rng = np.random.default_rng(0)
    run, qrels = {}, {}
    for query in map(str, range(20)):
        chosen = rng.choice(5000, 1000, replace=False).tolist()
        run[query] = {f"D{n}": s for n, s in zip(chosen, np.round(rng.random(1000), 3).tolist(), strict=True)}
        judged = rng.choice(5000, 200, replace=False).tolist()
        qrels[query] = {f"D{n}": g for n, g in zip(judged, rng.integers(0, 4, 200).tolist(), strict=True)}
    ours, theirs = score_run(qrels, run, list(PEER)), peer(qrels, run)
    for name in PEER:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-12), name


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl, in which gdeval is written")
@needs("ir-measures")
def test_ndcg_exp_is_gdeval_s() -> None:
    import ir_measures

    rng = random.Random(0)
    names = [f"d{number}" for number in range(60)]
    qrels, run = {}, {}
    for query in map(str, range(1, 7)):  # gdeval takes numbers alone
        qrels[query] = {document: rng.choice((0, 0, 1, 2, 3, 4)) for document in rng.sample(names, 40)}
        run[query] = {document: rng.random() for document in rng.sample(names, 30)}
    found = ir_measures.iter_calc([ir_measures.nDCG(dcg="exp-log2") @ 10], qrels, run)
    theirs = {metric.query_id: metric.value for metric in found}
    assert score_run(qrels, run, ["nDCG-exp@10"])["nDCG-exp@10"] == pytest.approx(
        theirs, abs=5.1e-6
    )  # 5 digits


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ndcg@10", "no metric 'ndcg@10'; did you mean nDCG@10"),
        ("recall@5", "did you mean R@5"),
        ("F1", "there are nDCG, nDCG-exp, P, MAP, MRR, R, Success"),
        ("P", "'P' needs a cut, such as P@20"),
        ("MAP@0", "the cut is a whole number from 1"),
        ("nDCG@", "the cut is a whole number from 1"),
        ("nDCG@-3", "the cut is a whole number from 1"),
        ("nDCG@²", "the cut is a whole number from 1"),
    ],
)
def test_unknown_metrics_are_refused(name: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        score_run({"q": {"a": 1}}, {}, ["MAP", name])


def test_every_kind_parses() -> None:
    assert {parse_metric(f"{kind}@3").kind for kind in METRICS} == set(METRICS)
    assert parse_metric("nDCG-exp@20") == ("nDCG-exp", 20)
    assert parse_metric("MAP") == ("MAP", None)


def test_scores_that_are_no_numbers_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="query 7, document b: the score is not a number"):
        score_run({"7": {"a": 1}}, {"7": {"a": 1.0, "b": float("nan"), "c": 2.0}}, ["MAP"])
    with pytest.raises(UserError, match="grade 2000 in the judgements; grades are at most 1000"):
        score_run({"7": {"a": 2000}}, {}, ["nDCG-exp"])
