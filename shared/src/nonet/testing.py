"""Helpers for tests of every package: real data, optional requirements, devices, commands, two processes.

pytest is imported where it is used, so that nonet does not depend on it.
"""

import contextlib
import importlib.util
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

DATA = "NONET_DATA"  # the folder with real data; by default `shared/data` beside the checkout


def data_folder(*parts: str) -> Path:
    """A folder or file of the real data; the test is skipped, with the reason, where it is absent."""
    import pytest

    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    root = Path(os.environ[DATA]) if os.environ.get(DATA) else beside
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs real data: no {path.name} in the folder that {DATA} names")
    return path


def needs(requirement: str) -> Any:
    """A mark: skip the test where a requirement is missing.

    Args:
        requirement: `"cuda"` (a GPU that torch sees), or a distribution or module with or without versions,
            such as `"rouge-score>=0.1.2"` or `"triton"`.
    """
    import pytest

    if requirement == "cuda":
        return pytest.mark.skipif(not _cuda(), reason="needs a CUDA device")
    reason = f"needs {requirement}: pip install '{requirement}'"
    return pytest.mark.skipif(not _installed(requirement), reason=reason)


def devices(test: Callable[..., Any]) -> Any:
    """Run a test with `device="cpu"`, and with `device="cuda"` (marked gpu) where there is one."""
    import pytest

    cuda = pytest.param("cuda", marks=[pytest.mark.gpu, needs("cuda")])
    return pytest.mark.parametrize("device", ["cpu", cuda])(test)


def seeded(seed: int = 0) -> Any:
    """A torch generator on the CPU that draws the same each time."""
    import torch

    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: Any = None) -> Any:
    """Draws of the standard normal distribution, the same each time; float32 unless `dtype` is given."""
    import torch

    return torch.randn(*shape, generator=seeded(seed), dtype=dtype or torch.float32)


def whole(high: int, *shape: int, seed: int = 0) -> Any:
    """Draws from 0 to high - 1, int64, the same each time."""
    import torch

    return torch.randint(high, shape, generator=seeded(seed))


