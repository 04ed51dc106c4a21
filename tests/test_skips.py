"""CI fails a whole run that skips more tests than it may, those that need a GPU aside."""

import os
import shutil
import subprocess
import sys

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("number", range({skipped}))
def test_skipped(number):
    pytest.skip("needs the moon")

@pytest.mark.gpu
@pytest.mark.parametrize("number", range(5))
def test_needs_a_gpu(number):
    pytest.skip("needs a CUDA device")

def test_passes():
    pass
"""


def run(folder, root, skipped, *words, allowed=2, **environment):
    """Run one passing and some skipped tests below the root's conftest.py."""
    shutil.copy(root / "conftest.py", folder)
    (folder / "test_few.py").write_text(TESTS.format(skipped=skipped), encoding="utf-8")
    (folder / "pytest.ini").write_text(
        f"[pytest]\naddopts = -rs\ntestpaths = .\nskips_allowed = {allowed}\nmarkers = gpu\n"
    )
    kept = {
        name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True)


def test_a_skip_too_many_fails_in_ci_and_says_why(root, tmp_path):
    done = run(tmp_path, root, 3, CI="true")
    assert done.returncode == 1
    assert "3 tests were skipped, and 2 may be" in done.stdout
    assert "needs the moon" in done.stdout
    assert "1 passed, 8 skipped" in done.stdout.splitlines()[-1]


def test_workers_side_by_side_are_counted_together(root, tmp_path):
    done = run(tmp_path, root, 3, "-n", "2", CI="true")
    assert done.returncode == 1, done.stdout
    assert "3 tests were skipped, and 2 may be" in done.stdout


def test_as_many_as_allowed_pass(root, tmp_path):
    assert run(tmp_path, root, 2, CI="true").returncode == 0


@pytest.mark.parametrize(("words", "environment"), [([], {}), (["test_few.py"], {"CI": "true"})])
def test_a_desk_and_a_part_of_the_tests_may_skip_more(words, environment, root, tmp_path):
    assert run(tmp_path, root, 3, *words, **environment).returncode == 0
