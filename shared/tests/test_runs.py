import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet import machine
from nonet.errors import RunFailed, UserError
from nonet.options import build, read
from nonet.runs import Run, first_process, folder_of, read_metrics, read_record


@dataclass(frozen=True)
class Options:
    data: Path = Path("mails.jsonl")
    lr: float = 1e-4
    token: str = field(default="hunter2", metadata={"secret": True})


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "NONET_RUN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "1"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, False),
    ],
)
def test_one_of_the_processes_of_a_run_is_the_first(environment, first, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert first_process() == first


def test_a_run_keeps_its_options_its_circumstances_and_its_end(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pegasus", "gsg", "build", "--data", "a b"])
    with Run.create("nonet", "gsg build", Options(lr=3.0), seed=5) as run:
        started = read_record(run.folder)["sessions"][0]
        assert started["end"] is started["exit"] is None
    assert re.fullmatch(r"runs/nonet/gsg-build-\d{8}-\d{6}", str(run.folder))
    assert run.checkpoints == run.folder / "checkpoints"
    assert run.model == run.folder / "model"
    record = read_record(run.folder)
    session = record["sessions"][0]
    assert (record["package"], record["verb"], record["seed"]) == ("nonet", "gsg build", 5)
    assert session["command"] == "pegasus gsg build --data 'a b'"
    assert session["exit"] == 0
    assert datetime.fromisoformat(session["start"]) <= datetime.fromisoformat(session["end"])
    assert {"python", "nonet", "numpy"} <= session["versions"].keys()
    assert session["machine"]["cores"] >= 1
    assert "hunter2" not in (run.folder / "options.yaml").read_text()
    assert build(Options, [read(run.folder / "options.yaml")]) == Options(lr=3.0, token="***")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130), (RunFailed(), 1), (ZeroDivisionError(), 1), (UserError(), 2),
        (SystemExit(), 0), (FileNotFoundError(2, "No such file", "a"), 2), (OSError(5, "Input"), 1),
    ],
)  # fmt: skip
def test_the_way_a_run_ended_is_noted(error, code):
    with pytest.raises(type(error)), Run.create("nonet", "learn", Options()) as run:
        raise error
    assert read_record(run.folder)["sessions"][-1]["exit"] == code


def test_an_interruption_says_how_to_go_on_where_a_run_can():
    """As nonet.cli writes it after 'interrupted'."""
    with pytest.raises(KeyboardInterrupt) as caught, Run.create("nonet", "learn", Options()):
        raise KeyboardInterrupt
    assert caught.value.args == ()
    resumable = make_dataclass("Resumable", [("resume", Path | None, None)], frozen=True)()
    with (
        pytest.raises(KeyboardInterrupt) as caught,
        Run.create("nonet", "learn", resumable, folder=Path("a run")) as run,
    ):
        raise KeyboardInterrupt
    assert str(caught.value) == "go on with the same options and --resume 'a run'"
    with pytest.raises(KeyboardInterrupt) as caught, Run.resume(run.folder, resumable):
        raise KeyboardInterrupt
    assert str(caught.value) == "go on with the same options and --resume 'a run'"


def test_the_first_finish_counts():
    with Run.create("nonet", "learn", Options()) as run:
        run.finish(3)
    assert read_record(run.folder)["sessions"][-1]["exit"] == 3


def test_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Run.create("nonet", "learn", Options(), folder=folder).finish(0)  # an empty folder is as good as none
    with pytest.raises(UserError, match=r"mine: has a run already; continue it with --resume .*mine"):
        Run.create("nonet", "learn", Options(), folder=folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="other: exists already and is not empty"):
        Run.create("nonet", "learn", Options(), folder=tmp_path / "other")
    with pytest.raises(UserError, match=r"thesis\.txt: is a file"):
        Run.create("nonet", "learn", Options(), folder=tmp_path / "other" / "thesis.txt")


