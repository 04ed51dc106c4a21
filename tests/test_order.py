"""Side by side, long tests begin first, and those of all packages go to any worker."""

import os
import subprocess
import sys

HOUSE = """
import pathlib, time

import pytest

HERE = pathlib.Path(__file__).parent

def test_quick():
    pass

@pytest.mark.slow
@pytest.mark.parametrize(("mine", "other"), [("a", "b"), ("b", "a")])
def test_meet(mine, other):
    (HERE / mine).touch()
    end = time.monotonic() + 120
    while not (HERE / other).exists():
        assert time.monotonic() < end, "the other test waits for this one's worker"
        time.sleep(0.01)
"""

MANY = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_each(number):
    pass
"""

LONG = """
import pytest

@pytest.mark.slow
def test_long():
    pass
"""


def started(folder, root, *words):
    """The tests by the order in which they were given out, each with its worker."""
    (folder / "conftest.py").write_text(
        (root / "conftest.py").read_text(encoding="utf-8")
        + f"""

def pytest_runtest_logstart(nodeid, location):
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        with open({str(folder / "log")!r}, "a") as log:
            log.write(worker + " " + nodeid + chr(10))
"""
    )
    for path, text in {"tests/test_house.py": HOUSE, "p/test_many.py": MANY, "p/test_long.py": LONG}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    kept = {
        name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return [line.split(" ") for line in (folder / "log").read_text().splitlines()]


def test_slow_tests_of_all_packages_begin_at_once_and_files_stay_whole(root, tmp_path):
    log = started(tmp_path, root, "-n", "2", "--dist", "loadfile")
    assert {nodeid for _, nodeid in log[:2]} == {
        f"tests/test_house.py::test_meet[{names}]" for names in ("a-b", "b-a")
    }
    assert {worker for worker, _ in log[:2]} == {"gw0", "gw1"}
    assert len({worker for worker, nodeid in log if nodeid.startswith("p/test_many.py")}) == 1
    meet, quick = (f"tests/test_house.py::test_{name}" for name in ("meet", "quick"))
    order = [meet, "p/test_long.py", "p/test_many.py", quick]
    for worker in ("gw0", "gw1"):
        given = [nodeid for name, nodeid in log if name == worker]
        places = [next(i for i, start in enumerate(order) if nodeid.startswith(start)) for nodeid in given]
        assert places == sorted(places)
