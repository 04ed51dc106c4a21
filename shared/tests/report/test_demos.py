"""nonet.report.demos: runs demos, tells what they told, and says what failed."""

import json
import sys

import pytest

from nonet.errors import UserError
from nonet.report import demos

TOLD = {
    "package": "toy",
    "what": "learned <x>",
    "measure": "loss in nats",
    "before": 2.5,
    "after": 0.5,
    "better": "lower",
    "seconds": 3,
    "pictures": ["curve.svg"],
}


def command(folder, name, body, monkeypatch):
    """Put a command on PATH that runs `body` with `out`, the folder that `demo --out` names."""
    script = folder / name
    script.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\nassert sys.argv[1:3] == ['demo', '--out']\n"
        f"out = pathlib.Path(sys.argv[3])\n{body}\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def telling(told=TOLD):
    """The body of a demo that tells what it should."""
    write = f"(out / 'demo.json').write_text({json.dumps(told)!r})\n(out / 'report.html').write_text('x')"
    return f"out.mkdir()\n{write}\nprint('said')"


def test_two_demos_make_one_page_and_one_table(tmp_path, monkeypatch, capsys):
    command(tmp_path, "toy", telling(), monkeypatch)
    command(tmp_path, "other", telling(TOLD | {"package": "other", "after": 0.25}), monkeypatch)
    assert demos.main(["--out", str(tmp_path / "out"), "toy", "other"]) == 0
    shown = capsys.readouterr().out
    assert "2.5" in shown
    assert "0.25" in shown
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert 'href="toy/report.html"' in page
    assert 'src="other/curve.svg"' in page
    assert "learned &lt;x&gt;" in page
    assert (tmp_path / "out" / "toy.log").read_text() == "said\n"


def test_a_failing_demo_is_told_and_the_others_still_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    command(tmp_path, "broken", "sys.exit(3)", monkeypatch)
    command(tmp_path, "toy", telling(), monkeypatch)
    assert demos.main(["--out", str(tmp_path / "out"), "broken", "toy"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "exit code 3" in shown
    assert "0.5" in shown
    assert "exit code 3" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_demo_runs_again_into_its_folder(tmp_path, monkeypatch):
    command(tmp_path, "toy", telling(), monkeypatch)
    for _ in range(2):
        assert demos.run("toy", tmp_path / "out" / "toy").after == 0.5


def test_a_folder_with_something_else_is_left_alone(tmp_path, monkeypatch):
    command(tmp_path, "toy", telling(), monkeypatch)
    mine = tmp_path / "out" / "toy" / "thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("all of it")
    with pytest.raises(UserError, match="not the folder of an earlier demo"):
        demos.run("toy", mine.parent)
    assert mine.read_text() == "all of it"


def test_an_absent_command_is_refused(tmp_path, capsys):
    assert demos.main(["--out", str(tmp_path), "no-such-package"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no command 'no-such-package'" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"after": "less"}, "'after' should be a float, not 'less'"),
        ({"before": None}, "'before' should be a float, not None"),
        ({"better": "more"}, "'better' should be 'lower' or 'higher', not 'more'"),
    ],
)
def test_what_a_demo_tells_is_checked(change, message, tmp_path):
    (tmp_path / "demo.json").write_text(json.dumps(TOLD | change))
    (tmp_path / "report.html").touch()
    with pytest.raises(UserError, match=message):
        demos.read(tmp_path, "toy")


def test_a_demo_without_its_page_is_a_failure(tmp_path, monkeypatch):
    command(tmp_path, "toy", "out.mkdir()", monkeypatch)
    assert "left no demo.json and report.html" in demos.run("toy", tmp_path / "out" / "toy").failure