def test_runs_of_the_same_second_have_folders_of_their_own():
    folders = {Run.create("nonet", "learn", Options()).folder for _ in range(4)}
    assert len(folders) == 4


# ---- metrics ----


def test_numbers_are_on_disk_at_once_and_come_back():
    run = Run.create("nonet", "learn", Options())
    run.log(1, loss=2.5, count=3)
    run.log(2, **{"train/loss": math.nan, "up": math.inf, "down": -math.inf})
    first, second = read_metrics(run.folder)  # the run is still open
    assert (first["step"], first["loss"], first["count"]) == (1, 2.5, 3)
    assert isinstance(first["count"], int)
    assert math.isnan(second["train/loss"])
    assert (second["up"], second["down"]) == (math.inf, -math.inf)
    assert 0 <= first["seconds"] <= second["seconds"] < 60
    for line in (run.folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_arrays_of_one_element_are_numbers_and_seconds_is_taken():
    numpy = pytest.importorskip("numpy")
    run = Run.create("nonet", "learn", Options())
    run.log(1, loss=numpy.float32(0.5))
    assert read_metrics(run.folder)[0]["loss"] == 0.5
    with pytest.raises(ValueError, match="'seconds' is the run's own clock"):
        run.log(2, seconds=1)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 20), max_size=12).map(sorted), st.integers(-1, 21))
def test_rewinding_drops_the_steps_beyond_and_nothing_else(tmp_path_factory, steps, last):
    run = Run.create("nonet", "learn", Options(), folder=tmp_path_factory.mktemp("run") / "run")
    for number, step in enumerate(steps):
        run.log(step, number=number, bad=math.nan)
    before = read_metrics(run.folder)
    run.rewind(last)
    run.log(21, number=-1)
    after = read_metrics(run.folder)
    assert str(after[:-1]) == str([line for line in before if line["step"] <= last])
    assert after[-1]["number"] == -1
    run.finish(0)


def test_half_a_line_of_a_killed_run_is_left_out_and_mended():
    run = Run.create("nonet", "learn", Options())
    run.log(1, loss=1.0)
    run.log(2, loss=2.0)
    run.finish(0)
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-8])
    assert [line["step"] for line in read_metrics(run.folder)] == [1]
    with Run.resume(run.folder) as again:
        again.log(2, loss=2.5)
    assert [line["loss"] for line in read_metrics(run.folder)] == [1.0, 2.5]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1}', '{"step": "x"}'])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of metrics"):
        read_metrics(tmp_path)


def test_a_run_without_metrics_has_none(tmp_path):
    assert read_metrics(tmp_path) == []


# ---- resuming ----


def test_a_resumed_run_adds_a_session_and_its_clock_goes_on(capsys):
    with Run.create("nonet", "learn", Options(), seed=1) as run:
        run.log(1, loss=1.0)
        run.log(2, loss=0.5)
    path = run.folder / "metrics.jsonl"
    path.write_text(re.sub(r'"seconds": [\d.]+', '"seconds": 1000.0', path.read_text()))
    with Run.resume(run.folder, Options(lr=2.0)) as again:
        again.rewind(1)
        again.log(2, loss=0.6)
    lines = read_metrics(run.folder)
    assert [line["loss"] for line in lines] == [1.0, 0.6]
    assert lines[1]["seconds"] >= 1000.0
    record = read_record(run.folder)
    assert [session["exit"] for session in record["sessions"]] == [0, 0]
    assert record["sessions"][1]["seed"] == 1
    assert build(Options, [read(run.folder / "options.yaml")]).lr == 1e-4
    assert build(Options, [read(run.folder / "options-2.yaml")]).lr == 2.0
    assert "resumed: session 2" in capsys.readouterr().err


def test_options_that_stayed_the_same_are_not_written_again():
    Run.create("nonet", "learn", Options(), folder=Path("r")).finish(0)
    Run.resume(Path("r"), Options()).finish(0)
    assert not Path("r", "options-2.yaml").exists()


