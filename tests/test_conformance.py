"""What every package's command does alike. A package on disk is tested by being there."""

import dataclasses
import inspect
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import yaml

from nonet.cli import options as cli_options
from nonet.options import dump, names, undocumented

HEAVY = ["lightning", "numpy", "torch", "transformers"]
HELP_SECONDS = 0.5  # of CPU time: wall time would measure the neighbours
# About 0.1 CPU seconds on a quiet machine. Neighbours on the same core slow it down as much as they do help.
YARDSTICK = "import asyncio, email.message, inspect, unittest.mock, zipfile"
DEMO_SECONDS = 120  # of CPU time: a minute on two cores
DEMO_KEYS = {"package", "what", "measure", "before", "after", "better", "seconds", "pictures"}

# For a process that may talk to itself and to nobody else.
NO_NETWORK = """
import socket
connect = socket.socket.connect
def refuse(self, address):
    near = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
    if not near:
        raise RuntimeError(f"connects to {address[0]}, and may not use a network")
    return connect(self, address)
socket.socket.connect = refuse
"""


def assert_refused(outcome, *words):
    """A mistake of the user: exit 2 and one line on stderr that holds the words."""
    assert outcome.code == 2, outcome
    assert len(outcome.err.splitlines()) == 1, outcome.err
    for word in words:
        assert str(word) in outcome.err
    assert outcome.out == ""


def assert_quick(package, cwd, action):
    """One of a few tries stays below the limit, or below five yardsticks taken in turn with it."""
    seen, limits = [], [HELP_SECONDS]
    while len(seen) < 5 and (not seen or min(seen) >= max(limits)):
        outcome = action()
        assert outcome.code == 0, outcome
        seen.append(outcome.cpu_seconds)
        limits.append(5 * package.python("-c", YARDSTICK, cwd=cwd).cpu_seconds)
    assert min(seen) < max(limits), f"CPU seconds: {seen}, limits: {limits}"


def example_words(entry):
    """The words of a verb's example after program and verb."""
    words = shlex.split(entry.verb.example)
    start = [entry.package.prog, *entry.name.split()]
    assert words[: len(start)] == start, f"the example does not begin with {' '.join(start)!r}"
    return words[len(start) :]


def example_options(entry, *, preset=None):
    """The options of a verb's example, with a preset in place of the example's own."""
    words = example_words(entry)
    if preset:
        if "--preset" in words:
            place = words.index("--preset")
            del words[place : place + 2]
        words += ["--preset", preset]
    return cli_options.parse(entry.module.Options, words, command=entry.name, presets=entry.presets).options


# -------------------------------------------------------------------------------------------- light and quick


def test_import_of_the_package_loads_no_torch(package, tmp_path):
    code = f"import sys, {package.import_name}; print([m for m in {HEAVY} if m in sys.modules])"
    assert package.python("-c", code, cwd=tmp_path).out == "[]\n"


def test_import_of_the_front_door_loads_nothing_heavy(package, tmp_path):
    code = f"import sys, {package.front_door}; print([m for m in {HEAVY} if m in sys.modules])"
    assert package.python("-c", code, cwd=tmp_path).out == "[]\n"


def test_the_verbs_modules_load_nothing_heavy(package, tmp_path):
    modules = ", ".join(sorted({verb.module for verb in package.cli.VERBS.values()}))
    code = f"import sys, {modules}; print([m for m in {HEAVY} if m in sys.modules])"
    outcome = package.python("-c", code, cwd=tmp_path)
    assert outcome.out == "[]\n", outcome.err


def test_help_of_the_program_is_quick(package, tmp_path):
    assert_quick(package, tmp_path, lambda: package.run("--help", cwd=tmp_path))


def test_help_of_the_verb_is_quick_and_names_every_option(entry, tmp_path):
    assert_quick(entry.package, tmp_path, lambda: entry.run("--help", cwd=tmp_path))
    shown = entry.call("--help", cwd=tmp_path, COLUMNS="200").out
    assert entry.verb.example in shown.splitlines()[0]
    for name in names(entry.module.Options):
        assert re.search(rf"--{re.escape(name.rstrip('_').replace('_', '-'))}\b", shown), name


# --------------------------------------------------------------------------------------------- the front door


def test_help_of_the_program_lists_every_verb(package, tmp_path):
    shown = package.call("--help", cwd=tmp_path).out
    for name, verb in package.cli.VERBS.items():
        assert re.search(rf"(?m)^\s+{re.escape(name)}\s+{re.escape(verb.summary)}$", shown)


def test_version_is_that_of_the_distribution(package, tmp_path):
    first, *_ = package.run("--version", cwd=tmp_path).out.splitlines()
    assert first == f"{package.prog} {package.project['version']}"


def test_python_m_is_the_command(package, tmp_path):
    outcome = package.python("-m", package.import_name, "--version", cwd=tmp_path)
    assert outcome.out.splitlines()[:1] == [f"{package.prog} {package.project['version']}"], outcome.err


def test_every_package_has_the_common_verbs(package):
    assert {"demo", "info"} <= set(package.cli.VERBS)


def test_unknown_verb_is_refused(package, tmp_path):
    assert_refused(package.run("no-such-verb", cwd=tmp_path), "no-such-verb")


# -------------------------------------------------------------------------------------------------- the verbs


