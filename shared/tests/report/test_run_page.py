import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nonet.errors import UserError
from nonet.report import run_page
from nonet.report.run_page import MOST, curves
from nonet.runs import FOLDER, Run


@dataclass(frozen=True)
class Trainer:
    steps: int = 100
    clip: float | None = None


@dataclass(frozen=True)
class Options:
    data: Path = Path("mails.jsonl")
    betas: tuple[float, float] = (0.9, 0.99)
    note: str = ""
    shuffle: bool = True
    trainer: Trainer = field(default_factory=Trainer)


@pytest.fixture
def run(tmp_path):
    return Run.create("nonet", "learn", Options(), seed=3, folder=tmp_path / "run")


def test_the_page_of_a_run_has_its_options_numbers_and_circumstances(run):
    for step in (1, 2, 3):
        run.log(step, **{"train/loss": 1.0 / step, "epoch": 1})
    run.log(3, **{"val/loss": 0.5})
    run.log(4, **{"train/loss": math.nan})
    run.finish(0)
    with Run.resume(run.folder, Options(note="<again>")) as again:
        again.log(5, **{"train/loss": 0.25, "val/loss": 0.4})
    text = run_page(run.folder).render()
    assert "<h1>nonet learn</h1>" in text
    assert text.count("<td>done</td>") == 2
    for option, value in (("betas", "[0.9, 0.99]"), ("trainer.steps", "100"), ("trainer.clip", "null")):
        assert f"<tr><td>{option}</td><td>{value}</td></tr>" in text
    assert "<td>shuffle</td><td>true</td>" in text
    assert "options-2.yaml" in text
    assert "&lt;again&gt;" in text
    assert text.count("<svg") == 1
    assert ">train</text>" in text
    assert ">val</text>" in text
    assert "processor" in text
    row = text[text.index("<td>train/loss</td>") :]
    assert row.startswith(
        '<td>train/loss</td><td class="number">1.0</td><td class="number">0.25</td>'
        '<td class="number">1.0</td><td class="number">0.25</td><td class="number">5</td>'
    )


def test_a_run_that_goes_on_or_broke_has_a_page_too(run):
    text = run_page(run.folder).render()
    assert "<td>was going on when this page was drawn</td>" in text
    assert "no end noted" not in text
    assert "<svg" not in text
    run.finish(1)
    assert "failed (1)" in run_page(run.folder).render()


@pytest.mark.parametrize(("code", "word"), [(0, "done"), (1, "failed (1)"), (130, "interrupted")])
def test_a_page_that_a_run_drew_of_itself_says_how_it_ended(run, code, word):
    page = run.folder / "report.html"
    run_page(run.folder).save(page)
    assert "was going on" in page.read_text()
    run.finish(code)
    text = page.read_text()
    assert "was going on" not in text
    assert f"<td>{word} after " in text


def test_a_killed_session_has_no_end_on_its_page_when_the_run_goes_on(run, monkeypatch):
    page = run.folder / "report.html"
    run_page(run.folder).save(page)
    monkeypatch.delenv(FOLDER)  # as if its process had been killed then
    Run.resume(run.folder, Options()).finish(2)
    text = page.read_text()
    assert "<td>no end noted</td>" in text
    assert "was going on" not in text
    assert "failed (2)" not in text


def test_of_sessions_without_an_end_only_the_open_one_is_said_to_go_on(run, monkeypatch):
    monkeypatch.delenv(FOLDER)  # as if its process had been killed
    assert "<td>no end noted</td>" in run_page(run.folder).render()
    with Run.resume(run.folder, Options()):
        text = run_page(run.folder).render()
    assert text.count("<td>no end noted</td>") == 1
    assert text.count("<td>was going on when this page was drawn</td>") == 1
    text = run_page(run.folder).render()
    assert text.count("<td>done</td>") == 1
    assert "was going on" not in text


def test_only_a_run_has_a_page(tmp_path):
    with pytest.raises(UserError, match="not the folder of a run"):
        run_page(tmp_path)


def test_numbers_of_one_name_share_a_plot_and_a_single_point_has_none():
    lines = [{"step": step, "seconds": 0.1, "train/loss": 2.0, "val/loss": 3.0, "lr": 0.1} for step in (1, 2)]
    lines.append({"step": 3, "seconds": 0.2, "test/acc": 0.5})
    assert curves(lines) == {
        "loss": {"train": [(1, 2.0), (2, 2.0)], "val": [(1, 3.0), (2, 3.0)]},
        "lr": {"lr": [(1, 0.1), (2, 0.1)]},
    }


def test_a_long_line_is_drawn_as_means_of_neighbours():
    count = 3 * MOST
    points = curves([{"step": step, "loss": float(step % 3)} for step in range(count)])["loss"]["loss"]
    assert len(points) == MOST
    assert points[0] == (1.0, 1.0)
    assert points[-1] == (count - 2, 1.0)
