"""Arms of an experiment side by side, each a process of one thread; what is finished is not done again."""

import argparse
import ast
import contextlib
import hashlib
import importlib.util
import inspect
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

KEY = "made_by"
"""under which a result's file keeps the key of the code and the arguments that made it"""

Job = tuple[str, Callable[..., dict[str, Any]], tuple[Any, ...]]


def run_arms(jobs: Sequence[Job], folder: Path, *, processes: int) -> list[dict[str, Any]]:
    """Run jobs in processes of one thread each; results are kept as FOLDER/<name>.json.

    A result is not computed again while the job's arguments and its code are what made it; see `key_of`.
    Another one under its name is overwritten, so what must not replace each other needs folders of its own.
    Where a job fails, no other is begun, those that run end and are kept, and its error is raised.

    Returns:
        The results in the order of the jobs.
    """
    from nonet.cli.progress import progress
    from nonet.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: key_of(function, arguments) for name, function, arguments in jobs}
    todo = [job for job in jobs if _kept(folder / f"{job[0]}.json", keys[job[0]]) is None]

    def keep(name: str, result: dict[str, Any]) -> None:
        write_json(folder / f"{name}.json", result | {KEY: keys[name]})

    if processes == 1:
        for name, function, arguments in progress(todo, total=len(todo), label="arms", unit="arms"):
            keep(name, quietly(function, arguments))
    else:
        with (
            ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
            progress(label="arms", unit="arms", total=len(todo)) as bar,
        ):
            futures = {pool.submit(quietly, job[1], job[2]): job[0] for job in todo}
            try:
                for future in as_completed(futures):
                    keep(futures[future], future.result())
                    bar.advance(1)
            except Exception:
                pool.shutdown(cancel_futures=True)
                for future, name in futures.items():
                    if not future.cancelled() and future.exception() is None:
                        keep(name, future.result())
                raise
    found = []
    for job in jobs:
        result = _kept(folder / f"{job[0]}.json", keys[job[0]])
        if result is None:
            raise ValueError(
                f"{folder}/{job[0]}.json is not this job's: two of a name, or another run's work"
            )
        found.append(result)
    return found


def key_of(function: Callable[..., Any], arguments: Iterable[Any]) -> str:
    """What a result depends on, hashed: the arguments, and the code that the function can reach.

    The code is the function's module, and what it imports, at any depth and inside of functions as well, of
    its own folder and of the package of the folder's name; not other libraries, not `nonet`, and not what is
    imported by a name that is put together. Comments, layout and docstrings do not count.

    Args:
        function: of a module file.
        arguments: told apart by `repr`, without addresses in memory.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(tuple(arguments))).encode())
    digest.update(function.__qualname__.encode())
    for name, text in sorted(_sources(Path(inspect.getfile(function)).resolve()).items()):
        digest.update(f"\n{name}\n{text}".encode())
    return digest.hexdigest()


def _kept(file: Path, key: str) -> dict[str, Any] | None:
    """A result of that key, if the file holds one."""
    if not file.exists():
        return None
    result = dict(json.loads(file.read_text(encoding="utf-8")))
    return result if result.pop(KEY, None) == key else None


def _sources(first: Path) -> dict[str, str]:
    """Dotted name -> code without prose of a module and of what it imports of its folder and its package."""
    folder = first.parent
    roots = {f"benchmarks.{folder.name}": folder}
    package = importlib.util.find_spec(folder.name) if folder.name.isidentifier() else None
    for place in (package.submodule_search_locations or []) if package else []:
        if Path(place).resolve() != folder:
            roots[folder.name] = Path(place)
    found: dict[str, str] = {}
    waiting = [(f"benchmarks.{folder.name}.{first.stem}", first)]
    while waiting:
        name, file = waiting.pop()
        if name in found:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for imported in _imports(tree):
            for root, place in roots.items():
                if imported == root or imported.startswith(f"{root}."):
                    path = place.joinpath(*imported[len(root) + 1 :].split("."))
                    for each in (path.with_suffix(".py"), path / "__init__.py"):
                        if each.is_file():
                            waiting.append((imported, each))
        found[name] = ast.dump(_without_prose(tree))
    return found


def _imports(tree: ast.Module) -> list[str]:
    """Modules that are imported anywhere, and the names from them, which may be modules as well."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return names


def _without_prose(tree: ast.Module) -> ast.Module:
    """In place: strings that stand alone, docstrings and those behind fields, are taken out."""
    for node in ast.walk(tree):
        for body in ("body", "orelse", "finalbody"):
            lines = getattr(node, body, None)
            if isinstance(lines, list):
                setattr(node, body, [line for line in lines if not _is_prose(line)])
    return tree


def _is_prose(line: Any) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


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
