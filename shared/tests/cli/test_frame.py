import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nonet.cli import Verb, main
from nonet.testing import run_cli

PROGRAM = """
import sys
from nonet.cli import Verb, main

VERBS = {
    "learn": Verb("learn from images", "toyprog.learn", "toyprog learn --images photos --preset tiny"),
    "gsg build": Verb("mask sentences", "toyprog.learn", "toyprog gsg build --images photos"),
    "gsg show": Verb("show masked sentences", "toyprog.learn", "toyprog gsg show --images photos"),
}

if __name__ == "__main__":
    sys.exit(main("toyprog", "Learns nothing.", "1.2.3", VERBS, "toyprog"))
"""
LEARN = '''
import time, sys
from dataclasses import dataclass
from pathlib import Path
from nonet.errors import RunFailed, UserError

@dataclass(frozen=True)
class Options:
    """Learn, or fail in a chosen way.

    A second paragraph.
    """

    images: Path
    """folder of photographs"""
    steps: int = 5
    """optimiser steps"""
    fail: str = ""
    """how to fail"""
    out: Path | None = None
    """file or folder to write"""

def run(options):
    if options.fail == "user":
        raise UserError("photos:\\n  empty; name another folder")
    if options.fail == "run":
        raise RunFailed("the loss is not finite at step 3")
    if options.fail == "file":
        open("photos/none.jpg")
    if options.fail == "disk":
        raise OSError(28, "No space left on device")
    if options.fail == "device":
        raise OSError(5, "Input/output error", "photos/1.jpg")
    if options.fail == "bug":
        return 1 / 0
    if options.fail == "interrupt in a run":
        raise KeyboardInterrupt("go on with --resume runs/a")
    if options.fail == "interrupt":
        raise KeyboardInterrupt
    if options.fail == "code":
        return 7
    if options.fail == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    if options.fail == "pipe":
        raise BrokenPipeError("a worker's pipe")
    if options.fail == "long":
        for number in range(1_000_000):
            print("line", number)
    print("learned", options.steps)
'''


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The folder with a small package `toyprog`, importable here and in child processes."""
    package = tmp_path / "toyprog"
    folder = package / "presets" / "gsg-build"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text("# one GPU, a day\nsteps: 500\n")
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(PROGRAM)
    (package / "learn.py").write_text(LEARN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "toyprog"]:
        del sys.modules[name]


def toyprog(*words: str) -> int:
    import toyprog.__main__ as program

    return main("toyprog", "Learns nothing.", "1.2.3", program.VERBS, "toyprog", list(words))


def test_help_of_the_program_begins_with_an_example_and_lists_verbs_and_presets(program, capsys):
    assert toyprog("--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("example: toyprog learn --images photos --preset tiny\n")
    assert "\nLearns nothing.\n" in shown
    assert "\n  gsg build  mask sentences\n" in shown
    assert shown.count("gsg build") == 2
    assert "\n  gsg build  paper\n" in shown


def test_without_a_verb_the_help_goes_to_stderr_and_the_code_is_2(program, capsys):
    assert toyprog() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "verbs:" in shown.err


def test_the_first_word_of_two_lists_its_verbs(program, capsys):
    assert toyprog("gsg", "--help") == 0
    shown = capsys.readouterr().out
    assert "  gsg build  mask" in shown
    assert "  learn " not in shown
    assert toyprog("gsg") == 2


def test_version(program, capsys):
    assert toyprog("--version") == 0
    assert capsys.readouterr().out == "toyprog 1.2.3\n"


@pytest.mark.parametrize("verb", [["learn"], ["gsg", "build"]])
def test_help_of_a_verb_begins_with_its_example(program, capsys, verb):
    assert toyprog(*verb, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"example: toyprog {' '.join(verb)} --images photos")
    assert "Learn, or fail in a chosen way.\n\nA second paragraph.\n" in shown
    assert "--steps INT" in shown
    assert ("  paper  one GPU, a day\n" in shown) == (verb == ["gsg", "build"])
    assert "--print-config" in shown


def test_help_shows_the_values_of_a_preset(program, capsys):
    assert toyprog("gsg", "build", "--help", "--preset", "paper") == 0
    assert "(default: 500)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("lern", "toyprog: no verb 'lern'; did you mean 'learn'? (see 'toyprog --help')"),
        ("gsg biuld", "toyprog: no verb 'gsg biuld'; did you mean 'gsg build'? (see 'toyprog --help')"),
        ("ggs build", "toyprog: no verb 'ggs'; did you mean 'gsg build'? (see 'toyprog --help')"),
        ("qqq", "toyprog: no verb 'qqq'; there are learn, gsg build, gsg show (see 'toyprog --help')"),
        (
            "--images x",
            "toyprog: no option --images before the verb; write 'toyprog VERB --images ...' "
            "(see 'toyprog --help')",
        ),
        (
            "gsg build --preset papr",
            "toyprog gsg build: no preset 'papr'; did you mean 'paper'?",
        ),
        ("learn --images x --fail user", "toyprog learn: photos: empty; name another folder"),
        ("learn --images x --preset a", "toyprog learn: no preset 'a': this verb has none"),
    ],
)
def test_a_users_mistake_is_one_line_and_code_2(program, capsys, words, error):
    assert toyprog(*words.split()) == 2
    assert capsys.readouterr() == ("", error + "\n")


def test_codes_of_a_run(program, capsys):
    assert toyprog("learn", "--images", "x") == 0
    assert capsys.readouterr().out == "learned 5\n"
    assert toyprog("learn", "--images", "x", "--fail", "code") == 7
    assert toyprog("learn", "--images", "x", "--fail", "run") == 1
    assert capsys.readouterr().err == "toyprog learn: the loss is not finite at step 3\n"
    assert toyprog("learn", "--images", "x", "--fail", "interrupt") == 130
    assert capsys.readouterr().err == "toyprog learn: interrupted\n"
    assert toyprog("learn", "--images", "x", "--fail", "interrupt in a run") == 130
    assert capsys.readouterr().err == "toyprog learn: interrupted; go on with --resume runs/a\n"
    with pytest.raises(ZeroDivisionError):
        toyprog("learn", "--images", "x", "--fail", "bug")
    with pytest.raises(BrokenPipeError, match="a worker's pipe"):  # not the pipe that we print to
        toyprog("learn", "--images", "x", "--fail", "pipe")


def test_a_file_that_cannot_be_read_or_written_is_one_line_and_code_2(program, capsys):
    assert toyprog("learn", "--images", "x", "--fail", "file") == 2
    assert capsys.readouterr().err == "toyprog learn: photos/none.jpg: No such file or directory\n"
    assert toyprog("learn", "--images", "x", "--fail", "disk") == 2
    assert capsys.readouterr().err == "toyprog learn: No space left on device\n"
    with pytest.raises(OSError, match="Input/output error"):  # not what a user mistook
        toyprog("learn", "--images", "x", "--fail", "device")


def test_a_place_where_nothing_can_be_written_is_refused_before_the_work(
    program, capsys, tmp_path, monkeypatch
):
    (tmp_path / "notes.txt").write_text("")
    for below in ("run", "a/b"):
        assert toyprog("learn", "--images", "x", "--out", str(tmp_path / "notes.txt" / below)) == 2
        assert f"{tmp_path / 'notes.txt'} is a file: name another place" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write anywhere
        assert toyprog("learn", "--images", "x", "--out", str(tmp_path / "a" / "b")) == 2
        assert f"nothing may be written in {tmp_path}: name another place" in capsys.readouterr().err
        patch.setenv("RANK", "1")  # which writes nothing
        assert toyprog("learn", "--images", "x", "--out", str(tmp_path / "a" / "b")) == 0
    for out in (tmp_path / "notes.txt", tmp_path, tmp_path / "new" / "run", Path("relative")):
        assert toyprog("learn", "--images", "x", "--out", str(out)) == 0


def test_print_config_writes_what_config_reads(program, capsys, tmp_path):
    words = ["--preset", "paper", "--images", "a b", "--fail", "'"]
    assert toyprog("gsg", "build", *words, "--print-config") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# toyprog gsg build --preset paper --images 'a b'")
    assert "\n# optimiser steps\nsteps: 500\n" in shown
    path = tmp_path / "again.yaml"
    path.write_text(shown)
    assert toyprog("gsg", "build", "--config", str(path), "--print-config") == 0
    assert capsys.readouterr().out.splitlines()[1:] == shown.splitlines()[1:]


def test_help_imports_nothing_heavy_and_no_verb(program):
    code = textwrap.dedent("""
        import json, sys
        from nonet.cli import Verb, main
        main("toyprog", "about", "1", {"learn": Verb("a", "toyprog.learn", "b")}, "toyprog", sys.argv[1:])
        print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
    """)

    def loaded(*words: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        return set(json.loads(done.stderr))

    heavy = {"torch", "numpy", "lightning", "transformers", "matplotlib", "rich"}
    bare = loaded("--help")
    ours = {"nonet", "__main__", "__mp_main__"}
    import_hooks = {name for name in bare if name.startswith(("_", "sitecustomize", "usercustomize"))}
    editable = {name for name in bare if "editable" in name or name.startswith("distutils")}
    assert bare - ours - import_hooks - editable <= sys.stdlib_module_names
    assert not loaded("learn", "--help") & heavy


def test_a_program_runs_in_a_process_of_its_own(program):
    done = run_cli("toyprog", "learn", "--images", "x", "--fail", "bug")
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert run_cli("toyprog", "learn", "--images", "x", "--steps", "7").stdout == "learned 7\n"


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
def test_ctrl_c_and_a_closed_pipe_end_quietly(program):
    words = [sys.executable, "-m", "toyprog", "learn", "--images", "x", "--fail"]
    with subprocess.Popen(
        [*words, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (130, "toyprog learn: interrupted\n")
    with subprocess.Popen(
        [*words, "long"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "line 0\n"
        child.stdout.close()
        said = child.stderr.read()
        child.wait(timeout=30)
    assert (child.returncode, said) == (141, "")


def test_the_presets_of_a_package_are_found_without_importing_it(program):
    (program / "toyprog" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    verbs = {"gsg build": Verb("a", "toyprog.learn", "b")}
    assert main("toyprog", "about", "1", verbs, "toyprog", ["--help"]) == 0
    assert not Path("toyprog").exists()
