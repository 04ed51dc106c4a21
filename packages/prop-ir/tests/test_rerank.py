"""The command: its run against the parts it is made of, taking up an interrupted one, and what it refuses."""

import json

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.testing import one_thread
from prop_ir import partial_scores
from prop_ir.commands import rerank
from prop_ir.model import save_ranker
from prop_ir.partial_scores import PartialScores, score_resumably
from prop_ir.rerank_options import ScoreOptions
from prop_ir.reranking import arrange, score_candidates
from prop_ir.runs import read_run, write_run
from prop_ir.scoring import Scorer


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def model(judged_ranker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranker") / "model"
    return save_ranker(*judged_ranker(), folder, "card")


@pytest.fixture
def command(judged_toy, model, tmp_path):
    def make(**changes):
        given = {
            "model": str(model), "corpus": (judged_toy.folder / "docs.jsonl",), "max_length": 80,
            "topics": judged_toy.folder / "topics.tsv", "run": judged_toy.folder / "first.trec",
            "device": "cpu",
            "out": tmp_path / "prop.trec", "qrels": judged_toy.folder / "qrels.txt",
        }  # fmt: skip
        return rerank.Options(**given | changes)

    return make


def test_the_run_is_that_of_its_parts(command, judged_ranker, judged_task, judged_toy, capsys):
    assert rerank.run(command(depth=5, interpolate=0.3, normalise="min-max")) == 0
    scorer = Scorer(*judged_ranker(), max_length=80, device="cpu")
    scores = score_candidates(
        scorer, judged_task.queries, judged_task.documents, judged_task.run, ScoreOptions(depth=5)
    )
    expected = arrange(judged_toy.run, scores, weight=0.3, how="min-max")
    found = read_run(command().out)
    assert list(found) == list(expected)
    for query, ranked in expected.items():
        assert list(found[query]) == list(ranked)
        np.testing.assert_allclose(list(found[query].values()), list(ranked.values()), atol=1e-5)
    assert capsys.readouterr().out.endswith("20 queries, 100 candidates re-ranked, 140 below them\n")
    assert [path.name for path in command().out.parent.iterdir()] == ["prop.trec"]


def test_an_interrupted_command_goes_on_and_gives_the_same_bytes(command, monkeypatch):
    monkeypatch.setattr(partial_scores.score_resumably, "__kwdefaults__", {"chunk": 36, "advance": None})
    whole, broken = command(depth=12), command(depth=12, out=command().out.with_name("again.trec"))
    rerank.run(whole)
    calls = []

    def failing(*arguments, **more):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments)
        return score_candidates(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(partial_scores, "score_candidates", failing)
        with pytest.raises(KeyboardInterrupt):
            rerank.run(broken)
    part = broken.out.with_name("again.trec.part.jsonl")
    assert not broken.out.exists()
    assert len(part.read_text().splitlines()) == 4
    with open(part, "a") as file:
        file.write('{"chunk": 3, "sco')  # killed while writing
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(partial_scores, "score_candidates", failing)
        calls += [()] * 2  # one more chunk, and killed again
        with pytest.raises(KeyboardInterrupt):
            rerank.run(broken)
    assert [json.loads(line).get("chunk") for line in part.read_text().splitlines()] == [None, 0, 1, 2, 3]
    counted = []

    def counting(*arguments, **more):
        counted.append(len(arguments[3]))
        return score_candidates(*arguments, **more)

    monkeypatch.setattr(partial_scores, "score_candidates", counting)
    rerank.run(broken)
    assert counted == [3, 3, 2]  # 12 of 20 queries were there
    assert broken.out.read_bytes() == whole.out.read_bytes()
    assert not part.exists()


def test_scores_of_other_work_are_not_taken_up(judged_ranker, judged_task, tmp_path):
    out, options = tmp_path / "run", ScoreOptions(depth=3, max_length=80)

    def key(seed=0, depth=3, drop=False):
        scorer = Scorer(*judged_ranker(seed), max_length=80, device="cpu")
        candidates = dict(list(judged_task.run.items())[drop:])
        _, kept = score_resumably(
            scorer, judged_task.queries, judged_task.documents, candidates, ScoreOptions(depth=depth), out
        )
        return json.loads(kept.path.read_text().splitlines()[0])["key"]

    assert options.depth == 3
    first = key()
    assert key() == first
    assert len({first, key(seed=1), key(depth=2), key(drop=True)}) == 4
    (tmp_path / "run.part.jsonl").write_text("not json\n")
    assert PartialScores(out, "k").done == {}


def test_a_model_without_a_head_is_refused_unless_one_is_drawn(command, judged_toy, tmp_path):
    bare = str(judged_toy.folder / "bert")
    with pytest.raises(UserError, match=r"has no ranking head.*--init-head"):
        rerank.run(command(model=bare))
    assert list(tmp_path.iterdir()) == []
    rerank.run(command(model=bare, init_head=True, depth=2))


def test_queries_and_documents_that_are_missing(command, judged_toy, tmp_path, capsys):
    query = next(iter(judged_toy.run))
    others = dict(list(judged_toy.run.items())[1:])
    run = {query: {"gone": 99.0, **judged_toy.run[query]}, **others, "other": {"a": 1.0}}
    write_run(tmp_path / "first.trec", run, "first")
    rerank.run(command(run=tmp_path / "first.trec", depth=3, qrels=None))
    said = capsys.readouterr().err
    assert "candidates are not in it (gone): they keep the first stage's order" in said
    assert "1 queries of the run are not among the topics (other)" in said
    found = read_run(tmp_path / "prop.trec")
    assert list(found["other"]) == ["a"]
    assert set(list(found[query])[:2]) == set(list(judged_toy.run[query])[:2])
    assert list(found[query])[2] == "gone"


def test_a_long_query_is_cut_with_a_warning(command, judged_toy, tmp_path, capsys):
    first = next(iter(judged_toy.topics))
    topics = {**judged_toy.topics, first: " ".join(["storm"] * 60)}
    (tmp_path / "topics.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in topics.items()))
    rerank.run(command(topics=tmp_path / "topics.tsv", depth=2))
    assert f"warning: 1 queries ({first}) are cut" in capsys.readouterr().err


def test_files_that_number_queries_differently_are_refused(command, judged_toy, tmp_path):
    renumbered = {str(place): ranked for place, ranked in enumerate(judged_toy.run.values(), 500)}
    write_run(tmp_path / "first.trec", renumbered, "first")
    with pytest.raises(UserError, match=r"only 0 of its 20 queries are among the topics.*it has 500, 501"):
        rerank.run(command(run=tmp_path / "first.trec"))
    (tmp_path / "qrels.txt").write_text("900 0 N0001 1\n901 0 N0001 1\n")
    with pytest.raises(UserError, match=r"first.trec: only 0 of its 20 queries are among the 2"):
        rerank.run(command(qrels=tmp_path / "qrels.txt"))


def test_the_collection_is_looked_for_before_the_model(command, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.jsonl"):
        rerank.run(command(corpus=(tmp_path / "nowhere.jsonl",), model="nor/this"))


def test_a_weight_beyond_1_is_refused(command):
    with pytest.raises(UserError, match=r"interpolate is 1.5; it lies in \[0, 1\]"):
        command(interpolate=1.5)
