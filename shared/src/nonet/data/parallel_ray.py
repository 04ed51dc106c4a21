"""`ordered_map` on Ray Data: one machine or a cluster (ours).

Items go out in windows; a window is a data set whose blocks are mapped with their order preserved. Items and
results travel pickled, so that they come back as the very objects the local engine gives.
"""

import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from nonet.data.parallel import as_exception, call_each, numbered_chunks
from nonet.errors import RunFailed, needs

WINDOW = 64  # chunks for each task slot
BLOCKS = 4  # tasks for each slot that a window is cut into; a task costs Ray some milliseconds
OBJECT_STORE = 512 << 20  # bytes of shared memory for a Ray that we start ourselves; more spills to disk

_loaded: tuple[str, Callable[[Any], Any]] | None = None  # in a worker: digest and function


def ray_map(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, window: int | None, chunk: int
) -> Iterator[Any]:
    """See `ordered_map`; missing packages are reported at once, everything else while iterating."""
    ray = _needed("ray")
    _needed("pyarrow")
    _needed("ray.data")
    return _windows(ray, function, items, workers, window, chunk)


def _needed(module: str) -> Any:
    return needs(module, to="run on Ray (--engine ray)", install="nonet[ray]")


def _windows(
    ray: Any,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: int,
    window: int | None,
    chunk: int,
) -> Iterator[Any]:
    started = not ray.is_initialized()
    if started:
        _connect(ray, workers)
    try:
        slots = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        payload = ray.cloudpickle.dumps(function)  # also takes functions of the main script
        shared = {"payload": [ray.put(payload)], "digest": hashlib.sha256(payload).hexdigest()}
        groups = max((window or WINDOW * slots * chunk) // chunk, 1)
        chunks = numbered_chunks(items, chunk)
        broken: Exception | None = None
        while broken is None:
            ready: list[tuple[int, list[Any]]] = []
            try:
                for numbered in islice(chunks, groups):
                    ready.append(numbered)
            except Exception as error:  # from the items; `ready` has what came before it
                broken = error
            if not ready:
                break
            yield from _one_window(ready, shared, slots)
        if broken is not None:
            raise broken
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, workers: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(num_cpus=workers or None, object_store_memory=OBJECT_STORE, **quiet)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _one_window(ready: list[tuple[int, list[Any]]], shared: dict[str, Any], slots: int) -> Iterator[Any]:
    pa, data = _needed("pyarrow"), _needed("ray.data")
    packed = [pickle.dumps(group) for _, group in ready]
    size = -(-len(packed) // (BLOCKS * slots))
    blocks = [
        pa.table({"group": pa.array(packed[at : at + size], pa.large_binary())})
        for at in range(0, len(packed), size)
    ]
    dataset = data.from_arrow(blocks)
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    mapped = dataset.map_batches(
        _work, batch_size=None, batch_format="pyarrow", concurrency=slots, fn_kwargs=shared
    )
    done = 0
    for batch in mapped.iter_batches(batch_size=None, batch_format="pyarrow"):
        for received in batch.column("results").to_pylist():
            first, group = ready[done]
            done += 1
            results, failure = pickle.loads(received)
            yield from results
            if failure is not None:
                raise as_exception(failure, first + len(results), group[len(results)])
    if done != len(ready):
        raise RunFailed(f"Ray gave back {done} of {len(ready)} blocks of items; see Ray's logs")


def _work(batch: Any, payload: list[Any], digest: str) -> Any:
    """Runs on a Ray worker: a table of pickled lists of items to a table of pickled `call_each` results."""
    global _loaded
    pa, ray = _needed("pyarrow"), _needed("ray")
    if _loaded is None or _loaded[0] != digest:
        _loaded = digest, pickle.loads(ray.get(payload[0]))
    function = _loaded[1]
    groups = map(pickle.loads, batch.column("group").to_pylist())
    packed = [pickle.dumps(call_each(function, group)) for group in groups]
    return pa.table({"results": pa.array(packed, pa.large_binary())})