def test_a_run_that_was_killed_keeps_its_open_session():
    Run.create("nonet", "learn", Options(), folder=Path("r"))
    Run.resume(Path("r")).finish(0)
    assert [session["exit"] for session in read_record(Path("r"))["sessions"]] == [None, 0]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"package": "a", "verb": "b"}'])
def test_only_the_folder_of_a_run_is_resumed(tmp_path, text):
    with pytest.raises(UserError, match=r"absent: not the folder of a run \(no run.json in it\)"):
        Run.resume(tmp_path / "absent")
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json"):
        Run.resume(tmp_path)


# ---- the log ----


def test_what_is_said_is_logged_with_the_time(capsys):
    run = Run.create("nonet", "learn", Options())
    run.say("3 documents are empty")
    assert capsys.readouterr().err == "3 documents are empty\n"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT[\d:+-]+ 3 documents are empty\n", (run.folder / "log.txt").read_text()
    )


# ---- several processes ----


def test_only_rank_0_writes(monkeypatch, capsys):
    first = Run.create("nonet", "learn", Options(), folder=Path("r"))
    assert os.environ["NONET_RUN"] == str(first.folder.absolute())
    monkeypatch.setenv("LOCAL_RANK", "1")
    before = {path: path.read_bytes() for path in Path("r").iterdir()}
    for second in (
        Run.create(
            "nonet", "learn", Options()
        ),  # started by rank 0, which left its folder in the environment
        Run.create("nonet", "learn", Options(), folder=Path("r")),
        Run.resume(Path("r")),
    ):
        assert second.folder.resolve() == first.folder.resolve()
        second.log(1, loss=1.0)
        second.say("hello")
        second.rewind(0)
        second.finish(1)
    assert {path: path.read_bytes() for path in Path("r").iterdir()} == before
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("NONET_RUN")
    with pytest.raises(UserError, match="several processes need one run folder: name it with --out"):
        Run.create("nonet", "learn", Options())
    monkeypatch.delenv("LOCAL_RANK")
    first.finish(0)


def test_a_finished_run_leaves_no_trace_in_the_environment():
    Run.create("nonet", "learn", Options()).finish(0)
    assert "NONET_RUN" not in os.environ


# ---- circumstances ----


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_of_a_package_and_whether_its_checkout_is_clean(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    package = root / "toycommit"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(root))
    assert machine.commit("toycommit") is None  # no checkout
    git(root, "init", "--quiet")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "nothing")
    assert machine.commit("toycommit") is None  # in a checkout that does not know it, as in a `.venv`
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    head = git(root, "rev-parse", "HEAD")
    assert machine.commit("toycommit") == {"commit": head, "dirty": False}
    (package / "new.py").write_text("")
    assert machine.commit("toycommit") == {"commit": head, "dirty": False}
    (package / "__init__.py").write_text("changed = True\n")
    assert machine.commit("toycommit") == {"commit": head, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert machine.commit("toycommit") is None  # no git
    assert machine.commit("there_is_no_such_package") is None


def test_versions_leave_out_what_is_not_installed():
    assert "there_is_no_such_package" not in machine.versions("there_is_no_such_package")
    assert machine.versions()["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_a_run_imports_no_heavy_library():
    code = (
        "import sys; from dataclasses import make_dataclass; from nonet.runs import Run;"
        "Run.create('nonet', 'learn', make_dataclass('Options', [('a', int, 1)])()).finish(0);"
        "print(sorted({'torch', 'numpy', 'lightning', 'transformers', 'tyro', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_folder_to_go_on_with_is_the_run_itself_or_the_newest_below(tmp_path):
    assert folder_of(None) is None
    with pytest.raises(UserError, match=r"no run to go on with \(no run.json\)"):
        folder_of(tmp_path)
    for place, name in enumerate(("b", "c", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        os.utime(tmp_path / name / "run.json", (place, place))
    assert folder_of(tmp_path / "b") == tmp_path / "b"
    assert folder_of(tmp_path) == tmp_path / "a"
