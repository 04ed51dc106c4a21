"""Arms of an experiment side by side, each a process of one thread; what is finished is not done again."""

import argparse
import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def run_arms(
    jobs: Sequence[tuple[str, Callable[..., dict[str, Any]], tuple[Any, ...]]],
    folder: Path,
    *,
    processes: int,
) -> list[dict[str, Any]]:
    """Run jobs in processes of one thread each; results are kept as FOLDER/<name>.json and not computed
    again.

    Returns:
        The results in the order of the jobs.
    """
    from nonet.cli.progress import progress
    from nonet.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    todo = [job for job in jobs if not (folder / f"{job[0]}.json").exists()]
    if processes == 1:
        for name, function, arguments in progress(todo, total=len(todo), label="arms", unit="arms"):
            write_json(folder / f"{name}.json", quietly(function, arguments))
    else:
        with (
            ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
            progress(label="arms", unit="arms", total=len(todo)) as bar,
        ):
            futures = {pool.submit(quietly, job[1], job[2]): job[0] for job in todo}
            for future in as_completed(futures):
                write_json(folder / f"{futures[future]}.json", future.result())
                bar.advance(1)
    return [json.loads((folder / f"{job[0]}.json").read_text(encoding="utf-8")) for job in jobs]


def arguments(about: str | None, work: str) -> argparse.ArgumentParser:
    """The command line of an experiment: where its arms are kept, and how many run side by side.

    Args:
        about: the module's docstring.
        work: the folder by default.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path(work), help="folder of finished arms (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2, help="arms side by side (default: %(default)s)")
    return parser


def quietly(function: Callable[..., dict[str, Any]], arguments: Iterable[Any]) -> dict[str, Any]:
    """Call with one torch thread and without progress bars; the result says how many CPU seconds it took."""
    import time
    import warnings

    import torch

    os.environ["NONET_PROGRESS"] = "0"
    torch.set_num_threads(1)
    start = time.process_time()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        found = function(*arguments)
    return found | {"cpu_seconds": round(time.process_time() - start, 1)}
