"""benchmarks/: a finished arm is used again by the same code and arguments, and by no others."""

import importlib.util
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks import arms
from benchmarks.arms import KEY, run_arms

CLAIM = """
'''Words.'''
from pathlib import Path


def arm(number, place):
    from benchmarks.toy_arms.more import factor

    with place.open("a") as file:
        file.write("x")
    return {"value": factor() * number}
"""
MORE = """
def factor():
    return 2
"""


class Experiment:
    """A folder as below benchmarks/, whose arms count how often they are computed."""

    def __init__(self, root, monkeypatch):
        self.folder, self.kept, self.calls = root / "toy_arms", root / "arms", root / "calls"
        self.folder.mkdir()
        self.monkeypatch = monkeypatch
        self.write("claim", CLAIM)
        self.write("more", MORE)

    def write(self, name, text):
        (self.folder / f"{name}.py").write_text(text, encoding="utf-8")

    def load(self, name):
        spec = importlib.util.spec_from_file_location(
            f"benchmarks.toy_arms.{name}", self.folder / f"{name}.py"
        )
        module = importlib.util.module_from_spec(spec)
        exec(compile((self.folder / f"{name}.py").read_text(), spec.origin, "exec"), module.__dict__)
        self.monkeypatch.setitem(sys.modules, spec.name, module)
        return module

    def run(self, *numbers):
        self.load("more")
        arm = self.load("claim").arm
        jobs = [(f"arm-{place}", arm, (number, self.calls)) for place, number in enumerate(numbers)]
        return [each["value"] for each in run_arms(jobs, self.kept, processes=1)]

    @property
    def computed(self):
        return len(self.calls.read_text())


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    return Experiment(tmp_path, monkeypatch)


def test_finished_arms_are_used_again(experiment):
    assert experiment.run(1, 5) == [2, 10]
    assert experiment.run(1, 5, 7) == [2, 10, 14]
    assert experiment.computed == 3


def test_other_arguments_are_computed_anew(experiment):
    experiment.run(1, 5)
    assert experiment.run(1, 6) == [2, 12]
    assert experiment.computed == 3


def test_words_alone_change_nothing(experiment):
    experiment.run(1)
    experiment.write("claim", "# a comment\n" + CLAIM.replace("Words.", "Other words."))
    assert experiment.run(1) == [2]
    assert experiment.computed == 1


@pytest.mark.parametrize(("name", "old", "new", "value"), [
    ("claim", "* number", "* number + 1", 3), ("more", "return 2", "return 3", 3)
])  # fmt: skip
def test_other_code_is_computed_anew_even_where_it_is_imported_inside_of_a_function(
    experiment, name, old, new, value
):
    experiment.run(1)
    experiment.write(name, {"claim": CLAIM, "more": MORE}[name].replace(old, new))
    assert experiment.run(1) == [value]
    assert experiment.computed == 2


def test_a_module_that_the_arm_cannot_reach_does_not_count(experiment):
    experiment.run(1)
    experiment.write("speed", "value = 1\n")
    experiment.run(1)
    assert experiment.computed == 1


def test_the_key_is_in_the_file_and_not_in_the_result(experiment):
    experiment.run(1)
    file = experiment.kept / "arm-0.json"
    kept = json.loads(file.read_text())
    assert len(kept[KEY]) == 64
    assert kept["value"] == 2
    experiment.load("more")
    arm = experiment.load("claim").arm
    (found,) = run_arms([("arm-0", arm, (1, experiment.calls))], experiment.kept, processes=1)
    assert set(found) == {"value", "cpu_seconds"}
    file.write_text(json.dumps({"value": 99}))  # of nobody knows what code
    assert experiment.run(1) == [2]


def wait_or_fail(turn):
    if turn == "fails":
        raise ValueError("this arm")
    if turn != "at once":
        assert turn.wait(60)
    return {"value": 1}


def test_where_an_arm_fails_what_runs_is_kept_and_nothing_more_is_begun(tmp_path, monkeypatch):
    told = threading.Event()

    class OneAtATime(ThreadPoolExecutor):
        def __init__(self, processes, mp_context):
            super().__init__(1)

        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            told.set()
            super().shutdown(wait=wait)

    monkeypatch.setenv("NONET_PROGRESS", "0")
    monkeypatch.setattr(arms, "ProcessPoolExecutor", OneAtATime)
    turns = {"first": "at once", "second": "fails", "third": told, "fourth": "at once"}
    jobs = [(name, wait_or_fail, (turn,)) for name, turn in turns.items()]
    with pytest.raises(ValueError, match="this arm"):
        run_arms(jobs, tmp_path, processes=2)
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["first", "third"]
