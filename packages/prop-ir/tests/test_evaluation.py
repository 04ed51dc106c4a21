"""Evaluations by hand, on real judgements, through the command, and the page."""

import json
import re

import numpy as np
import pytest

from nonet.cli import main
from nonet.errors import UserError
from nonet.metrics.paired_tests import paired_t
from nonet.metrics.stats import holm
from nonet.testing import data_folder, needs, replaced
from prop_ir.cli import VERBS
from prop_ir.evaluation import compare, conventions, evaluate, per_query, run_names
from prop_ir.evaluation_page import as_json, comparison_rows, page, text
from prop_ir.qrels import read_qrels
from prop_ir.runs import write_run

QRELS = {"1": {"a": 1, "b": 0}, "2": {"a": 1}, "3": {"c": 2, "a": 1}, "4": {"a": 0}}
FIRST = {"1": {"a": 2.0, "b": 1.0}, "2": {"b": 1.0, "a": 0.5}, "3": {"a": 1.0, "c": 0.5}, "9": {"a": 1.0}}
SECOND = {"1": {"b": 2.0, "a": 1.0}, "2": {"a": 1.0}, "3": {"a": 1.0, "b": 1.0, "c": 0.5}}


def random_run(qrels, seed, skill):
    """Judged documents among others, the relevant ones higher by `skill` on average."""
    rng = np.random.default_rng(seed)
    return {
        query: {f"x{n}": float(s) for n, s in enumerate(rng.normal(size=60))}
        | {name: float(rng.normal() + skill * (grade > 0)) for name, grade in judged.items()}
        for query, judged in qrels.items()
    }


def test_means_and_wins_by_hand():
    found = evaluate(QRELS, {"first": FIRST, "second": SECOND}, ["MRR", "P@1"])
    assert found.queries == ["1", "2", "3", "4"]
    assert found.values["first"]["MRR"].tolist() == [1, 0.5, 1, 0]
    assert found.values["second"]["MRR"].tolist() == [0.5, 1, 0.5, 0]  # tie of query 3: b is before a
    assert found.means["first"]["MRR"].mean == 0.625
    assert found.means["first"]["MRR"].low <= 0.625 <= found.means["first"]["MRR"].high
    mrr, p1 = compare(found)
    assert (mrr.metric, mrr.run, mrr.against) == ("MRR", "second", "first")
    assert mrr.difference == pytest.approx(-0.125)
    assert (mrr.wins, mrr.ties, mrr.losses) == (1, 1, 2)
    assert mrr.p == pytest.approx(paired_t([0.5, 1, 0.5, 0], [1, 0.5, 1, 0]).p)
    assert (p1.wins, p1.ties, p1.losses) == (1, 1, 2)
    assert mrr.low <= mrr.difference <= mrr.high


def test_the_reader_is_told_what_counts():
    runs = {"first": FIRST, "second": SECOND}
    notes = evaluate(QRELS, runs, ["MAP"]).notes
    assert notes == [
        "1 query without a relevant document, counted as 0 as in trec_eval",
        "first: 1 query without results, counted as 0 (trec_eval -c)",
        "first: 1 query without judgements, left out",
        "second: 1 query without results, counted as 0 (trec_eval -c)",
        "second: equal scores in 1 query; such documents are ranked by their ids, as in trec_eval, not by "
        "the rank column",
    ]  # fmt: skip
    assert evaluate(QRELS, runs, ["MAP"], queries=["2", "3"]).notes[0] == "2 of the 4 judged queries count"
    assert conventions(["nDCG@20", "nDCG", "nDCG-exp@10"]) == [
        "nDCG: the gain is the grade, the discount log2(rank + 1) (trec_eval's ndcg)",
        "nDCG-exp: the gain is 2^grade - 1, the discount log2(rank + 1) (gdeval's)",
    ]


