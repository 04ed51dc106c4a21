"""The manuals' examples run as printed.

Every ```python and ```console block of every README.md is run, in order, in one empty folder for each file:
what one block makes, the next one finds. In a console block, lines that begin with `$ ` are commands (a
backslash goes on, a `> ` line too), and lines below a command are its output, `...` standing for anything.
A comment on the line before a block changes that: `<!-- slow -->`, or `<!-- not run: the reason -->`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
MANUALS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "shared" / "README.md"])
MANUALS += sorted((ROOT / "packages").glob("*/README.md"))
BLOCK = re.compile(
    r"(?ms)^(?:<!-- (?P<note>[^\n]*?) -->\n+)?```(?P<language>python|console)\n(?P<body>.*?)^```$"
)
SECONDS = 600  # for one command


class Block(NamedTuple):
    """A fenced block."""

    language: str
    body: str
    line: int
    note: str

    @property
    def runs(self):
        """Whether it is to be run here."""
        return not self.note.startswith("not run")


class Command(NamedTuple):
    """A command of a console block, with the output that is printed below it."""

    text: str
    output: list[str]


def blocks(text):
    """The fenced blocks of a manual."""
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(match["language"], match["body"], line, match["note"] or ""))
    return found


def commands(body):
    """The commands of a console block."""
    found: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif found and not found[-1].output and (found[-1].text.endswith("\\") or line.startswith("> ")):
            found[-1] = Command(f"{found[-1].text}\n{line.removeprefix('> ')}", [])
        elif found:
            found[-1].output.append(line)
        else:
            raise ValueError(f"a console block begins with output: {line!r}")
    return found


def missing_lines(expected, output):
    """The expected lines that do not appear, in order, in the output."""
    shown, missing = iter(output.splitlines()), []
    for line in filter(None, map(str.strip, expected)):
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        if line != "..." and not any(pattern.fullmatch(candidate.strip()) for candidate in shown):
            missing.append(line)
    return missing


def run_block(block, where, cwd):
    """Run one block, and compare its output where the manual prints some."""
    folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    if block.language == "python":
        steps = [([sys.executable, "-c", block.body], [])]
    else:
        steps = [(["bash", "-euo", "pipefail", "-c", c.text], c.output) for c in commands(block.body)]
    for command, expected in steps:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{where}:{block.line}: {command[-1]}\n{done.stdout[-3000:]}"
        missing = missing_lines(expected, done.stdout)
        assert not missing, (
            f"{where}:{block.line}: {command[-1]}\nshows no {missing}, but\n{done.stdout[-3000:]}"
        )


def running(path):
    """The blocks of a manual that are run."""
    return [block for block in blocks(path.read_text(encoding="utf-8")) if block.runs]


def manual(path):
    """A test's parameter for one manual, marked slow where a block is."""
    marks = [pytest.mark.slow] if any(block.note == "slow" for block in running(path)) else []
    return pytest.param(path, id=str(path.relative_to(ROOT)), marks=marks)


@pytest.mark.parametrize("path", [manual(path) for path in MANUALS if path.exists()])
def test_examples_run_as_printed(path, tmp_path):
    for block in running(path):
        run_block(block, path.relative_to(ROOT), tmp_path)


@pytest.mark.parametrize("path", MANUALS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_are_marked_in_a_known_way(path):
    for block in blocks(path.read_text(encoding="utf-8")):
        assert re.fullmatch(r"|slow|not run: \S.{8,}", block.note), f"{path}:{block.line}: {block.note}"


def test_a_package_s_manual_has_examples_that_run(package):
    assert {block.language for block in running(package.folder / "README.md")} == {"python", "console"}


# -------------------------------------------------------------------------------------- the checks themselves


def test_blocks_are_found_with_their_notes():
    text = "# T\n```python\nx = 1\n```\n\n<!-- slow -->\n```console\n$ true\n```\n\n```text\nno\n```\n"
    assert blocks(text) == [Block("python", "x = 1\n", 2, ""), Block("console", "$ true\n", 7, "slow")]


def test_commands_have_continuations_and_output():
    body = "$ echo a \\\n    b\na b\n$ cat <<X\n> one\n> X\none\n"
    assert commands(body) == [Command("echo a \\\n    b", ["a b"]), Command("cat <<X\none\nX", ["one"])]


def test_output_is_compared_line_by_line():
    assert missing_lines(["a ... c", "...", "d"], "x\n a b c\ny\nd\n") == []
    assert missing_lines(["d", "a"], "a\nd\n") == ["a"]
    assert missing_lines(["a.c"], "abc\n") == ["a.c"]


def test_a_failing_block_is_seen(tmp_path):
    with pytest.raises(AssertionError, match=r"manual:3: false"):
        run_block(Block("console", "$ false\n", 3, ""), "manual", tmp_path)
    with pytest.raises(AssertionError, match="shows no"):
        run_block(Block("console", "$ echo 2\n3\n", 3, ""), "manual", tmp_path)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_block(Block("python", "1 / 0\n", 3, ""), "manual", tmp_path)
