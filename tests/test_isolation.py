"""Every package stands alone: installed by itself, it imports, answers, and declares what it needs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ["shared", *sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml"))]

spec = importlib.util.spec_from_file_location("isolate", ROOT / "tests" / "isolate.py")
isolate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(isolate)


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Where each environment is made, one after the other: bytecode of one serves the next."""
    return tmp_path_factory.mktemp("alone")


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_package_stands_alone(name, place):
    command = [sys.executable, ROOT / "tests" / "isolate.py", name, "--into", place / "environment"]
    bytecode = {"PYTHONPYCACHEPREFIX": str(place / "bytecode")}
    done = subprocess.run(
        command, env=os.environ | bytecode, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    shutil.rmtree(place / "environment", ignore_errors=True)  # gigabytes, where it is not hard links
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in FOLDERS if name != "shared"])
def test_pip_finds_nonet_beside_the_package_in_a_checkout(name, monkeypatch):
    monkeypatch.delenv("NONET", raising=False)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps"]
    command += ["--no-build-isolation", "--quiet", "--report", "-", ROOT / "packages" / name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    (item,) = json.loads(done.stdout)["install"]
    places = [line.split(" @ ")[1] for line in item["metadata"]["requires_dist"] if " @ " in line]
    assert places
    for place in places:
        assert Path(unquote(urlparse(place.partition(";")[0].strip()).path)) == ROOT / "shared"


# -------------------------------------------------------------------------------------- the checks themselves


def module(folder, text):
    folder.mkdir()
    (folder / "__init__.py").write_text(text, encoding="utf-8")
    return folder


def test_undeclared_import_is_found_in_a_function_too(tmp_path):
    package = module(
        tmp_path / "toy", "import json, numpy\n\n\ndef later():\n    from scipy import optimize\n"
    )
    distributions = {"numpy": ["numpy"], "scipy": ["SciPy"]}
    assert isolate.undeclared(package, ["numpy>=1.26"], distributions) == [("__init__.py:5", "scipy")]
    assert isolate.undeclared(package, ["numpy>=1.26", "scipy; extra == 'x'"], distributions) == []


def test_undeclared_import_by_name_is_found(tmp_path):
    package = module(tmp_path / "toy", 'needs("pyarrow.parquet", to="read", install="x")\nprint("pandas")\n')
    assert isolate.undeclared(package, ["numpy"], {}) == [("__init__.py:1", "pyarrow")]


def test_own_and_relative_imports_need_no_declaration(tmp_path):
    package = module(
        tmp_path / "toy", "import toy.other\nfrom . import other\nfrom __future__ import annotations\n"
    )
    assert isolate.undeclared(package, [], {}) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("nonet[report,text]<0.2,>=0.1", "nonet"),
        ("Rouge_Score>=0.1", "rouge-score"),
        ("nonet @ file:///x", "nonet"),
    ],
)
def test_requirement_lines_are_read(line, name, tmp_path):
    package = module(tmp_path / "toy", "import thing\n")
    assert isolate.undeclared(package, [line], {"thing": [name]}) == []


def wheel(tmp_path, *, without=(), extra=(), requires="nonet<0.2,>=0.1"):
    """A wheel of a package with a preset, and the source folder it comes from."""
    source = module(tmp_path / "toy", "")
    (source / "py.typed").touch()
    (source / "presets").mkdir()
    (source / "presets" / "small.yaml").write_text("# small\n", encoding="utf-8")
    names = {"toy/__init__.py", "toy/py.typed", "toy/presets/small.yaml"} - set(without) | set(extra)
    path = tmp_path / "toy-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
        archive.writestr(
            "toy-0.1.0.dist-info/METADATA", f"Name: toy\nRequires-Dist: {requires}\n\nSee file: x\n"
        )
    return path, source


def test_complete_wheel_passes(tmp_path):
    isolate.check_wheel(*wheel(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ["toy/presets/small.yaml"]}, "lacks toy/presets/small.yaml"),
        ({"extra": ["tests/test_toy.py"]}, "files that are not in toy/: tests/test_toy.py"),
        ({"requires": "nonet @ file:///checkout/shared"}, "a path of this machine"),
    ],
)
def test_wheel_with_a_fault_is_refused(change, message, tmp_path):
    with pytest.raises(isolate.NotAlone, match=message):
        isolate.check_wheel(*wheel(tmp_path, **change))


def test_wheel_without_its_type_marker_is_refused(tmp_path):
    path, source = wheel(tmp_path, without=["toy/py.typed"])
    (source / "py.typed").unlink()
    with pytest.raises(isolate.NotAlone, match=r"lacks toy/py\.typed"):
        isolate.check_wheel(path, source)


def test_range_of_nonet_follows_the_version():
    version = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["version"]
    assert isolate.compatible_range("0.1.0") == ">=0.1,<0.2"
    assert isolate.compatible_range("1.9.3") == ">=1.9,<1.10"
    assert version.startswith(isolate.compatible_range(version).partition(",")[0].removeprefix(">="))
