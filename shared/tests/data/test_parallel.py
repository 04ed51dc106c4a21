"""The same results and the same errors in order, in this process, in several, and on Ray."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import count, islice
from operator import itemgetter, methodcaller, neg

import pytest

from nonet.data import parallel
from nonet.data.parallel import ItemFailed, ordered_map
from nonet.data.text import Record
from nonet.errors import RunFailed, UserError

WORK = '''
"""Functions that workers import."""
import os, signal, time
from pathlib import Path
from nonet.errors import RunFailed, UserError

class Loaded:
    """Counts how often it was unpickled, in a file."""
    def __init__(self, log):
        self.log = log
    def __setstate__(self, state):
        self.__dict__ = state
        with open(self.log, "a") as file:
            file.write("x")
    def __call__(self, n):
        return n, b"x" * (n % 5), {"n": [n]}

def slow_first(n):
    time.sleep(0.3 if n == 0 else 0)
    return n

def bad(kind, n):
    if n != 17:
        return n
    if kind == "user":
        raise UserError("no field 'body'; name one")
    if kind == "run":
        raise RunFailed("the loss is not finite")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ZeroDivisionError("boom")

class Bad:
    def __init__(self, kind):
        self.kind = kind
    def __call__(self, n):
        return bad(self.kind, n)

def lambda_out(n):
    return lambda: n

def sleep(seconds):
    time.sleep(seconds)
    return os.getpid()
'''


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A module that the workers can import as well."""
    name = f"work_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return __import__(name)


def alive():
    return [child for child in multiprocessing.active_children() if "SpawnProcess" in child.name]


@pytest.mark.parametrize(
    ("workers", "window", "chunk"), [(0, None, 1), (1, None, 1), (2, 1, 1), (2, None, 7), (2, 20, 3)]
)
def test_results_come_in_order_for_any_number_of_workers(work, tmp_path, workers, window, chunk):
    function = work.Loaded(str(tmp_path / "log"))
    found = list(ordered_map(function, range(50), workers=workers, window=window, chunk=chunk))
    assert found == [function(n) for n in range(50)]
    if workers:
        assert 1 <= len((tmp_path / "log").read_text()) <= workers  # once a worker, not once an item
    assert alive() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_no_items_no_results(workers):
    assert list(ordered_map(neg, [], workers=workers)) == []


def test_a_slow_item_does_not_let_later_ones_pass(work):
    assert list(ordered_map(work.slow_first, range(9), workers=2, window=4)) == list(range(9))


@pytest.mark.parametrize(("workers", "window", "chunk"), [(0, None, 1), (2, 6, 1), (2, 6, 2)])
def test_items_are_taken_as_needed_and_no_more_than_the_window(workers, window, chunk):
    taken = []

    def items():
        for n in count():
            taken.append(n)
            yield n

    results = ordered_map(neg, items(), workers=workers, window=window, chunk=chunk)
    assert taken == []
    assert list(islice(results, 10)) == [-n for n in range(10)]
    assert len(taken) <= 10 + (window or 0)
    results.close()
    assert alive() == []


