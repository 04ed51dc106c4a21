"""The packages on disk: every test that asks for `package` or `verb` runs for each of them."""

import importlib
import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from nonet.testing import call_cli

ROOT = Path(__file__).resolve().parents[1]


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str
    cpu_seconds: float


@dataclass(frozen=True)
class Package:
    """A folder in packages/, known from nothing but its pyproject.toml."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def project(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    @property
    def prog(self) -> str:
        (prog,) = self.project["scripts"]
        return prog

    @property
    def front_door(self) -> str:
        """The module that names the verbs."""
        return self.project["scripts"][self.prog].partition(":")[0]

    @property
    def import_name(self) -> str:
        return self.front_door.partition(".")[0]

    @property
    def source(self) -> Path:
        return self.folder / "src" / self.import_name

    @property
    def cli(self) -> ModuleType:
        return importlib.import_module(self.front_door)

    def run(self, *words: object, cwd: Path, timeout: float = 120, **environment: str) -> Outcome:
        """Run the installed command."""
        command = [str(Path(sys.executable).with_name(self.prog)), *map(str, words)]
        return run(command, cwd=cwd, timeout=timeout, environment=environment)

    def call(self, *words: object, cwd: Path, **environment: str) -> Outcome:
        """Do what the installed command does, in this process: a tenth of the time."""
        done = call_cli(self.prog, *words, cwd=cwd, env=environment)
        return Outcome(done.returncode, done.stdout, done.stderr, 0.0)

    def python(self, *words: str, cwd: Path) -> Outcome:
        """Run this Python with the words."""
        return run([sys.executable, *words], cwd=cwd)


class Entry(NamedTuple):
    """A verb of a package."""

    package: Package
    name: str

    @property
    def verb(self) -> Any:
        return self.package.cli.VERBS[self.name]

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(self.verb.module)

    @property
    def presets(self) -> Path:
        return self.package.source / "presets" / self.name.replace(" ", "-")

    def run(self, *words: object, cwd: Path, **environment: str) -> Outcome:
        """Run the verb of the installed command."""
        return self.package.run(*self.name.split(), *words, cwd=cwd, **environment)

    def call(self, *words: object, cwd: Path, **environment: str) -> Outcome:
        """Do what the verb does, in this process."""
        return self.package.call(*self.name.split(), *words, cwd=cwd, **environment)


def run(
    command: list[str], *, cwd: Path, timeout: float = 120, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run a command and count the CPU seconds of its process and those below it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Outcome(done.returncode, done.stdout, done.stderr, cpu)


PACKAGES = [Package(path.parent) for path in sorted((ROOT / "packages").glob("*/pyproject.toml"))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "package" in metafunc.fixturenames:
        metafunc.parametrize("package", PACKAGES, ids=[package.name for package in PACKAGES])
    if "entry" in metafunc.fixturenames:
        entries = [Entry(package, name) for package in PACKAGES for name in package.cli.VERBS]
        metafunc.parametrize("entry", entries, ids=[f"{e.package.name}-{e.name}" for e in entries])


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def packages() -> list[Package]:
    """All packages."""
    return PACKAGES


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """The files that git has or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]
