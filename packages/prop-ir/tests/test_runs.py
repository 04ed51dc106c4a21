"""Run files: order, ties and errors, by hand and through trec_eval's own reader."""

import gzip
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.ranking import in_order
from nonet.testing import needs
from prop_ir.runs import read_run, steps_down, write_run


def lines(path):
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_is_read_by_score_and_equal_scores_by_rank(tmp_path):
    path = tmp_path / "a.trec"
    path.write_text(
        "2 Q0 x 1 0.5 me\n1 Q0 a 3 1.0 me\n1 Q0 b 2 1.0 me\n\n1 Q0 c 9 7e0 me\r\n1\tQ0\td\t1\t-inf\tme",
        encoding="utf-8",
    )
    run = read_run(path)
    assert run == {"2": {"x": 0.5}, "1": {"c": 7.0, "b": 1.0, "a": 1.0, "d": -math.inf}}
    assert list(run) == ["2", "1"]
    assert list(run["1"]) == ["c", "b", "a", "d"]


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "folder" / "a.trec"
    run = {"q2": {"b": 3.25, "a": 1.5, "é": -2.0}, "q1": {"c": 0.1}}
    write_run(path, run, "system")
    again = read_run(path)
    assert [list(documents) for documents in again.values()] == [["b", "a", "é"], ["c"]]
    assert again["q2"] == run["q2"]  # these have 32 bits
    assert again["q1"]["c"] == pytest.approx(0.1, rel=1e-7)
    assert lines(path)[1] == ["q2", "Q0", "a", "2", "1.5", "system"]
    assert [row[3] for row in lines(path)] == ["1", "2", "3", "1"]
    write_run(path, {}, "system")
    assert path.read_text() == ""


def test_ties_are_written_one_smallest_step_apart(tmp_path):
    path = tmp_path / "a.trec"
    write_run(path, {"q": {"a": 1.0, "z": 1.0, "m": 1.0, "b": 0.99999994, "low": 0.0}}, "t")
    scores = [np.float32(row[4]) for row in lines(path)]
    step = np.float32(2**-24)
    assert scores == [1, 1 - step, 1 - 2 * step, 1 - 3 * step, 0]
    assert [row[2] for row in lines(path)] == ["a", "z", "m", "b", "low"]


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3),
        st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1 + 1e-9, -1.0, 3e38]), st.floats(-1e6, 1e6)),
        max_size=12,
    )
)
def test_steps_keep_the_order_and_move_no_more_than_they_have_to(documents):
    found = steps_down(documents)
    values = [float(value) for value in found.values()]
    assert all(a > b for a, b in pairwise(values))
    assert list(found) == sorted(documents, key=lambda name: -documents[name])
    assert in_order({name: float(value) for name, value in found.items()}) == list(found)
    rounded = {name: np.float32(score) for name, score in documents.items()}
    if len(set(map(float, rounded.values()))) == len(rounded):
        assert found == rounded


@pytest.mark.peer
@needs("pytrec-eval-terrier")
@settings(max_examples=30)
@given(st.permutations("abcdefgh"), st.sampled_from([0.0, 1.0, -7.5, 1e-40, 12345.678]))
def test_trec_eval_finds_the_written_order_of_ties(order, score):
    import tempfile
    from pathlib import Path

    import pytrec_eval

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.trec"
        write_run(path, {"q": dict.fromkeys(order, score)}, "t")
        with open(path, encoding="utf-8") as file:
            run = pytrec_eval.parse_run(file)
    for place, document in enumerate(order, 1):
        evaluator = pytrec_eval.RelevanceEvaluator({"q": {document: 1}}, {"recip_rank"})
        assert evaluator.evaluate(run)["q"]["recip_rank"] == pytest.approx(1 / place)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_runs_are_written_and_read(tmp_path, suffix):
    path = tmp_path / f"a.trec{suffix}"
    write_run(path, {"q": {"a": 1.0}}, "t")
    assert read_run(path) == {"q": {"a": 1.0}}
    if suffix == ".gz":
        assert gzip.decompress(path.read_bytes()) == b"q Q0 a 1 1.0 t\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Q0 a 1 1.0\n", r"a\.trec:1: 5 columns, but a run has six: query Q0 document rank score tag: '"),
        ("1 a 1\n", "MS MARCO's three columns lack scores"),
        ("1 Q0 a 1 1.0 t\n1 Q0 b 2 high t\n", r"a\.trec:2: score 'high' is not a number"),
        ("1 Q0 a first 1.0 t\n", "rank 'first' is not a whole number"),
        ("1 Q0 a 1 nan t\n", "score of document a for query 1 is NaN"),
        ("1 Q0 a 1 3 t\n1 Q0 b 2 2 t\n1 Q0 a 3 1 t\n", r"a\.trec:3: document a occurs twice for query 1"),
        ("", "is empty"),
        (b"1 Q0 \xe9 1 3 t\n", "has bytes that are not UTF-8; convert it: iconv"),
    ],
)  # fmt: skip
def test_bad_runs_are_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "a.trec"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        read_run(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.trec: no such file"):
        read_run(tmp_path / "absent.trec")
    with pytest.raises(UserError, match="is a folder"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"7": {"d1": 1.0, "d2": math.nan}}, "t", "query 7, document d2: the score is nan"),
        ({"7": {"d1": math.inf}}, "t", "query 7, document d1: the score is inf"),
        ({"7": {"d1": 1e39}}, "t", "finite 32-bit numbers"),
        ({"7": {"d1": -3.4028234663852886e38, "d2": -3.4028234663852886e38}}, "t", "no numbers below"),
        ({"7": {"d 1": 1.0}}, "t", "query 7: document id 'd 1' cannot stand in a run file"),
        ({"": {"d1": 1.0}}, "t", "query id '' cannot stand"),
        ({"7": {"d1": 1.0}}, "my tag", "tag 'my tag' cannot stand"),
    ],
)
def test_what_no_reader_could_read_is_not_written(tmp_path, run, tag, message):
    with pytest.raises(UserError, match=message):
        write_run(tmp_path / "a.trec", run, tag)
    assert list(tmp_path.iterdir()) == []
