"""Time two contenders in turns in one process, check that they agree, and keep the numbers.

`versus` times, `peak_memory` weighs, `save` keeps rows in benchmarks/results/NAME.json, `table` prints
them as Markdown; benchmarks/render.py puts the kept rows into the READMEs. Importing this file loads the
standard library only. Source: ours.
"""

import gc
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from benchmarks.circumstances import ROOT, circumstances
from benchmarks.tables import Row, table

from nonet.files import write_json

__all__ = ["versus", "peak_memory", "peak_cuda_memory", "save", "table", "Disagreement", "Row", "RESULTS"]

RESULTS = ROOT / "benchmarks" / "results"
MIB = 2**20  # bytes


class Disagreement(AssertionError):
    """Both contenders ran, and their results are not the same: there is nothing to time."""


def versus(
    name: str,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    same: Callable[[Any, Any], bool | str],
    *,
    rounds: int = 9,
    min_seconds: float = 0.2,
    unit: str | None = None,
    per_call: float | None = None,
    clock: Literal["cpu", "cuda"] = "cpu",
) -> Row:
    """Check that both give the same, then time them in turns: ours, peer, ours, once a round.

    Args:
        name: what is done, and against whom: the row's name in tables and result files.
        ours: does the work once, without arguments.
        peer: does the same work another way.
        same: called as `same(ours(), peer())` before anything is timed: True if they agree; False, or a text
            that says where they differ, if not.
        rounds: how often the turns are taken.
        min_seconds: a turn repeats short work until it takes this long, in seconds; 0 never repeats.
        unit: what one call works through, such as "documents"; it goes with `per_call`.
        per_call: how many of them one call works through; the row then has rates a second.
        clock: "cpu" counts the CPU seconds of all threads of this process; "cuda" the time between two CUDA
            events on the current stream.

    Returns:
        A row: `ours_seconds` and `peer_seconds` (medians, a call), `ratio` = peer / ours (median; 2.0: ours
        is twice as fast) with `ratio_low` and `ratio_high`, `noise_low` and `noise_high` (ours against ours),
        `wall_ratio` (the median by the wall clock; CPU only), `verdict`: "faster" or "slower" where the whole
        range of the ratio lies on one side of 1 and outside the noise, else "no difference shown"; it takes
        three rounds.

    Raises:
        Disagreement: `same` said no.
        ValueError: fewer than one round, or only one of `unit` and `per_call`.
    """
    if rounds < 1:
        raise ValueError(f"{name}: {rounds} rounds; at least one is needed")
    if (unit is None) != (per_call is None):
        raise ValueError(f"{name}: unit and per_call go together")
    _agree(name, ours(), peer(), same)
    turn = {"cpu": _cpu_turn, "cuda": _cuda_turn}[clock]
    our_calls, peer_calls = (_calls(turn, function, min_seconds) for function in (ours, peer))
    turns = []
    for _ in range(rounds):
        turns.append((turn(ours, our_calls), turn(peer, peer_calls), turn(ours, our_calls)))

    ratios = [2 * p[0] / (a[0] + b[0]) for a, p, b in turns]
    noise = [a[0] / b[0] for a, _, b in turns]
    row: Row = {
        "name": name,
        "ours_seconds": statistics.median(seconds for a, _, b in turns for seconds in (a[0], b[0])),
        "peer_seconds": statistics.median(p[0] for _, p, _ in turns),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "noise_low": min(noise),
        "noise_high": max(noise),
        "verdict": _verdict(ratios, noise),
        "rounds": rounds,
        "calls": [our_calls, peer_calls],
        "clock": clock,
    }
    if clock == "cpu":
        row["wall_ratio"] = statistics.median(2 * p[1] / (a[1] + b[1]) for a, p, b in turns)
    if unit is not None and per_call is not None:
        row |= {"unit": unit, "per_call": per_call}
        row |= {f"{who}_per_second": per_call / row[f"{who}_seconds"] for who in ("ours", "peer")}
    return row


def peak_memory(
    function: Callable[..., Any], *args: Any, prepare: Callable[[], Any] | None = None, timeout: float = 600.0
) -> float:
    """The most memory a call takes on top of what its process held before, in MiB.

    The call runs in a fresh process, so that nothing this process did counts. What should not count (imports,
    inputs, a first small call) belongs into `prepare`.

    Args:
        function: picklable, so at the top level of a module; called once as `function(*args)`, or as
            `function(prepared, *args)` with `prepare`.
        *args: picklable arguments.
        prepare: picklable; called before the base line is taken.
        timeout: seconds after which the process is ended.

    Returns:
        Peak resident memory during the call less resident memory before it, in MiB.

    Raises:
        RuntimeError: the call failed; the text is its error.
        TimeoutError: it took longer than `timeout`.
    """
    context = get_context("spawn")  # a forked child starts with its parent's pages, and with its peak
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_weigh, args=(there, function, args, prepare))
    process.start()
    there.close()
    try:
        if not here.poll(timeout):
            raise TimeoutError(f"{function.__qualname__} took longer than {timeout:g} s")
        outcome = here.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"{function.__qualname__} ended its process, exit code {process.exitcode}"
        ) from None
    finally:
        process.terminate()
        process.join()
        here.close()
    if isinstance(outcome, str):
        raise RuntimeError(f"{function.__qualname__} failed: {outcome}")
    return float(outcome) / MIB


