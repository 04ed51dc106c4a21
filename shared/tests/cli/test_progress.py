import io
import sys

import pytest

import nonet.progress
from nonet.cli.progress import progress


class Clock:
    """Stands in for the module `time`: every reading is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(nonet.progress, "time", Clock())
    for name in ("NONET_PROGRESS", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_items_pass_through_and_lines_come_about_every_tenth(capsys):
    assert list(progress(range(200), label="read", unit="documents")) == list(range(200))
    lines = capsys.readouterr().err.splitlines()
    assert 8 <= len(lines) <= 11
    assert lines[0].startswith("read: 20 of 200 documents (10%) in")
    assert lines[-1].startswith("read: 200 of 200 documents (100%) in")
    assert "documents/s" in lines[-1]


def test_a_short_loop_has_one_line(capsys):
    with progress(total=4e6, label="read", unit="bytes") as bar:
        bar.advance(1e6)
        bar.advance(3e6)
    assert capsys.readouterr().err.startswith("read: 4M of 4M bytes (100%) in")


def test_a_loop_without_a_known_end(capsys):
    assert sum(progress(iter(range(100)), label="count", unit="items")) == 4950
    lines = capsys.readouterr().err.splitlines()
    counts = [int(line.removeprefix("count: ").split(" items")[0]) for line in lines]
    assert counts == pytest.approx([30, 60, 90, 100], abs=3)  # our clock goes on while a line is written
    assert counts[-1] == 100


def test_of_work_that_was_not_asked_for_nothing_is_said(capsys, monkeypatch):
    with progress(total=0, label="fit", unit="steps"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress(total=0, label="fit", unit="steps"):
        assert sys.stderr.getvalue() == ""
    assert sys.stderr.getvalue() == ""


def test_a_loop_that_breaks_says_where(capsys):
    with pytest.raises(ZeroDivisionError), progress(total=10, label="work", unit="steps") as bar:  # noqa: PT012
        bar.advance(3)
        raise ZeroDivisionError
    assert capsys.readouterr().err.startswith("work: stopped at 3 of 10 steps (30%)")


@pytest.mark.parametrize(("name", "value"), [("NONET_PROGRESS", "0"), ("RANK", "1"), ("LOCAL_RANK", "3")])
def test_silence(capsys, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert list(progress([1, 2], label="read", unit="documents")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_nothing_to_do(capsys):
    assert list(progress([], label="read", unit="documents")) == []
    assert capsys.readouterr().err.startswith("read: 0 documents in")


def test_a_bar_on_a_terminal_ends_full(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert list(progress(["a", "b"], label="[read]", unit="documents")) == ["a", "b"]
    assert "[read]" in terminal.getvalue()
    assert "2 of 2 documents" in terminal.getvalue()


def test_without_an_iterable_it_cannot_be_gone_through():
    with pytest.raises(TypeError, match="call advance"):
        list(progress(total=3, label="a", unit="b"))