def test_verb_table_and_modules_agree(entry):
    module = entry.module
    assert dataclasses.is_dataclass(module.Options)
    assert module.Options.__dataclass_params__.frozen
    assert module.Options.__doc__
    assert not module.Options.__doc__.startswith("Options("), "the docstring is the verb's help"
    assert len(inspect.signature(module.run).parameters) == 1
    assert entry.verb.module.rpartition(".")[0] == f"{entry.package.import_name}.commands"


def test_every_file_in_commands_is_a_verb(package):
    files = {path.stem for path in (package.source / "commands").glob("*.py")} - {"__init__"}
    assert files == {verb.module.rpartition(".")[2] for verb in package.cli.VERBS.values()}


def test_every_option_has_a_help_text(entry):
    assert undocumented(entry.module.Options) == []


def test_options_survive_being_written_as_yaml(entry, tmp_path):
    options = example_options(entry)
    path = tmp_path / "options.yaml"
    path.write_text(dump(options), encoding="utf-8")
    again = cli_options.parse(entry.module.Options, ["--config", str(path)], command=entry.name).options
    assert again == options


def test_print_config_shows_the_example_s_options(entry, tmp_path):
    outcome = entry.call(*example_words(entry), "--print-config", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert yaml.safe_load(outcome.out) == yaml.safe_load(dump(example_options(entry)))


def test_unknown_option_is_refused(entry, tmp_path):
    outcome = entry.call(*example_words(entry), "--no-such-option", "1", cwd=tmp_path)
    assert_refused(outcome, "--no-such-option")


def test_unknown_key_in_a_file_is_refused(entry, tmp_path):
    (tmp_path / "typo.yaml").write_text("no_such_key: 1\n", encoding="utf-8")
    outcome = entry.call(*example_words(entry), "--config", "typo.yaml", cwd=tmp_path)
    assert_refused(outcome, "typo.yaml", "no_such_key")


def test_missing_config_file_is_refused(entry, tmp_path):
    outcome = entry.call(*example_words(entry), "--config", "absent.yaml", cwd=tmp_path)
    assert_refused(outcome, "absent.yaml")


def test_value_of_a_wrong_type_is_refused(entry, tmp_path):
    def numeric(kind):
        return kind in (int, float) or any(map(numeric, get_args(kind)))

    name = next(
        (n for n, k in names(entry.module.Options).items() if numeric(k) and str not in get_args(k)), None
    )
    if name is None:
        return  # a verb without numbers has nothing to confuse
    flag = f"--{name.replace('_', '-')}"
    assert_refused(entry.call(*example_words(entry), flag, "many", cwd=tmp_path), flag, "many")
    nested = "many"
    for part in reversed(name.split(".")):
        nested = {part: nested}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(nested), encoding="utf-8")
    outcome = entry.call(*example_words(entry), "--config", "wrong.yaml", cwd=tmp_path)
    assert_refused(outcome, "wrong.yaml", name.rpartition(".")[2], "many")


def test_missing_files_are_refused_and_nothing_is_left_behind(entry, tmp_path):
    """The example, run where none of its files exist."""
    words = example_words(entry)
    inputs = [
        word
        for flag, word in pairwise(words)
        if flag.startswith("--") and flag not in ("--out", "--preset") and not word.startswith("--")
        if not re.fullmatch(r"[\d.e-]+", word)
    ]
    if not inputs:
        return  # `demo` needs no file, nor does a verb that takes numbers alone
    outcome = entry.call(*words, cwd=tmp_path)
    assert_refused(outcome)
    assert any(Path(word).name in outcome.err for word in inputs), outcome.err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------- presets


def presets(package):
    return sorted((package.source / "presets").rglob("*.yaml"))


def test_every_preset_belongs_to_a_verb(package):
    folders = {name.replace(" ", "-") for name in package.cli.VERBS}
    for path in presets(package):
        assert path.parent.name in folders
        assert path.parents[1] == package.source / "presets"


def test_every_preset_loads(entry):
    for path in sorted(entry.presets.glob("*.yaml")):
        assert example_options(entry, preset=path.stem) is not None


def test_every_preset_says_what_it_is(package):
    for path in presets(package):
        lines = path.read_text(encoding="utf-8").splitlines()
        header = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        assert lines[0].startswith("# "), f"{path}: the first line is what help lists beside the name"
        verb = next(name for name in package.cli.VERBS if name.replace(" ", "-") == path.parent.name)
        assert f"{package.prog} {verb} --preset {path.stem}" in header, (
            f"{path}: the header lacks the command"
        )


# ------------------------------------------------------------------------------------------------------- demo


@pytest.mark.slow
def test_demo_works_alone_and_with_twice_says_the_same_again(package, tmp_path, pytestconfig):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    told = []
    for folder in ("one", "two") if pytestconfig.getoption("twice") else ("one",):
        outcome = package.run("demo", "--out", folder, cwd=tmp_path, timeout=600, PYTHONPATH=str(tmp_path))
        assert outcome.code == 0, outcome.err
        assert outcome.cpu_seconds < DEMO_SECONDS
        told.append(json.loads((tmp_path / folder / "demo.json").read_text(encoding="utf-8")))
        page = (tmp_path / folder / "report.html").read_text(encoding="utf-8")
        assert "<svg" in page
        assert not re.search(r"(src|href)=[\"']?https?:", page), "the page needs a network"
    first = told[0]
    assert set(first) >= DEMO_KEYS
    assert first["package"] == package.name
    assert first["better"] in ("lower", "higher")
    gain = first["after"] - first["before"]
    assert (gain > 0) == (first["better"] == "higher"), "the demo did not get better"
    assert {(each["before"], each["after"]) for each in told} == {(first["before"], first["after"])}