def peak_cuda_memory(function: Callable[[], Any]) -> float:
    """The most CUDA memory that tensors take during `function()` on top of what they held before, in MiB."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated() - before) / MIB


def save(
    name: str,
    rows: Iterable[Row],
    *,
    table: str = "speed",
    versions: Sequence[str] = ("torch", "numpy"),
    folder: Path = RESULTS,
    **context: Any,
) -> Path:
    """Keep rows in FOLDER/NAME.json, with the circumstances of this run.

    A row replaces the one of the same name in the same table; other rows stay, each with the circumstances
    that it was measured under. The file is written at once or not at all.

    Args:
        name: the file's name without .json, such as "pegasus".
        rows: dictionaries with a "name" and anything that JSON holds.
        table: which of the file's tables they belong to, such as "speed", "memory" or "claim".
        versions: distributions whose versions matter; those not installed are left out.
        folder: where result files are.
        **context: what else a reader has to know, such as `data="SciTLDR test"` or `seed=0`.

    Returns:
        The file.

    Raises:
        ValueError: a row without a name, or two of the same name.
    """
    rows = [dict(row) for row in rows]
    names = [row.get("name") for row in rows]
    if not all(names) or len(set(names)) != len(names):
        raise ValueError(f"every row needs a name of its own, but the names are {names}")
    path = folder / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": {}, "tables": {}}
    run = circumstances(versions) | context
    key = next((key for key, old in kept["runs"].items() if old == run), None)
    key = key or f"run-{1 + max((int(old.removeprefix('run-')) for old in kept['runs']), default=0)}"
    kept["runs"][key] = run
    by_name = {row["name"]: row for row in kept["tables"].get(table, [])}
    by_name |= {row["name"]: row | {"run": key} for row in rows}
    kept["tables"][table] = list(by_name.values())
    used = {row["run"] for kept_rows in kept["tables"].values() for row in kept_rows}
    kept["runs"] = {key: run for key, run in kept["runs"].items() if key in used}
    write_json(path, kept)
    return path


def _agree(name: str, ours: Any, peer: Any, same: Callable[[Any, Any], bool | str]) -> None:
    answer = same(ours, peer)
    if answer is None:
        raise TypeError(
            f"{name}: same() returned None; return True, or False, or a text that says what differs"
        )
    if isinstance(answer, str) or not answer:
        raise Disagreement(f"{name}: the results differ" + (f": {answer}" if isinstance(answer, str) else ""))


def _cpu_turn(function: Callable[[], Any], calls: int) -> tuple[float, float]:
    """CPU and wall seconds a call."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls


def _cuda_turn(function: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Seconds a call between two events on the current stream, and wall seconds."""
    import torch

    gc.collect()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    wall = time.perf_counter()
    start.record()
    for _ in range(calls):
        function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / calls, (time.perf_counter() - wall) / calls


def _calls(turn: Callable[..., tuple[float, float]], function: Callable[[], Any], min_seconds: float) -> int:
    """How many calls fill `min_seconds`; the call before it, which checked the results, was the warm-up."""
    calls = 1
    while min_seconds > 0 and (seconds := turn(function, calls)[0]) * calls < min_seconds:
        calls = max(calls + 1, min(10 * calls, int(1.1 * min_seconds / max(seconds, 1e-9)) + 1))
    return calls


def _verdict(ratios: Sequence[float], noise: Sequence[float]) -> str:
    if len(ratios) < 3:
        return "too few rounds"
    margin = max(max(noise), 1 / min(noise))
    if min(ratios) > margin:
        return "faster"
    return "slower" if max(ratios) < 1 / margin else "no difference shown"


def _weigh(
    answer: Connection, function: Callable[..., Any], args: tuple, prepare: Callable[[], Any] | None
) -> None:
    try:
        given = () if prepare is None else (prepare(),)
        gc.collect()
        before = _memory(start=True)
        function(*given, *args)
        answer.send(max(0, _memory() - before))
    except BaseException as error:
        answer.send(f"{type(error).__name__}: {error}")


def _memory(*, start: bool = False) -> int:
    """Peak resident memory in bytes; `start` first sets the peak back to what is resident now, if it can.

    On Linux this is VmHWM: the peak in getrusage outlives exec, so that a child begins with its parent's.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    if start:
        with suppress(OSError):  # a kernel without it: the peak of `prepare` hides calls that stay below it
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), flags=re.MULTILINE)
    if found is None:
        raise RuntimeError("this kernel does not report VmHWM in /proc/self/status")
    return int(found[1]) * 1024
