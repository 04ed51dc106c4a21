"""The command: folds that are kept apart, what a run folder holds, going on, and what is refused."""

import json

import pytest

from nonet.errors import UserError
from nonet.metrics.ranking import score_run
from nonet.testing import one_thread
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir import cross_validation
from prop_ir.commands import finetune
from prop_ir.folds import read_folds
from prop_ir.model import load_ranker
from prop_ir.runs import read_run, write_run

TRAINER = TrainerOptions(steps=2, validate_every=0, checkpoint_every=0, devices=1, accelerator="cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture
def options(judged_toy, tmp_path):
    def make(**changes):
        given = {
            "model": str(judged_toy.folder / "bert"), "corpus": (judged_toy.folder / "docs.jsonl",),
            "topics": judged_toy.folder / "topics.tsv", "qrels": judged_toy.folder / "qrels.txt",
            "max_length": 64,
            "run": judged_toy.folder / "first.trec", "depth": 6, "negatives": 2, "groups": 4, "device": "cpu",
            "out": tmp_path / "run", "trainer": TRAINER, "optimizer": OptimizerOptions(lr=1e-3),
            "metrics": ("nDCG@20",),
        }  # fmt: skip
        return finetune.Options(**given | changes)

    return make


def test_folds_test_every_query_by_a_model_that_has_not_seen_it(
    options, judged_toy, monkeypatch, capsys, tmp_path
):
    seen = []
    inner = cross_validation.finetune

    def spy(*arguments, **more):
        assert not {*more["train"], *more["val"]} & set(more["test"])
        seen.append({*more["train"], *more["val"], *more["test"]})
        return inner(*arguments, **more)

    monkeypatch.setattr(cross_validation, "finetune", spy)
    assert finetune.run(options(folds=2)) == 0
    folder = tmp_path / "run"
    assert seen == [set(judged_toy.topics)] * 2
    for name in ("prop", "prop+first"):
        pooled = read_run(folder / f"{name}.trec")
        assert list(pooled) == list(judged_toy.topics)
        for query, ranked in pooled.items():
            assert set(ranked) == set(judged_toy.run[query])
        parts = [read_run(folder / f"fold-{place}" / f"{name}.trec") for place in (1, 2)]
        assert {**parts[0], **parts[1]} == pooled
    folds = read_folds(folder / "folds.json")
    assert [len(fold.val) for fold in folds] == [2, 2]
    reported = json.loads((folder / "metrics.json").read_text())
    run = read_run(folder / "prop.trec")
    values = score_run(judged_toy.qrels, run, ["nDCG@20"])["nDCG@20"].values()
    mean = reported["runs"]["prop"]["nDCG@20"]["mean"]
    assert mean == pytest.approx(sum(values) / len(values))
    assert set(reported["runs"]) == {"first", "prop", "prop+first"}
    page = (folder / "report.html").read_text()
    assert "each query is ranked by a model that was not trained on it" in page
    assert "held-out nDCG@20 after" in page
    assert "prop+first - first" in capsys.readouterr().out
    for place in (1, 2):
        load_ranker(folder / f"fold-{place}" / "model", head="require")
        assert not (folder / f"fold-{place}" / "checkpoints").exists()

    # going on: a finished fold is not trained again, a missing one is, and the result is the same
    monkeypatch.undo()
    before = (folder / "prop.trec").read_bytes()
    (folder / "fold-2" / "fold.json").unlink()
    trained = []

    def counting(*arguments, **more):
        trained.append(more["test"])
        return inner(*arguments, **more)

    monkeypatch.setattr(cross_validation, "finetune", counting)
    finetune.run(options(folds=2, resume=folder))
    assert trained == [folds[1].test]
    assert (folder / "prop.trec").read_bytes() == before

    # recorded folds are read back, with their training and held-out queries
    trained.clear()
    finetune.run(options(folds_file=folder / "folds.json", out=tmp_path / "again"))
    assert (tmp_path / "again" / "prop.trec").read_bytes() == before
    with pytest.raises(UserError, match="loss is hinge here but cross-entropy in"):
        finetune.run(options(folds=2, resume=folder, loss="hinge"))


def test_one_model_on_a_few_queries(options, tmp_path, capsys):
    finetune.run(options(train_queries=10, hold_out=0.0, head="new"))
    folder = tmp_path / "run"
    (fold,) = json.loads((folder / "folds.json").read_text())["folds"]
    assert len(fold["train"]) == 10
    assert fold["val"] == fold["test"] == []
    load_ranker(folder / "model", head="require")
    assert not list(folder.glob("*.trec"))
    assert capsys.readouterr().out == f"{folder}\n"


def test_validation_queries_of_their_own(options, judged_toy, tmp_path):
    names = list(judged_toy.topics)
    write_run(tmp_path / "train.trec", {name: judged_toy.run[name] for name in names[:14]}, "first")
    write_run(tmp_path / "val.trec", {name: judged_toy.run[name] for name in names[14:]}, "first")
    for side, some in (("train", names[:14]), ("val", names[14:])):
        lines = [f"{name}\t{judged_toy.topics[name]}\n" for name in some]
        (tmp_path / f"{side}.tsv").write_text("".join(lines))
    val = {"val_topics": tmp_path / "val.tsv", "val_run": tmp_path / "val.trec"}
    val["val_qrels"] = judged_toy.folder / "qrels.txt"
    finetune.run(options(run=tmp_path / "train.trec", topics=tmp_path / "train.tsv", **val))
    (fold,) = json.loads((tmp_path / "run" / "folds.json").read_text())["folds"]
    assert fold["val"] == fold["test"] == names[14:]
    assert fold["train"] == names[:14]
    assert list(read_run(tmp_path / "run" / "prop.trec")) == names[14:]
    with pytest.raises(UserError, match="6 validation queries are training queries, too"):
        finetune.run(options(out=tmp_path / "other", **val))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "folds is 1"),
        ({"folds": 2, "folds_file": "f.json"}, "either --folds or --folds-file"),
        ({"train_queries": 0}, "train_queries is 0"),
        ({"metrics": ()}, "no metrics"),
        ({"val_topics": "x"}, "go together"),
        ({"val_topics": "x", "val_run": "y", "val_qrels": "z", "folds": 2}, "each fold holds out its own"),
        ({"negatives": 0}, "negatives is 0"),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_options_that_cannot_be_meant(options, changes, message):
    with pytest.raises(UserError, match=message):
        options(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("nDCG20",)}, "no metric 'nDCG20'"),
        ({"folds": 30}, "20 queries are too few for 30 folds"),
        ({"max_length": 500}, "the model has 96 positions"),
        ({"model": "no/where/model"}, "no folder no/where/model"),
        ({"depth": 1, "train_queries": 1, "folds": 5}, "none of the 1 training queries has a relevant"),
    ],
)
def test_mistakes_leave_no_run_behind(options, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        finetune.run(options(**changes))
    assert list(tmp_path.iterdir()) == []
