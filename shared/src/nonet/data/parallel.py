"""A function over many items on many cores or machines, with the results in the order of the items (ours).

    for counts in ordered_map(Counter(), read_records(files), workers=8):
        ...

Whatever the engine and the number of workers, the results are the same, and so are the errors: results of the
items before a bad one come first, then an exception that names the item.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from nonet.errors import RunFailed, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL_WINDOW = 4  # chunks per worker that are in work or wait for their turn
PATIENCE = 10.0  # seconds for workers to end, and to say how
_QUIET = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class ItemFailed(RuntimeError):
    """The function raised on an item; the text names the item and the exception."""


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker, in a form that every exception fits into."""

    kind: Literal["user", "run", "other"]
    message: str
    trace: str


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    engine: Literal["local", "ray"] = "local",
    window: int | None = None,
    chunk: int = 1,
) -> Iterator[Result]:
    """The results of `function` on each item, in the order of the items, as a stream.

    Args:
        function: a picklable callable. Each worker loads it once, so a tokenizer may be part of it; it must
            not have state that changes from item to item.
        items: taken as they are needed, never all at once.
        workers: processes; 0 calls the function in this process, without pickling. With Ray, tasks at the
            same time, and 0 means all CPUs of the cluster.
        engine: `"local"` starts processes on this machine. `"ray"` runs on Ray Data, on the cluster that
            `RAY_ADDRESS` names or that is already connected, otherwise on this machine.
        window: items that may be in work or wait for their turn; bounds the memory. By default 4 chunks a
            worker; with Ray 64, as a window ends before the next one begins.
        chunk: items sent to a worker at once. More than 1 pays where the function takes well under a
            millisecond.

    Returns:
        An iterator. Closing it, or dropping it, stops the workers.

    Raises:
        UserError: wrong arguments, or Ray is not installed; also a UserError that the function raises.
        ItemFailed: while iterating, the function raised something else; the cause has the worker's traceback.
        RunFailed: while iterating, a worker process died; also a RunFailed that the function raises.
    """
    if workers < 0 or chunk < 1 or (window is not None and window < 1):
        numbers = f"workers {workers}, window {window}, chunk {chunk}"
        raise UserError(f"{numbers}: workers cannot be negative, window and chunk have to be at least 1")
    if engine == "ray":
        from nonet.data.parallel_ray import ray_map

        return ray_map(function, items, workers, window, chunk)
    if engine != "local":
        raise UserError(f"unknown engine {engine!r}; choose local or ray")
    if workers == 0:
        return _in_process(function, items)
    return _in_processes(
        pickle.dumps(function), items, workers, window or LOCAL_WINDOW * workers * chunk, chunk
    )


def _in_process(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    for number, item in enumerate(items):
        try:
            result = function(item)
        except Exception as error:
            raise as_exception(failure_of(error), number, item) from error
        yield result


def _in_processes(
    payload: bytes, items: Iterable[Any], workers: int, window: int, chunk: int
) -> Iterator[Any]:
    ours: set[Any] = set()
    spawn = multiprocessing.get_context("spawn")  # no copies of locks, threads or CUDA of this process
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(payload,))
    waiting: deque[tuple[int, list[Any], Future[Any]]] = deque()
    chunks = numbered_chunks(items, chunk)
    broken: Exception | None = None
    more, done = True, False
    try:
        while more or waiting:
            while more and (not waiting or (len(waiting) + 1) * chunk <= window):
                try:
                    first, group = next(chunks)
                except StopIteration:
                    more = False
                except Exception as error:  # from the items; what came before it is finished first
                    more, broken = False, error
                else:
                    others = set(multiprocessing.active_children()) if len(ours) < workers else None
                    waiting.append((first, group, pool.submit(_work, group)))
                    if others is not None:  # the pool starts a process now and then while it is given work
                        ours |= set(multiprocessing.active_children()) - others
            if waiting:
                first, group, future = waiting.popleft()
                results, failure = _received(future, item_name(first, group[0]))
                yield from results
                if failure is not None:
                    raise as_exception(failure, first + len(results), group[len(results)])
        if broken is not None:
            raise broken
        done = True
    except BrokenExecutor as error:
        raise _died(item_name(first, group[0]), ours) from error
    finally:
        if not done:
            for process in ours:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        for process in ours:
            process.join()


