"""Jobs of compiled kernels in threads."""

import multiprocessing
import threading
import warnings

import pytest
import torch

from nonet.kernels.side_by_side import side_by_side
from nonet.testing import threads


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("jobs", [0, 1, 2, 50])
def test_each_job_runs_once(count, jobs):
    done = []
    with threads(count):
        side_by_side(done.append, jobs)
    assert sorted(done) == list(range(jobs))


def test_work_is_shared_and_small_work_is_not():
    meet = threading.Barrier(2, timeout=30)
    with threads(2):
        side_by_side(lambda job: meet.wait(), 2)  # each waits for the other: one thread alone would break it
        names = []
        side_by_side(lambda job: names.append(threading.current_thread()), 8, worthwhile=False)
    assert set(names) == {threading.current_thread()}


def test_what_a_job_raises_is_raised_here():
    def job(number):
        if number == 3:
            raise ArithmeticError("job 3")

    for count in (1, 2):
        with threads(count), pytest.raises(ArithmeticError, match="job 3"):
            side_by_side(job, 8)


def _child(answers):
    torch.set_num_threads(2)
    done = []
    side_by_side(done.append, 20)
    answers.put(sorted(done))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own():
    with threads(2):
        side_by_side(lambda job: None, 8)  # now there is a pool
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_child, args=(answers,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: a fork beside threads
        child.start()
    try:
        assert answers.get(timeout=60) == list(range(20))
    finally:
        child.join(10)
        child.kill()
