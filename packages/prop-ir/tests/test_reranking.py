"""Re-ranking by scores that are known: a scorer that counts, and brute force over windows."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from nonet.testing import one_thread
from prop_ir.passages import windows
from prop_ir.rerank_options import ScoreOptions
from prop_ir.reranking import arrange, rerank, score_candidates
from prop_ir.scoring import Scorer

RUN = {"q1": {"a": 9.0, "b": 8.0, "c": 7.0, "d": 6.0}, "q2": {"b": 2.0, "e": 1.0}}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def scorer(judged_ranker):
    return Scorer(*judged_ranker(), max_length=64, device="cpu")


def test_scored_candidates_come_first_and_the_rest_keep_their_order():
    ranked = arrange(RUN, {"q1": {"b": -1.0, "c": 5.0}})
    assert list(ranked["q1"]) == ["c", "b", "a", "d"]
    assert ranked["q1"] == {"c": 5.0, "b": -1.0, "a": -2.0, "d": -3.0}
    assert list(ranked["q2"]) == ["b", "e"]


def test_equal_scores_keep_the_first_stage_s_order_and_decrease_as_32_bit_floats():
    ranked = arrange(RUN, {"q1": {"d": 1.0, "a": 1.0, "c": 1.0 + 1e-12, "b": 1.0}})
    assert list(ranked["q1"]) == ["c", "a", "b", "d"]
    values = np.array(list(ranked["q1"].values()), np.float32)
    assert (values[1:] < values[:-1]).all()


def test_the_weight_is_the_first_stage_s():
    scores = {"q1": {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0}}
    assert list(arrange(RUN, scores, weight=0)["q1"]) == ["d", "c", "b", "a"]
    assert list(arrange(RUN, scores, weight=1)["q1"]) == ["a", "b", "c", "d"]
    # both have the same spread: with z-scores 0.4 * (a's 1.3416) + 0.6 * (-1.3416) and so on
    mixed = arrange(RUN, scores, weight=0.4)["q1"]
    assert mixed["d"] == pytest.approx(0.2 * 3 / np.sqrt(5))


def test_depth_and_missing_documents(scorer, judged_task):
    query = next(iter(judged_task.run))
    top = list(judged_task.run[query])
    documents = {name: judged_task.documents[name] for name in top if name != top[1]}
    scores = score_candidates(
        scorer, judged_task.queries, documents, {query: top}, ScoreOptions(depth=4, max_length=64)
    )
    assert list(scores[query]) == [top[0], top[2], top[3]]
    ranked = rerank(
        scorer, judged_task.queries, documents, {query: judged_task.run[query]}, ScoreOptions(depth=4)
    )
    assert set(list(ranked[query])[:3]) == {top[0], top[2], top[3]}
    assert list(ranked[query])[3:] == [top[1], *top[4:]]


def test_queries_without_pieces_keep_their_order(scorer, judged_task):
    run = {"unknown": {"x": 1.0, "y": 0.5}}
    assert rerank(scorer, judged_task.queries, judged_task.documents, run) == arrange(run, {})


@pytest.mark.parametrize(("window", "stride"), [(0, 0), (20, 0), (20, 7), (20, 20)])
def test_maxp_is_the_highest_score_of_the_windows(scorer, judged_task, window, stride):
    query, first, *more = next(iter(judged_task.queries)), *list(judged_task.documents)[:5]
    pieces = judged_task.queries[query]
    long = np.concatenate([judged_task.documents[name] for name in (first, *more)])
    options = ScoreOptions(max_length=64, passages="max", window=window, stride=stride)
    candidates = {query: [first, "long"]}
    documents = {first: judged_task.documents[first], "long": long}
    found = score_candidates(scorer, judged_task.queries, documents, candidates, options)
    for name, document in documents.items():
        size = window or 64 - 3 - len(pieces)
        step = stride or size // 2
        starts = range(0, max(len(document) - size, 0) + step, step)
        parts = [document[min(s, max(len(document) - size, 0)) :][:size] for s in starts]
        scores = scorer.score([pieces], parts, [(0, place) for place in range(len(parts))])
        assert found[query][name] == pytest.approx(scores.max(), abs=1e-5)


def test_every_piece_of_a_document_is_read_beside_a_long_query(scorer, monkeypatch):
    document, read = np.arange(5, 205), []

    def score(queries, documents, pairs, **_):
        lengths = scorer.fit(
            np.array([len(queries[0])] * len(documents)), np.array(list(map(len, documents)))
        )
        read.extend(
            piece for part, (_, size) in zip(documents, lengths, strict=True) for piece in part[:size]
        )
        return np.zeros(len(pairs))

    monkeypatch.setattr(scorer, "score", score)
    options = ScoreOptions(passages="max")
    score_candidates(scorer, {"q": np.full(100, 5)}, {"d": document}, {"q": ["d"]}, options)
    assert set(read) == set(document.tolist())


@pytest.mark.parametrize("length", [1, 5, 9, 10, 11, 30, 31])
@pytest.mark.parametrize("stride", [0, 1, 3, 10])
def test_windows_cover_every_piece_and_have_one_size(length, stride):
    found = windows(length, 10, stride)
    assert set().union(*(range(part.start, part.stop) for part in found)) == set(range(length))
    assert {part.stop - part.start for part in found} == {min(length, 10)}
    steps = [b.start - a.start for a, b in pairwise(found)]
    assert all(0 < step <= (stride or 5) for step in steps)


@pytest.mark.parametrize("passages", ["first", "max"])
def test_a_score_that_is_not_finite_names_query_and_document(judged_ranker, judged_task, passages):
    ranker, tokenizer = judged_ranker()
    with torch.no_grad():
        ranker.classifier.bias.fill_(float("nan"))
    scorer = Scorer(ranker, tokenizer, max_length=64, device="cpu")
    query = next(iter(judged_task.run))
    document = next(iter(judged_task.run[query]))
    with pytest.raises(UserError, match=f"query {query}, document {document}: the model's score is not"):
        score_candidates(
            scorer,
            judged_task.queries,
            judged_task.documents,
            judged_task.run,
            ScoreOptions(passages=passages),
        )


def test_options_that_cannot_be_meant():
    with pytest.raises(UserError, match="depth is 0"):
        ScoreOptions(depth=0)
    with pytest.raises(UserError, match="window and stride belong to --passages max"):
        ScoreOptions(window=5)
    with pytest.raises(UserError, match="leaves gaps"):
        ScoreOptions(passages="max", window=5, stride=6)
    with pytest.raises(UserError, match=r"lies in \[0, 1\]"):
        arrange(RUN, {"q1": {"a": 1.0}}, weight=1.5)