def test_all_pairs_or_one_baseline_with_corrections_for_their_number():
    qrels = {str(q): {"r": 1, "s": 1} for q in range(30)}
    skills = {"a": 0, "b": 2, "c": 2.2}
    runs = {name: random_run(qrels, seed, skills[name]) for seed, name in enumerate(skills)}
    found = evaluate(qrels, runs, ["nDCG@10", "MAP"])
    rows = list(compare(found, resamples=200))
    assert [(row.metric, row.run, row.against) for row in rows[:3]] == [
        ("nDCG@10", "b", "a"), ("nDCG@10", "c", "a"), ("nDCG@10", "c", "b")
    ]  # fmt: skip
    assert [row.p_corrected for row in rows[:3]] == pytest.approx(holm([row.p for row in rows[:3]]).tolist())
    rows = list(compare(found, baseline="b", correction="bonferroni", resamples=200))
    assert [(row.run, row.against) for row in rows] == [("a", "b"), ("c", "b")] * 2
    assert [row.p_corrected for row in rows] == pytest.approx([min(1, 2 * row.p) for row in rows])
    assert rows[0].p < 0.001
    assert rows[0].p_randomisation < 0.01
    rows = list(compare(found, correction="none", resamples=200))
    assert all(row.p == row.p_corrected for row in rows)


def test_folds_are_pooled_over_queries():
    """A fold of one query and one of three: the mean over queries, not over folds."""
    found = evaluate(QRELS, {"a": FIRST}, ["MRR"], queries=["2", "1", "3", "4"])
    assert found.means["a"]["MRR"].mean == (0.5 + 1 + 1 + 0) / 4
    with pytest.raises(UserError, match="1 queries to count are not judged, such as 77"):
        evaluate(QRELS, {"a": FIRST}, ["MRR"], queries=["1", "77"])
    with pytest.raises(UserError, match="no judged query is left"):
        evaluate(QRELS, {"a": FIRST}, ["MRR"], queries=[])


def test_a_single_query_has_no_test():
    found = evaluate({"1": {"a": 1}}, {"x": FIRST, "y": SECOND}, ["MRR"])
    assert list(compare(found)) == []
    assert "of a single query there is no test" in text(found, [], correction="holm", alpha=0.05)


def test_names_of_runs_tell_them_apart(tmp_path):
    paths = [tmp_path / "a" / "run.trec.gz", tmp_path / "b.trec"]
    assert run_names(paths) == ["run", "b"]
    assert run_names([tmp_path / "a" / "x.trec", tmp_path / "b" / "x.trec"]) == [
        str(tmp_path / "a" / "x.trec"), str(tmp_path / "b" / "x.trec")
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"b\.trec is given twice"):
        run_names([tmp_path / "b.trec"] * 2)


def test_tables_and_page_show_what_users_wrote_and_do_not_obey_it():
    runs = {"<b>first": FIRST, "second": SECOND}
    found = evaluate(QRELS, runs, ["MRR", "nDCG@10"])
    rows = list(compare(found, resamples=50))
    table = text(found, rows, correction="none", alpha=0.99)
    assert re.search(r"^MRR +<b>first +0\.6250 ", table, flags=re.MULTILINE)
    assert re.search(r"second - <b>first +-0\.1250 .* 1 / 1 / 2 ", table)
    assert "the gain is the grade" in table
    assert " *" in table
    shown = page(found, rows, correction="holm", alpha=0.05).render()
    assert "<b>first" not in shown
    assert "second - &lt;b&gt;first" in shown
    assert len(re.findall(r"<title>\d: [+-]0", shown)) == len(QRELS)
    assert "<title>1: -0.5000</title>" in shown
    assert json.loads(json.dumps(as_json(found, rows, correction="holm")))["comparisons"][0]["wins"] == 1


def test_infinite_statistics_are_json():
    same = {"1": {"a": 1.0}, "2": {"a": 1.0}}
    worse = {"1": {"b": 2.0, "a": 1.0}, "2": {"b": 2.0, "a": 1.0}}
    qrels = {"1": {"a": 1}, "2": {"a": 1}}
    found = evaluate(qrels, {"worse": worse, "same": same}, ["MRR"])
    (row,) = compare(found)
    assert (row.t, row.p) == (np.inf, 0)
    assert json.dumps(as_json(found, [row], correction="holm"), allow_nan=False)
    assert comparison_rows([row], correction="none", alpha=0.05)[0]["p (t-test)"] == "0.0000 *"


def test_values_by_query():
    assert per_query(evaluate(QRELS, {"a": FIRST}, ["MRR", "P@1"]))[1] == {
        "query": "2", "run": "a", "MRR": 0.5, "P@1": 0
    }  # fmt: skip


