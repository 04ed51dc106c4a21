"""The house in order: versions, manuals, test files, names, sizes, installation."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import yaml

import nonet

LARGEST = 700_000  # bytes of a file in the repository
LONGEST = 400  # lines of a module: beyond it there are two ideas

# What a package's manual must answer, as words of its headings.
SECTIONS = {
    "how to install it": r"install",
    "how to use it from Python": r"python",
    "what the data looks like": r"data",
    "its commands": r"command|from .* to ",
    "its measured numbers": r"result|number|measured",
    "which options give the original's behaviour": r"equivalen|original",
    "what it cannot do": r"limit",
}


def distributions(root, packages):
    return [root / "shared", *(package.folder for package in packages)]


def version_of(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


# versions


def test_all_have_one_version(root, packages):
    found = {folder.name: version_of(folder) for folder in distributions(root, packages)}
    found["CITATION.cff"] = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert len(set(found.values())) == 1, found


def test_changelog_begins_with_the_version(root):
    headings = re.findall(r"(?m)^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert headings[0] == version_of(root / "shared")


def test_constraints_are_names_and_versions_only(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+==[0-9][0-9a-zA-Z.!]*", line) for line in pins)
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in pins]
    assert len(names) == len(set(names))


def test_everything_required_is_pinned(root, packages):
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"(?m)^([\w.-]+)==", text)}
    lines = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["dev"]
    for folder in distributions(root, packages):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = [*lines, *project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in lines}
    assert names - {"nonet"} <= pinned


# installation


def test_the_checkout_is_what_is_tested(root, packages):
    assert Path(nonet.__file__).is_relative_to(root), "nonet is a copy from elsewhere: run `make dev`"
    for package in packages:
        found = Path(package.cli.__file__)
        assert found.is_relative_to(package.folder), (
            f"{package.name} is a copy from elsewhere: run `make dev`"
        )


def test_the_installed_metadata_is_current(root, packages):
    for folder in distributions(root, packages):
        assert metadata.version(folder.name if folder.name != "shared" else "nonet") == version_of(folder), (
            "the version changed after the installation: run `make dev`"
        )


# repository files


def test_ignore_patterns_are_anchored(root):
    """A loose pattern such as data/ or *.yaml would drop files from the wheels without a word."""
    lines = (root / ".gitignore").read_text(encoding="utf-8").split()
    assert [line for line in lines if not line.startswith("/")] == ["__pycache__/", "*.pyc"]


def test_no_file_is_large(tracked):
    assert {str(path): path.stat().st_size for path in tracked if path.stat().st_size > LARGEST} == {}


def test_modules_are_short_and_named_after_something(tracked):
    modules = [path for path in tracked if path.suffix == ".py" and "src" in path.parts]
    long = {
        str(path): n
        for path in modules
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert long == {}
    assert [path for path in modules if path.stem in ("utils", "util", "misc", "helpers", "common")] == []


def test_every_module_says_what_it_is(tracked):
    silent = []
    for path in tracked:
        if path.suffix == ".py" and "src" in path.parts:
            text = path.read_text(encoding="utf-8").lstrip()
            if text and not re.match(r'(#.*\n)*r?"""', text):
                silent.append(str(path))
    assert silent == []


def test_nothing_is_left_over(tracked, root):
    """Notes to oneself, and paths that exist on one machine only."""
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|(?<![\w.])/(home|root|Users)/\w")
    found = []
    for path in tracked:
        if path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", ".cff") or path.name in (
            "Makefile",
            "run",
        ):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if words.search(line):
                    found.append(f"{path.relative_to(root)}:{number}: {line.strip()}")
    assert found == []


def test_settings_name_no_index(root, packages):
    """The package index is the user's business."""
    files = ["Makefile", "constraints.txt", "pyproject.toml", ".ci/run", ".github/workflows/ci.yml"]
    paths = [root / file for file in files] + [f / "pyproject.toml" for f in distributions(root, packages)]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert "index-url" not in text.replace(r"\.index-url=", ""), path


def test_the_ci_command_is_the_readme_s(root):
    assert "make test" in (root / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"(?m)^\$ make test$", (root / "README.md").read_text(encoding="utf-8"))
    assert (root / ".ci" / "run").stat().st_mode & 0o111


def test_the_workflow_waits_for_every_job(root):
    jobs = yaml.safe_load((root / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    done = jobs.pop("done")
    assert set(done["needs"]) == set(jobs)
    assert done["if"] == "${{ always() }}", "a job that is skipped counts as passed"


def test_packages_json_lists_the_folders(root, packages):
    done = subprocess.run(
        ["make", "--silent", "packages-json"], cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [package.name for package in packages]


# manuals


def headings(path):
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))
    return re.findall(r"(?m)^#+ (.*)$", text)


@pytest.mark.parametrize("answers", SECTIONS)
def test_the_package_s_manual_says(answers, package):
    pattern = SECTIONS[answers]
    assert any(
        re.search(pattern, heading, re.IGNORECASE) for heading in headings(package.folder / "README.md")
    )


def test_the_root_manual_has_every_package(root, packages):
    text = (root / "README.md").read_text(encoding="utf-8")
    for package in packages:
        assert f"(packages/{package.name})" in text or f"(packages/{package.name}/" in text


def test_links_between_files_lead_somewhere(tracked, root):
    broken = []
    for path in tracked:
        if path.suffix == ".md":
            text = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))
            for target in re.findall(r"\]\(([^)#\s]+)", text):
                if "://" not in target and not (path.parent / target).exists():
                    broken.append(f"{path.relative_to(root)}: {target}")
    assert broken == []


# tests


def test_no_test_folder_is_a_package(tracked):
    assert [str(path) for path in tracked if path.name == "__init__.py" and "tests" in path.parts] == []


def test_every_file_in_a_test_folder_has_a_role(tracked):
    """pytest overlooks a file of another name without a word."""
    for path in tracked:
        if (
            path.suffix == ".py"
            and path.parent.name == "tests"
            and path.name not in ("conftest.py", "isolate.py")
        ):
            assert path.name.startswith("test_"), path


@pytest.mark.slow
def test_every_test_file_yields_a_test(tracked, root):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:]
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    files = {str(path.relative_to(root)) for path in tracked if re.fullmatch(r"test_\w+\.py", path.name)}
    assert files - collected == set()