@pytest.mark.parametrize(("workers", "chunk"), [(0, 1), (2, 1), (2, 4)])
@pytest.mark.parametrize(
    ("kind", "error", "match"),
    [
        ("other", ItemFailed, r"^item 18: ZeroDivisionError: boom$"),
        ("user", UserError, r"^item 18: no field 'body'; name one$"),
        ("run", RunFailed, r"^item 18: the loss is not finite$"),
    ],
)
def test_an_error_names_its_item_after_the_results_before_it(work, workers, chunk, kind, error, match):
    found = []
    with pytest.raises(error, match=match) as caught:
        found.extend(ordered_map(work.Bad(kind), range(100), workers=workers, chunk=chunk))
    assert found == list(range(17))
    if workers:
        assert "in bad\n" in str(caught.value.__cause__)
    assert alive() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_record_is_named_by_its_place_and_only_once(work, workers):
    records = [Record({"a": 1}, "a.jsonl:1"), Record({}, "a.jsonl:2")]
    with pytest.raises(UserError, match=r"^a\.jsonl:2: no field 'a'; fields are none$"):
        list(ordered_map(methodcaller("field", "a"), records, workers=workers))
    with pytest.raises(ItemFailed, match=r"^item 1 \(a\.jsonl:1\): IndexError: tuple index out of range$"):
        list(ordered_map(itemgetter(9), records, workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("chunk", [1, 4])
def test_an_error_of_the_items_comes_after_the_results_before_it(workers, chunk):
    def items():
        yield from range(6)
        raise UserError("a.jsonl:7: not valid JSON")

    found = []
    with pytest.raises(UserError, match=r"^a\.jsonl:7: not valid JSON$"):
        found.extend(ordered_map(neg, items(), workers=workers, chunk=chunk))
    assert found == [-n for n in range(6)]


def test_a_worker_that_is_killed_ends_the_run_with_the_likely_reason(work):
    match = (
        r"a worker process ended near item \d+ by signal 9, most likely for lack of memory; use fewer workers"
    )
    with pytest.raises(RunFailed, match=match):
        list(ordered_map(work.Bad("die"), range(100), workers=2))
    assert alive() == []


def test_a_code_that_another_thread_is_told_first_is_waited_for():
    """As where the pool's thread has waited for the process: the other one is told a moment later."""

    class Told:
        codes = iter((None, None, -9))

        def join(self, seconds):
            assert seconds > 0

        @property
        def exitcode(self):
            return next(self.codes, -9)

    assert "by signal 9, most likely for lack of memory" in str(parallel._died("item 3", {Told()}))


def test_what_cannot_be_pickled_is_said_by_item(work):
    with pytest.raises(ItemFailed, match=r"^item 1: it or its result cannot be sent between processes"):
        list(ordered_map(work.lambda_out, range(3), workers=1))
    with pytest.raises(ItemFailed, match=r"^item 3: it or its result cannot be sent"):
        list(ordered_map(str, [1, 2, lambda: 3], workers=1))


def test_dropping_the_iterator_stops_the_workers(work):
    results = ordered_map(work.sleep, [0.0] + [60.0] * 20, workers=2)
    next(results)
    began = time.monotonic()
    del results
    gc.collect()
    assert alive() == []
    assert time.monotonic() - began < 20


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_no_worker_outlives_an_interrupted_or_killed_parent(work, tmp_path, name):
    code = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(tmp_path)!r})
if __name__ == "__main__":
    from nonet.data.parallel import ordered_map
    import {work.__name__} as work
    try:
        for pid in ordered_map(work.sleep, [0.2] * 4 + [60.0] * 20, workers=2, window=8):
            print(pid, flush=True)
            threading.Timer(0.5, os.kill, (os.getpid(), signal.{name})).start()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    (tmp_path / "main.py").write_text(code)
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, tmp_path / "main.py"], capture_output=True, text=True, timeout=50, check=False
    )
    assert time.monotonic() - began < 50
    *pids, last = run.stdout.split()
    if name == "SIGINT":
        assert (last, run.returncode) == ("interrupted", 0), run.stderr
    deadline = time.monotonic() + 10
    while any(running(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [int(pid) for pid in pids if running(int(pid))]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_wrong_arguments_are_refused_at_once():
    for options, match in [
        ({"workers": -1}, "workers -1, window None, chunk 1: workers cannot be negative"),
        ({"workers": 1, "window": 0}, "window 0"),
        ({"workers": 1, "chunk": 0}, "chunk 0"),
        ({"workers": 1, "engine": "dask"}, "unknown engine 'dask'; choose local or ray"),
    ]:
        with pytest.raises(UserError, match=match):
            ordered_map(neg, [], **options)


def test_missing_ray_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UserError, match=r"to run on Ray \(--engine ray\), install ray: pip install 'nonet\[ray\]'"
    ):
        ordered_map(neg, [1], workers=1, engine="ray")
