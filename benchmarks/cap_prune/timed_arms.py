"""Arms in the order of their importance until a time is up; what is finished then is kept, the rest is left.

As `benchmarks.arms`, where every arm is waited for: a process of one thread each, results in files that are
not computed again. Besides, an arm may need another's result, such as a student its teacher; one that fails
is named and left out, with those that need it.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.arms import quietly

GRACE = 40.0
"""seconds that arms have for their last measures once the time is up"""


class Job(NamedTuple):
    """One arm."""

    name: str
    """of its file"""
    function: Callable[..., dict[str, Any]]
    """what gives its result; one that is empty does not count, and one with the key `cut` is not whole: it is
    kept, and computed again by another call that has the time"""
    arguments: tuple[Any, ...]
    needs: str | None = None
    """the arm that must have a result before"""


class Here(Executor):
    """Calls what it is given at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future:
        """The finished call."""
        future: Future = Future()
        try:
            future.set_result(function(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def run_until(
    jobs: Sequence[Job], folder: Path, *, processes: int, until: float | None = None
) -> dict[str, dict[str, Any]]:
    """Run jobs, earlier ones first; results are kept as FOLDER/<name>.json and not computed again.

    Args:
        jobs: in the order of importance.
        folder: of the results.
        processes: jobs side by side; 1: in this process.
        until: seconds of `time.time()` from which on no job begins; those that run have `GRACE` seconds more,
            and are ended then. None: all jobs run to their ends.

    Returns:
        The results that there are, by the jobs' names.
    """
    from nonet.files import write_json

    files = {job.name: folder / f"{job.name}.json" for job in jobs}
    found = {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()}
    waiting = [job for job in jobs if job.name not in found or "cut" in found[job.name]]
    running: dict[Future, str] = {}
    last = None if until is None else until + GRACE
    spawn = multiprocessing.get_context("spawn")
    pool = Here() if processes == 1 else ProcessPoolExecutor(processes, mp_context=spawn)
    try:
        while True:
            if until is not None and time.time() >= until:
                waiting = []
            ready = [job for job in waiting if job.needs is None or job.needs in found]
            for job in ready[: processes - len(running)]:
                waiting.remove(job)
                running[pool.submit(quietly, job.function, job.arguments)] = job.name
            if not running or (last is not None and time.time() >= last):
                break
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                error = future.exception()
                if error is not None:
                    print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                elif len(future.result()) > 1:  # more than the seconds
                    found[name] = future.result()
                    write_json(files[name], found[name])
                    how, left = "cut" if "cut" in found[name] else "done", len(waiting) + len(running)
                    print(f"{name} is {how}, {left} of {len(jobs)} left", file=sys.stderr, flush=True)
                else:
                    print(f"{name} had no time", file=sys.stderr, flush=True)
    except BrokenProcessPool as error:  # what is finished is kept
        print(f"no more arms: {error}", file=sys.stderr, flush=True)
    finally:
        for process in multiprocessing.active_children() if running else ():
            process.terminate()
        pool.shutdown(cancel_futures=True)
    return {job.name: found[job.name] for job in jobs if job.name in found}
