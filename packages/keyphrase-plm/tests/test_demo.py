"""The demo's parts at a fraction of their length, twice."""

import json

import pytest

from keyphrase_plm import demonstration
from keyphrase_plm.commands.demo import Options, run
from keyphrase_plm.demonstration import Plan, highlighted
from keyphrase_plm.documents import Document, Prediction
from nonet.report.demos import read
from nonet.testing import one_thread

SHORT = Plan(
    texts=60, labelled=2, draws=1, written=16, test=8, pretrain_steps=6, tag_steps=6, write_steps=4, width=32
)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


def test_two_runs_give_the_same_numbers_and_the_keys_that_all_demos_have(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demonstration, "Plan", lambda: SHORT)
    told = []
    for _ in range(2):  # the second replaces the first
        assert run(Options(out=tmp_path / "demo")) == 0
        found = read(tmp_path / "demo", "keyphrase-plm")
        assert (found.package, found.better) == ("keyphrase-plm", "higher")
        told.append(json.loads((tmp_path / "demo" / "demo.json").read_text()))
        assert told[-1].pop("seconds") > 0
    assert told[0] == told[1]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Pre-training" in page
    assert "present F1@M" in capsys.readouterr().out


def test_found_phrases_are_marked_and_missed_ones_underlined():
    document = Document("1", "on the <oak>", "we study the old oak . green fern .", ("old oak", "green fern"))
    shown = highlighted(document, Prediction("1", ("old oak",)))
    assert shown == "on the &lt;oak&gt; . we study the <mark>old oak</mark> . <u>green fern</u> ."


@pytest.mark.slow
def test_pre_training_helps_the_tagger(tmp_path, monkeypatch, capsys):
    """The demo as it is but for its writer, which comes last."""
    monkeypatch.setattr(demonstration, "Plan", lambda: Plan(written=16, write_steps=4))
    assert run(Options(out=tmp_path / "demo")) == 0
    told = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert told["after"] > told["before"] + 0.05
