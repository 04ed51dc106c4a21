"""Helpers for tests of every package: real data, optional requirements, devices, commands.

pytest is imported where it is used, so that nonet does not depend on it.
"""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
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


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions on a GPU as float32 has them: TF32, the default, keeps ten bits of each factor."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


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


@contextlib.contextmanager
def plain_pages(most: int = 0) -> Iterator[None]:
    """Give the pages of runs so many curves at most: to draw them takes longer than a tiny run.

    The rest of such a page is made as ever.
    """
    from unittest import mock

    module = importlib.import_module("nonet.report.run_page")  # the package has a function of that name
    curves = module.curves

    def few(metrics: Any) -> dict[str, Any]:
        return dict(list(curves(metrics).items())[:most])

    with mock.patch.object(module, "curves", few):
        yield


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