@pytest.mark.peer
@needs("pytrec-eval-terrier")
def test_means_on_real_judgements_are_trec_eval_s():
    import pytrec_eval

    qrels = read_qrels(data_folder("cranfield", "cranqrel.trec.txt"))
    run = random_run(qrels, 3, 1.0)
    del run["7"]
    found = evaluate(qrels, {"run": run}, ["nDCG@20", "MAP", "R@100"]).means["run"]
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.20", "map", "recall.100"}).evaluate(run)
    for ours, name in (("nDCG@20", "ndcg_cut_20"), ("MAP", "map"), ("R@100", "recall_100")):
        mean = sum(values[name] for values in theirs.values()) / len(qrels)  # -c: over all judged queries
        assert found[ours].mean == pytest.approx(mean, abs=1e-12)


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command in a folder of its own, in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NONET_PROGRESS", "0")

    def run(*words):
        code = main("prop-ir", "", "0", VERBS, "prop_ir", [str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def files(folder):
    qrels = {str(q): {"r": 1, "s": 2, "n": 0} for q in range(12)}
    lines = [
        f"{query} 0 {name} {grade}\n" for query, judged in qrels.items() for name, grade in judged.items()
    ]
    (folder / "qrels.txt").write_text("".join(lines))
    write_run(folder / "bm25.trec", random_run(qrels, 0, 0.5), "bm25")
    write_run(folder / "prop.trec", random_run(qrels, 1, 3.0), "prop")
    return ["evaluate", "--qrels", "qrels.txt", "--runs", "prop.trec"]


def test_the_command_prints_and_writes(tmp_path, command):
    words = files(tmp_path)
    code, out, err = command(
        *words, "--baseline", "bm25.trec", "--metrics", "nDCG@5", "MRR@10", "--resamples", 300,
        "--json", "out/a.json", "--per-query", "out/q.tsv", "--out", "out/page.html",
    )  # fmt: skip
    assert code == 0, err
    assert "12 queries" in out
    assert "prop - bm25" in out
    assert "the gain is the grade" in out
    kept = json.loads((tmp_path / "out" / "a.json").read_text())
    assert list(kept["runs"]) == ["bm25", "prop"]
    assert kept["comparisons"][0]["difference"] > 0
    rows = (tmp_path / "out" / "q.tsv").read_text().splitlines()
    assert rows[0] == "query\trun\tnDCG@5\tMRR@10"
    assert len(rows) == 1 + 2 * 12
    assert "<svg" in (tmp_path / "out" / "page.html").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metrics", "ndcg@20"], "did you mean nDCG@20"),
        (["--per-query", "q.csv"], "name a .tsv or a .json file"),
        (["--out", "page"], "name an .html file"),
        (["--level", "1"], "level is 1; it lies between 0 and 1"),
        (["--resamples", "0"], "resamples is 0"),
        (["--runs", "prop.trec", "prop.trec"], "prop.trec is given twice"),
        (["--runs", "other.trec"], "only 0 of its 1 queries are among the 12 of the judgements"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(tmp_path, command, more, message):
    words = files(tmp_path)
    (tmp_path / "other.trec").write_text("Q1 Q0 r 1 1.0 t\n")
    before = sorted(tmp_path.iterdir())
    code, out, err = command(*replaced(words, *more), "--json", "a.json")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_queries_that_a_run_has_results_for(tmp_path, command):
    words = files(tmp_path)
    lines = (tmp_path / "prop.trec").read_text().splitlines()
    (tmp_path / "prop.trec").write_text("".join(f"{line}\n" for line in lines if line.split()[0] in "345"))
    _, out, _ = command(*words, "--count", "retrieved", "--metrics", "MAP")
    assert "3 queries" in out
    assert "note: 3 of the 12 judged queries count" in out
    _, out, _ = command(*words, "--metrics", "MAP")
    assert "note: prop: 9 queries without results, counted as 0 (trec_eval -c)" in out


def test_queries_of_folds_are_pooled(tmp_path, command):
    words = files(tmp_path)
    (tmp_path / "folds.json").write_text('[["1", "2"], ["5"], ["7", "not judged"]]')
    code, out, err = command(*words, "--folds", "folds.json", "--metrics", "MAP", "--per-query", "q.json")
    assert code == 0, err
    assert "4 queries" in out
    rows = json.loads((tmp_path / "q.json").read_text())
    assert [row["query"] for row in rows] == ["1", "2", "5", "7"]
    mean = sum(row["MAP"] for row in rows) / 4
    assert f"MAP     prop  {mean:.4f}" in out
