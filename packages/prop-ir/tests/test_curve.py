"""Learning curves: cells by hand, and a command that computes nothing twice."""

import json

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.testing import one_thread
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir import curve_cells
from prop_ir.commands import curve
from prop_ir.curve import Cell, contrasts, named_models, points, sizes_of
from prop_ir.curve_cells import work_list
from prop_ir.model import save_ranker

TRAINER = TrainerOptions(steps=2, validate_every=0, devices=1, accelerator="cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def cell(model, queries, seed, values):
    by_query = {f"q{i}": float(value) for i, value in enumerate(values)}
    return Cell(model, queries, seed, {name: {"MRR": by_query} for name in ("prop", "mixed")})


CELLS = [
    cell("a", 0, 0, [0.1, 0.2, 0.3, 0.5]), cell("b", 0, 0, [0.2, 0.2, 0.6, 0.9]),
    cell("a", 5, 0, [0.4, 0.4, 0.4, 0.4]), cell("a", 5, 1, [0.6, 0.2, 0.4, 0.2]),
    cell("b", 5, 0, [0.1, 0.6, 0.2, 0.4]), cell("b", 5, 1, [0.3, 0.4, 0.2, 0.2]),
]  # fmt: skip


def test_means_and_intervals_of_queries_and_seeds():
    found = {(p.model, p.queries): p for p in points(CELLS, ["MRR"]) if p.ranking == "prop"}
    assert {key: round(p.mean, 6) for key, p in found.items()} == {
        ("a", 0): 0.275, ("b", 0): 0.475, ("a", 5): 0.375, ("b", 5): 0.3,
    }  # fmt: skip
    assert found["a", 0].over_seeds is None
    assert found["a", 5].seeds == 2
    half = 12.706205 * 0.025  # seeds' means 0.4 and 0.35: t of one degree times the standard error
    assert found["a", 5].over_seeds == pytest.approx((0.375, 0.375 - half, 0.375 + half))
    over = found["a", 5].over_queries
    assert 0.3 <= over.low < over.mean < over.high <= 0.5  # of 0.5, 0.3, 0.4, 0.3


def test_differences_are_paired_by_query_and_corrected_together():
    found = contrasts(CELLS, "MRR")
    assert [(each.model, each.against, each.queries) for each in found] == [("b", "a", 0), ("b", "a", 5)]
    # differences .1 0 .3 .4, and those of the seeds' means: -.3 .2 -.2 0; tails of t by its tables
    assert [each.test.t for each in found] == pytest.approx([2.19089, -0.67648], abs=1e-5)
    first, second = (each.test.p for each in found)
    assert (first, second) == pytest.approx((0.116158, 0.547222), abs=1e-5)
    assert [each.p_holm for each in found] == pytest.approx([2 * first, max(2 * first, second)])


def test_a_single_model_has_no_differences():
    assert contrasts([each for each in CELLS if each.model == "a"], "MRR") == []


def test_sizes():
    assert sizes_of((0, 10, "all"), 40) == ({0: 0, 10: 10, 40: None}, [])
    sizes, notes = sizes_of((50, 5, 40), 40)
    assert sizes == {5: 5, 40: None}
    assert notes[0] == "50 training queries are all that a fold has: 40"


def test_names_of_models():
    assert named_models(("x=runs/a/model", "runs/b/model", "org/c")) == {
        "x": "runs/a/model", "b": "runs/b/model", "c": "org/c",
    }  # fmt: skip
    with pytest.raises(UserError, match="two models are called 'b'"):
        named_models(("a/b", "c/b/model"))
    with pytest.raises(UserError, match="a model is FOLDER or NAME=FOLDER"):
        named_models(("=x",))


def test_zero_shot_needs_one_seed_where_the_head_is_there():
    works = work_list(["a", "b"], {0: 0, 5: 5}, [0, 1], 2, same_head={"a": True, "b": False})
    zero = [(work.name, work.seed) for work in works if not work.queries]
    assert zero == [("a", 0), ("b", 0), ("b", 1)]
    trained = [work for work in works if work.queries]
    assert len(trained) == len({work.file for work in trained}) == 2 * 2 * 2
    assert works[: len(works) // 2][-1].seed == 0


@pytest.fixture(scope="module")
def with_head(judged_ranker, tmp_path_factory):
    return save_ranker(*judged_ranker(5), tmp_path_factory.mktemp("head") / "ranker", "card")


def test_the_command_stores_every_fold_and_goes_on(judged_toy, with_head, tmp_path, monkeypatch, capsys):
    def options(**changes):
        given = {
            "models": (f"bare={judged_toy.folder / 'bert'}", str(with_head)),
            "qrels": judged_toy.folder / "qrels.txt",
            "corpus": (judged_toy.folder / "docs.jsonl",), "depth": 5,
            "topics": judged_toy.folder / "topics.tsv",
            "run": judged_toy.folder / "first.trec", "queries": (0, 4), "seeds": (0,), "folds": 2,
            "max_length": 64, "negatives": 2, "device": "cpu", "out": tmp_path / "run", "hold_out": 0.0,
            "metrics": ("nDCG@20", "MRR"), "trainer": TRAINER, "optimizer": OptimizerOptions(lr=1e-3),
        }  # fmt: skip
        return curve.Options(**given | changes)

    curve.run(options())
    folder = tmp_path / "run"
    files = {path.relative_to(folder / "cells").as_posix() for path in folder.rglob("cells/**/*.json")}
    assert files == {
        f"{name}/{place}.json"
        for name in ("bare", "ranker")
        for place in ("0-queries/seed-0/all", "4-queries/seed-0/fold-1", "4-queries/seed-0/fold-2")
    }
    first = json.loads((folder / "curve.json").read_text())
    assert len(first["points"]) == 2 * 2 * 2 * 2
    tested = [(each["model"], each["queries"]) for each in first["tests"]["MRR"]]
    assert tested == [("ranker", 0), ("ranker", 4)]
    out = capsys.readouterr().out
    assert "ranker - bare" in out
    assert "first stage (first):" in out
    page = (folder / "report.html").read_text()
    assert page.count("<polygon") == 2 * 2 * 2
    zero = json.loads((folder / "cells/ranker/0-queries/seed-0/all.json").read_text())
    assert set(zero["values"]["prop"]["MRR"]) == set(judged_toy.qrels)

    done = []
    inner = curve_cells.fold_runs
    monkeypatch.setattr(curve_cells, "fold_runs", lambda *a, **more: done.append(a[2:4]) or inner(*a, **more))
    curve.run(options(resume=folder, seeds=(0, 1), models=(str(with_head),)))
    assert done == [(4, 1), (4, 1)]
    again = json.loads((folder / "curve.json").read_text())
    kept = [p for p in first["points"] if p["model"] == "ranker" and p["queries"] == 0]
    assert [p for p in again["points"] if p["queries"] == 0] == kept
    with pytest.raises(UserError, match=r"bare was .*give it another name"):
        curve.run(options(resume=folder, models=(f"bare={with_head}",)))
    with pytest.raises(UserError, match="folds is 3 here but 2 in"):
        curve.run(options(resume=folder, folds=3))
    with pytest.raises(UserError, match="new_heads names 'other'"):
        curve.run(options(new_heads=("other",)))
    with pytest.raises(UserError, match="they are 0 or more, or all"):
        options(queries=(-1,))
    with pytest.raises(UserError, match="none of the 1 training queries has a relevant"):
        curve.run(options(out=tmp_path / "other", depth=1, queries=(1,), seeds=tuple(range(9))))
    assert not (tmp_path / "other").exists()


def test_more_training_queries_change_the_result(judged_toy, judged_task, with_head):
    from prop_ir.cross_validation import Plan
    from prop_ir.curve import fold_runs
    from prop_ir.folds import make_folds
    from prop_ir.rerank_options import ScoreOptions, TuneOptions

    plan = Plan(
        str(with_head), "keep", judged_task, "nDCG@20", TuneOptions(negatives=2, hold_out=0.0),
        ScoreOptions(depth=5, max_length=64, device="cpu"), TRAINER, OptimizerOptions(lr=1e-2),
    )  # fmt: skip
    fold = make_folds(judged_toy.qrels, 2)[0]
    runs = [fold_runs(plan, fold, count, 0)[0] for count in (2, 2, None)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert set(runs[0]) == set(fold.test)
    assert np.isfinite([score for ranked in runs[0].values() for score in ranked.values()]).all()