@contextlib.contextmanager
def threads(count: int = 2) -> Iterator[None]:
    """Have torch compute with so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def benchmarks_of(package: str) -> tuple[Path, list[str]]:
    """The benchmarks of a package: the checkout and the names of its `speed_` and `claim_` modules.

    Args:
        package: the package's import name, which is the name of its folder in `benchmarks`.

    Returns:
        The checkout, and no names where the package is not in one.
    """
    root = Path(__file__).resolve().parents[3]
    found = (root / "benchmarks" / package).glob("*.py")
    return root, sorted(path.stem for path in found if path.stem.startswith(("speed_", "claim_")))


def check_tiny_benchmark(package: str, name: str, results: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Run a benchmark's `main(tiny=True)`: it checks that both sides agree, and keeps no results.

    Args:
        package: as in `benchmarks_of`.
        name: of the module.
        results: the name of its result file without `.json`.
        tmp_path: pytest's; the benchmark runs there.
        monkeypatch: pytest's.
    """
    import pytest

    root, _ = benchmarks_of(package)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv("NONET_PROGRESS", "0")
    monkeypatch.chdir(tmp_path)
    kept = root / "benchmarks" / "results" / f"{results}.json"
    before = kept.stat().st_mtime_ns if kept.exists() else None
    module = importlib.import_module(f"benchmarks.{package}.{name}")
    rows = module.main(tiny=True)
    if not rows:
        pytest.skip(f"{name} has no data here")
    assert all(row["name"] for row in rows)
    assert (kept.stat().st_mtime_ns if kept.exists() else None) == before, "a tiny run keeps no results"
    assert "benchmarks.harness" in sys.modules


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The numbers of a run's metrics.jsonl, line by line, but for what a clock says."""
    from nonet.runs import read_metrics

    clock = ("seconds", "steps_per_second")
    return [{name: line[name] for name in line if name not in clock} for line in read_metrics(folder)]


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Have torch compute with one thread inside the block, for sums in one order."""
    return threads(1)


def run_cli(
    command: str,
    *arguments: object,
    cwd: Path | str | None = None,
    env: Mapping[str, str | None] | None = None,
    input: str | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a program as a user does, in a process of its own.

    Args:
        command: the name of an installed program (`"pegasus"`), or of a module that `python -m` runs.
        *arguments: the words after it.
        cwd: the folder to run in.
        env: variables to set beside those of this process; None removes one.
        input: what stands on standard input; nothing by default.
        timeout: seconds after which it is killed.

    Returns:
        With `returncode`, and `stdout` and `stderr` as text.
    """
    scripts = [entry for entry in entry_points(group="console_scripts") if entry.name == command]
    if scripts:
        module, _, attribute = scripts[0].value.partition(":")
        start = f"from {module} import {attribute}; sys.exit({attribute}())"
        script = Path(sys.executable).with_name(command)  # Lightning starts further processes by this name
        code = f"import sys; sys.argv[0] = {str(script) if script.exists() else command!r}; {start}"
        words = [sys.executable, "-c", code]
    else:
        words = [sys.executable, "-m", command]
    environment: dict[str, str] = {"OMP_NUM_THREADS": "2", "COLUMNS": "100"}
    for name, value in {**os.environ, "NONET_PROGRESS": "0", **(env or {})}.items():
        if value is not None:
            environment[name] = value
        else:
            environment.pop(name, None)
    return subprocess.run(
        [*words, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


def replaced(words: Iterable[object], *changes: object) -> list[str]:
    """A command line with other values: the flags of `changes` stand in place of the same ones of `words`.

    Args:
        words: a command line, each flag followed by its values.
        *changes: flags with the values they are to have, after words without a flag, if any.

    Returns:
        `words` without the flags that `changes` names and without their values, then `changes`.
    """
    new = [str(word) for word in changes]
    flags = {word.partition("=")[0] for word in new if word.startswith("--")}
    kept: list[str] = []
    leaving = False
    for word in map(str, words):
        if word.startswith("--"):
            leaving = word.partition("=")[0] in flags
        if not leaving:
            kept.append(word)
    return kept + new


def call_cli(
    command: str,
    *arguments: object,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Do in this process what `run_cli` does in another: the program's heavy imports are not paid anew.

    Args:
        command: the name of an installed program.
        *arguments: the words after it.
        cwd: the folder to run in.
        env: variables to set beside those of this process.
        input: what stands on standard input; nothing by default.

    Returns:
        With `returncode`, and `stdout` and `stderr` as text. What the program would print as the traceback
        of a bug is raised.
    """
    from unittest import mock

    (main,) = (entry for entry in entry_points(group="console_scripts") if entry.name == command)
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch.dict(os.environ, {"COLUMNS": "100", "NONET_PROGRESS": "0", **(env or {})}),
        mock.patch.object(sys, "argv", [command, *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.StringIO(input or "")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main.load()()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return subprocess.CompletedProcess(
        [command, *map(str, arguments)], code or 0, out.getvalue(), err.getvalue()
    )


def two_processes(
    function: Callable[..., Any], *arguments: Any, processes: int = 2, timeout: float = 240
) -> list[Any]:
    """Call a function in two processes that torch.distributed joins (gloo, CPU), and collect what it returns.

    `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` are set, and the process group is
    there.

    Args:
        function: a module-level function, of a test file or of an installed module.
        *arguments: what to call it with, in both processes; must pickle.
        processes: how many.
        timeout: seconds after which all are killed.

    Returns:
        What each returned, by rank.

    Raises:
        AssertionError: a process failed or took too long; the text has its traceback.
    """
    folder = Path(tempfile.mkdtemp(prefix="nonet-"))
    try:
        module = sys.modules[function.__module__]
        job = (function.__module__, getattr(module, "__file__", None), function.__qualname__)
        (folder / "job").write_bytes(pickle.dumps(job))
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        port = _free_port()
        children = [_child(folder, rank, processes, port) for rank in range(processes)]
        _wait(children, folder, time.monotonic() + timeout)
        return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(processes)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(folder: Path, rank: int, world: int, port: int) -> "subprocess.Popen[bytes]":
    variables = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    if sys.platform == "linux":
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    code = "import sys; from nonet.testing import _serve; _serve(sys.argv[1])"
    with open(folder / f"output-{rank}", "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait(children: "list[subprocess.Popen[bytes]]", folder: Path, deadline: float) -> None:
    """Wait for all; at the first failure, or after the deadline, kill the rest and say what they printed."""
    trouble = ""
    while not trouble and any(child.poll() is None for child in children):
        failed = [rank for rank, child in enumerate(children) if child.poll() not in (None, 0)]
        if failed:
            trouble = f"process {failed[0]} failed"
        elif time.monotonic() > deadline:
            trouble = "the processes took too long"
        else:
            time.sleep(0.02)
    broken = [rank for rank, child in enumerate(children) if child.returncode]
    trouble = trouble or (f"process {broken[0]} failed" if broken else "")
    for child in children:
        child.kill()
        child.wait()
    if trouble:
        printed = [
            f"--- process {rank} ---\n{(folder / f'output-{rank}').read_text(errors='replace')[-4000:]}"
            for rank in range(len(children))
        ]
        raise AssertionError("\n".join([trouble, *printed]))


def _serve(folder: str) -> None:
    """What each of the processes does."""
    import torch
    import torch.distributed as distributed

    root, rank, world = Path(folder), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    name, file, qualname = pickle.loads((root / "job").read_bytes())
    target: Any = _module(name, file)
    for part in qualname.split("."):
        target = getattr(target, part)
    arguments = pickle.loads((root / "arguments").read_bytes())
    meeting = f"file://{root / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    try:
        result = target(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)  # the other process may wait for this one: no tidy end
    (root / f"result-{rank}").write_bytes(pickle.dumps(result))
    distributed.barrier()
    distributed.destroy_process_group()


def _module(name: str, file: str | None) -> Any:
    """The module by name, or from its file: pytest gives test files names that nobody else can import."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if file is None:
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module {name} in {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def _installed(requirement: str) -> bool:
    from packaging.requirements import Requirement  # pytest depends on it

    wanted = Requirement(requirement)
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        module = importlib.util.find_spec(wanted.name.replace("-", "_"))
        return module is not None and not wanted.specifier