def _received(future: "Future[Any]", name: str) -> tuple[list[Any], Failure | None]:
    try:
        received: tuple[list[Any], Failure | None] = future.result()
    except BrokenExecutor:
        raise
    except Exception as error:  # `_work` hands back what the function raises, so this is pickling
        what = f"{name}: it or its result cannot be sent between processes"
        raise ItemFailed(f"{what} ({type(error).__name__}: {error})") from error
    return received


def _died(name: str, ours: set[Any]) -> RunFailed:
    end = time.monotonic() + PATIENCE  # they are ending; a busy machine takes its time
    for process in ours:
        process.join(max(0.0, end - time.monotonic()))
        while process.exitcode is None and time.monotonic() < end:
            time.sleep(0.01)  # the pool's thread waits for it as well, and may have been told first
    codes = {process.exitcode for process in ours} - {None, 0, -signal.SIGTERM}
    if codes and min(codes) < 0:
        why = f"by signal {-min(codes)}, most likely for lack of memory; use fewer workers"
    else:
        why = "by itself; its messages are above"
    return RunFailed(f"a worker process ended near {name} {why}")


def numbered_chunks(items: Iterable[Item], chunk: int) -> Iterator[tuple[int, list[Item]]]:
    """Lists of `chunk` items and the number of the first; what `items` raises comes after the last list."""
    first, group = 0, []
    broken: Exception | None = None
    source = iter(items)
    while broken is None:
        try:
            group.append(next(source))
        except StopIteration:
            break
        except Exception as error:
            broken = error
        if len(group) == chunk:
            yield first, group
            first, group = first + chunk, []
    if group:
        yield first, group
    if broken is not None:
        raise broken


def item_name(number: int, item: Any) -> str:
    """`"item 17"`, counted from 1, with the item's `where` if it has one: `"item 17 (mails.jsonl:17)"`."""
    where = getattr(item, "where", None)
    return f"item {number + 1}" + (f" ({where})" if isinstance(where, str) else "")


def failure_of(error: Exception) -> Failure:
    """The failure that says the same as an exception."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, UserError):
        return Failure("user", str(error), trace)
    if isinstance(error, RunFailed):
        return Failure("run", str(error), trace)
    return Failure("other", f"{type(error).__name__}: {error}", trace)


def as_exception(failure: Failure, number: int, item: Any) -> Exception:
    """The exception to raise for an item; the worker's traceback is its cause."""
    where = getattr(item, "where", None)
    named = isinstance(where, str) and where in failure.message
    message = failure.message if named else f"{item_name(number, item)}: {failure.message}"
    kinds: dict[str, type[Exception]] = {"user": UserError, "run": RunFailed, "other": ItemFailed}
    error = kinds[failure.kind](message)
    error.__cause__ = _Trace("\n" + failure.trace)
    return error


class _Trace(Exception):
    """Carries the text of a traceback from another process."""


def call_each(function: Callable[[Any], Any], group: Iterable[Any]) -> tuple[list[Any], Failure | None]:
    """The results on the items up to the first failure, and that failure."""
    results: list[Any] = []
    try:
        for item in group:
            results.append(function(item))
    except Exception as error:
        return results, failure_of(error)
    return results, None


_payload = b""  # in a worker: the pickled function, then the function
_function: Callable[[Any], Any] | None = None


def _begin(payload: bytes) -> None:
    global _payload
    _payload = payload
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it stops us
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(group: list[Any]) -> tuple[list[Any], Failure | None]:
    global _function
    if _function is None:
        try:
            _function = pickle.loads(_payload)
        except Exception as error:
            return [], failure_of(error)
    assert _function is not None
    return call_each(_function, group)
