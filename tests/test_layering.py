"""Arrows point down: cli -> commands -> the rest of a package -> nonet, and nothing points sideways."""

import subprocess
import sys
import tomllib
from pathlib import Path

import grimp


def settings(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def contract(root, name):
    (found,) = [c for c in settings(root)["importlinter"]["contracts"] if c["name"] == name]
    return found


def test_the_contracts_hold(root):
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[done.stdout.find("Contracts\n") :]


def test_the_contracts_name_every_package(root, packages):
    names = {package.import_name for package in packages}
    assert set(settings(root)["importlinter"]["root_packages"]) == names | {"nonet"}
    assert set(contract(root, "method packages do not know each other")["modules"]) == names
    assert set(contract(root, "nonet knows no method package")["forbidden_modules"]) == names
    assert set(contract(root, "inside a method package arrows point down")["containers"]) == names


def test_mypy_looks_at_every_package(root, packages):
    assert set(settings(root)["mypy"]["packages"]) == {p.import_name for p in packages} | {"nonet"}
    folders = {f"packages/{p.name}/src" for p in packages} | {"shared/src"}
    assert set(settings(root)["mypy"]["mypy_path"]) == folders


def test_nothing_below_knows_the_commands(package):
    graph = grimp.build_graph(package.import_name, cache_dir=None, exclude_type_checking_imports=True)
    above = f"{package.import_name}.commands"
    commands = {above} | graph.find_descendants(above)
    allowed = commands | {package.front_door, f"{package.import_name}.__main__"}
    for module in commands | {package.front_door}:
        assert graph.find_modules_that_directly_import(module) <= allowed, module
