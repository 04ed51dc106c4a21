"""Run the jobs of a compiled kernel in as many threads as torch computes with. Source: ours.

Jobs must not depend on each other or on who runs them: then results are the same for any number of threads.
Python's own threads serve, as compiled code runs without the global lock. numba's `prange` would not: its
layers either must not be entered from two threads (DataLoader threads, autograd), or do not survive a fork.
"""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def side_by_side(job: Callable[[int], None], jobs: int, *, worthwhile: bool = True) -> None:
    """Call `job(0)` to `job(jobs - 1)`, each once; threads take the next number as they become free.

    Args:
        job: runs one job; what it raises is raised here.
        jobs: how many there are.
        worthwhile: False: run them here, one after the other, as handing them out costs 0.1 ms.
    """
    workers = min(torch.get_num_threads(), jobs) if worthwhile else 1
    if workers < 2:
        for number in range(jobs):
            job(number)
        return
    numbers = itertools.count()  # next() on it is atomic

    def work() -> None:
        while (number := next(numbers)) < jobs:
            job(number)

    others = [_pool(workers - 1).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="nonet-kernels")


if hasattr(os, "register_at_fork"):  # a forked child has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
