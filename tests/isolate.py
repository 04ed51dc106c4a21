"""Does a package stand alone? `make isolate-NAME` builds its wheels and looks at them in a clean environment.

Only the standard library is imported here: part of the work runs inside that environment.
"""

import argparse
import ast
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIGHT = (
    "nonet",
    "nonet.cli",
    "nonet.errors",
    "nonet.files",
    "nonet.options",
    "nonet.runs",
)  # no extras needed


class NotAlone(Exception):
    """What is wrong with a package, in one line."""


def folder_of(name: str) -> Path:
    """Give the folder of a distribution: `shared` (or `nonet`), else `packages/NAME`."""
    folder = ROOT / "shared" if name in ("shared", "nonet") else ROOT / "packages" / name
    if not (folder / "pyproject.toml").is_file():
        raise NotAlone(f"no package {name!r}: {folder} has no pyproject.toml")
    return folder


def project_of(name: str) -> dict:
    """Read the `[project]` table of a distribution."""
    return tomllib.loads((folder_of(name) / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def import_name(name: str) -> str:
    """Give the one import package of a distribution."""
    (package,) = [path.parent.name for path in (folder_of(name) / "src").glob("*/__init__.py")]
    return package


def compatible_range(version: str) -> str:
    """Give the range of versions of nonet that a package of this version works with.

    >>> compatible_range("0.1.3")
    '>=0.1,<0.2'
    """
    major, minor, *_ = version.split(".")
    return f">={major}.{minor},<{major}.{int(minor) + 1}"


# ----------------------------------------------------------------------------------------------------- wheels


def build_wheels(names: Iterable[str], into: Path) -> dict[str, Path]:
    """Build the wheels of some distributions with a version range, not a path, for nonet."""
    environment = os.environ | {"NONET": compatible_range(project_of("shared")["version"])}
    wheels = {}
    for name in names:
        with tempfile.TemporaryDirectory() as fresh:
            command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", fresh]
            call([*command, str(folder_of(name))], env=environment)
            (built,) = Path(fresh).glob("*.whl")
            into.mkdir(parents=True, exist_ok=True)
            wheels[name] = Path(shutil.copy(built, into))
    return wheels


def check_wheel(wheel: Path, source: Path) -> None:
    """Check that a wheel holds its import package, all of it, and nothing else.

    Args:
        wheel: the file.
        source: the folder of the import package that it was built from.

    Raises:
        NotAlone: a path of this machine in the metadata, files too many or missing.
    """
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        header = archive.read(metadata).decode().split("\n\n")[0]
    if leaks := [line for line in header.splitlines() if "file:" in line]:
        raise NotAlone(f"{wheel.name}: a path of this machine in its metadata: {leaks[0]}")
    names = (path.relative_to(source.parent) for path in source.rglob("*") if path.is_file())
    expected = {
        name.as_posix()
        for name in names
        if "__pycache__" not in name.parts and not any(part.startswith(".") for part in name.parts)
    }
    if missing := sorted(expected - inside):
        raise NotAlone(f"{wheel.name} lacks {', '.join(missing)}: does a pattern of .gitignore match it?")
    if extra := sorted(inside - expected):
        raise NotAlone(f"{wheel.name} has files that are not in {source.name}/: {', '.join(extra)}")
    if f"{source.name}/py.typed" not in inside:
        raise NotAlone(f"{wheel.name} lacks {source.name}/py.typed: its type hints would be ignored")
    if tests := sorted(name for name in inside if re.search(r"(^|/)(tests?|conftest)(/|\.py$)", name)):
        raise NotAlone(f"{wheel.name} has tests: {', '.join(tests)}")


# ---------------------------------------------------------------------------------------- a clean environment


def make_environment(folder: Path) -> Path:
    """Make an empty environment with this Python and give its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    if has_uv():
        call([sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, str(folder)])
    else:
        call([sys.executable, "-m", "venv", str(folder)])
    return python


def install(python: Path, requirements: Sequence[str]) -> None:
    """Install at the pinned versions: from uv's cache where it can, else from the index."""
    pins = ["--constraint", str(ROOT / "constraints.txt"), *requirements]
    if not has_uv():
        call([str(python), "-m", "pip", "install", "--quiet", *pins])
        return
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *pins]
    if subprocess.run([*command, "--offline"], capture_output=True, check=False).returncode != 0:
        call(command)


def has_uv() -> bool:
    """Tell whether this environment has uv."""
    return importlib.util.find_spec("uv") is not None


def site_packages(python: Path) -> Path:
    """Give the folder that an environment installs into."""
    (folder,) = python.parent.parent.glob("lib/python*/site-packages")
    return folder


# ----------------------------------------------------------------------------------------------- declarations


def imported(source: str) -> Iterator[tuple[str, int]]:
    """Find what a file imports, functions included, also by `needs("x")` and `import_module("x")`.

    Yields:
        (top-level module, line number).
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0], node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            optional = called == "needs" and any(keyword.arg == "to" for keyword in node.keywords)
            if (optional or called == "import_module") and isinstance(node.args[0].value, str):
                yield node.args[0].value.partition(".")[0], node.lineno


def undeclared(
    package: Path, requires: Iterable[str], distributions: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Find imports that no requirement brings.

    Args:
        package: folder of the import package.
        requires: requirement lines of its metadata, extras included.
        distributions: import name -> distributions that have it.

    Returns:
        (place, import name) for each, such as `("data.py:3", "scipy")`.
    """
    declared = {normal(re.split(r"[\s\[;<>=!~@(]", line, maxsplit=1)[0]) for line in requires}
    found = []
    for path in sorted(package.rglob("*.py")):
        for name, line in imported(path.read_text(encoding="utf-8")):
            if name in sys.stdlib_module_names or name in (package.name, "__main__"):
                continue
            if declared.isdisjoint(map(normal, distributions.get(name, [name]))):
                found.append((f"{path.relative_to(package)}:{line}", name))
    return found


def normal(name: str) -> str:
    """Spell a distribution's name the one way.

    >>> normal("Rouge_Score")
    'rouge-score'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


# --------------------------------------------------------------------- what runs inside the clean environment


def look_inside(name: str, modules: Sequence[str]) -> None:
    """Import modules (all of the package, if none are named), and ask every verb for help."""
    folder = Path(importlib.import_module(name).__file__).parent
    for module in modules or walk(folder, name):
        importlib.import_module(module)
    for entry in importlib.metadata.entry_points(group="console_scripts"):
        if not entry.module.startswith(f"{name}."):
            continue
        verbs = importlib.import_module(entry.module).VERBS
        command = str(Path(sys.executable).with_name(entry.name))
        for arguments in (["--help"], ["--version"], *([*verb.split(), "--help"] for verb in verbs)):
            call([command, *arguments])


def walk(folder: Path, name: str) -> Iterator[str]:
    """List the modules of an import package without importing them; `__main__` would run."""
    for info in pkgutil.iter_modules([str(folder)]):
        if info.name == "__main__":
            continue
        yield f"{name}.{info.name}"
        if info.ispkg:
            yield from walk(folder / info.name, f"{name}.{info.name}")


# -------------------------------------------------------------------------------------------------- the whole


def isolate(name: str, into: Path, tests: bool) -> None:
    """Build, install alone, look, and test.

    Args:
        name: the package's folder in packages/, or `shared`.
        into: folder of the clean environment; an old one there is removed.
        tests: also run the package's tests in it.
    """
    project, package = project_of(name), import_name(name)
    with tempfile.TemporaryDirectory() as temporary:
        wheels = build_wheels(dict.fromkeys(["shared", name]), Path(temporary))
        for built, wheel in wheels.items():
            check_wheel(wheel, folder_of(built) / "src" / import_name(built))
        python = make_environment(into)
        report = [str(python), "-P", str(Path(__file__).resolve()), "--inside", package]

        install(python, [str(wheel) for wheel in wheels.values()])
        if name == "shared":
            call([*report, *LIGHT], cwd=temporary)
            extras = ",".join(project["optional-dependencies"])
            install(python, [f"nonet[{extras}] @ {wheels[name].as_uri()}"])
        call(report, cwd=temporary)

        site = site_packages(python)
        (distribution,) = importlib.metadata.distributions(name=project["name"], path=[str(site)])
        known = importlib.metadata.packages_distributions()
        if strays := undeclared(site / package, distribution.requires or [], known):
            listed = ", ".join(f"{module} ({place})" for place, module in strays)
            raise NotAlone(f"{name} imports what its pyproject.toml does not declare: {listed}")
        if (site / "tests").exists():
            raise NotAlone(f"{name} installs a top-level folder named tests")

        if tests:
            install(python, [f"{project['name']}[test] @ {wheels[name].as_uri()}"])
            folder = folder_of(name) / "tests"
            call(
                [str(python), "-P", "-m", "pytest", "-p", "no:cacheprovider", str(folder)],
                show=True,
                cwd=ROOT,
            )


def call(command: Sequence[str], *, show: bool = False, **options) -> None:
    """Run a command; when it fails, its output is the error."""
    output = None if show else subprocess.PIPE
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        text=True,
        **options,
    )
    if done.returncode != 0:
        said = f"\n{done.stdout}" if done.stdout else ""
        raise NotAlone(f"exit {done.returncode} from: {' '.join(command)}{said}")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="folders in packages/, or shared")
    parser.add_argument(
        "--wheels", type=Path, help="only build wheels into this folder, nonet's and those of the names"
    )
    parser.add_argument(
        "--tests", action="store_true", help="also run the package's tests in the clean environment"
    )
    parser.add_argument("--into", type=Path, help="folder of the environment; .envs/NAME if none is given")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        if options.inside:
            look_inside(options.names[0], options.names[1:])
        elif options.wheels:
            built = build_wheels(["shared", *options.names], options.wheels)
            for name, wheel in built.items():
                check_wheel(wheel, folder_of(name) / "src" / import_name(name))
                print(wheel)
        else:
            for name in options.names:
                isolate(name, options.into or ROOT / ".envs" / name, options.tests)
                print(f"{name} stands alone")
    except NotAlone as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
