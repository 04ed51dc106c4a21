import os
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from nonet import testing
from nonet.testing import (
    call_cli,
    data_folder,
    devices,
    needs,
    numbers,
    one_thread,
    replaced,
    run_cli,
    threads,
)
from nonet.testing_ranks import two_processes

torch = pytest.importorskip("torch")


@dataclass
class Parcel:
    number: int


def shared_sum(parcel: Parcel, factor: float) -> dict:
    import torch.distributed as distributed

    value = torch.tensor([float(distributed.get_rank() + parcel.number)]) * factor
    distributed.all_reduce(value)
    return {"rank": distributed.get_rank(), "sum": value, "parcel": Parcel(distributed.get_world_size())}


def fail_in_rank_1() -> None:
    import torch.distributed as distributed

    if distributed.get_rank() == 1:
        raise RuntimeError("only here")
    distributed.barrier()


def sleep() -> None:
    import time

    time.sleep(60)


def test_two_processes_are_joined_and_their_results_come_by_rank():
    first, second = two_processes(shared_sum, Parcel(10), 2.0)
    assert (first["rank"], second["rank"]) == (0, 1)
    assert first["sum"].item() == second["sum"].item() == 2.0 * (10 + 11)
    assert first["parcel"] == Parcel(2)


def test_the_numbers_of_a_run_are_those_that_no_clock_says(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "seconds": 0.5, "loss": 2.0, "steps_per_second": 3.0}\n{"step": 2, "seconds": 1.0}\n'
    )
    assert numbers(tmp_path) == [{"step": 1, "loss": 2.0}, {"step": 2}]


def test_a_failure_in_one_process_ends_both_and_is_shown():
    with pytest.raises(AssertionError, match=r"process 1 failed(.|\n)*RuntimeError: only here"):
        two_processes(fail_in_rank_1)


def test_processes_that_take_too_long_are_killed():
    with pytest.raises(AssertionError, match="took too long"):
        two_processes(sleep, timeout=0.1)


def test_real_data_is_found_or_the_test_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("NONET_DATA", str(tmp_path))
    (tmp_path / "mails").mkdir()
    assert data_folder("mails") == tmp_path / "mails"
    with pytest.raises(
        pytest.skip.Exception, match="needs real data: no absent in the folder that NONET_DATA"
    ):
        data_folder("absent")


@pytest.mark.parametrize(
    ("requirement", "there"),
    [
        ("pytest", True),
        ("pytest>=1", True),
        ("pytest>=1000", False),
        ("no-such-package", False),
        ("json", True),
        ("json>=1", False),
    ],
)
def test_a_requirement_is_a_distribution_with_versions_or_a_module(requirement, there):
    mark = needs(requirement).mark
    assert mark.name == "skipif"
    assert mark.args == (not there,)
    assert requirement in mark.kwargs["reason"]


@devices
def test_a_test_runs_on_each_device(device):
    assert torch.ones(3, device=device).sum().item() == 3


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with threads(2):
        assert torch.get_num_threads() == 2
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_a_module_is_run_with_words_input_folder_and_variables(tmp_path, monkeypatch):
    show = "sys.argv[1:], sys.stdin.read(), os.getcwd(), os.environ.get('A'), 'B' in os.environ"
    code = f"import os, sys; print({show})"
    (tmp_path / "toymodule.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("B", "2")
    done = run_cli("toymodule", "--n", 3, cwd=tmp_path, env={"A": "1", "B": None}, input="hello")
    assert done.stdout == f"['--n', '3'] hello {os.path.realpath(tmp_path)} 1 False\n"
    assert done.returncode == 0


def test_an_installed_program_is_run_by_its_name():
    done = run_cli("pytest", "--version")
    assert done.returncode == 0
    assert "pytest" in done.stdout + done.stderr


def test_an_installed_program_is_called_in_this_process(tmp_path, monkeypatch):
    """What a process of its own would do, and the state of this one is as before."""
    code = """
import os, sys


def main():
    print(sys.argv[1:], sys.stdin.read(), os.getcwd(), os.environ["A"], os.getpid())
    print("trouble", file=sys.stderr)
    return int(sys.argv[1])


def stops():
    raise SystemExit("why")


def breaks():
    return 1 // 0
"""
    (tmp_path / "calledprogram.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    programs = {name: f"calledprogram:{name}" for name in ("main", "stops", "breaks")}
    monkeypatch.setattr(
        testing,
        "entry_points",
        lambda group: [EntryPoint(name, value, group) for name, value in programs.items()],
    )
    before = (list(sys.argv), sys.stdin, sys.stdout, os.getcwd(), dict(os.environ))
    done = call_cli("main", 3, cwd=tmp_path, env={"A": "1"}, input="hello")
    assert done.stdout == f"['3'] hello {os.path.realpath(tmp_path)} 1 {os.getpid()}\n"
    assert (done.returncode, done.stderr) == (3, "trouble\n")
    assert call_cli("main", 0, env={"A": "1"}).returncode == 0
    assert call_cli("stops").returncode == 1
    with pytest.raises(ZeroDivisionError):
        call_cli("breaks")
    assert (list(sys.argv), sys.stdin, sys.stdout, os.getcwd(), dict(os.environ)) == before


def test_flags_are_replaced_with_all_of_their_values():
    words = ["train", "--data", "a", "b", "--steps", 3, "--lr=1", "--data.limit", 5]
    assert replaced(words, "--data", "c") == [
        "train", "--steps", "3", "--lr=1", "--data.limit", "5", "--data", "c",
    ]  # fmt: skip
    assert replaced(words, "--lr", 2, "--new") == [
        "train", "--data", "a", "b", "--steps", "3", "--data.limit", "5", "--lr", "2", "--new",
    ]  # fmt: skip
    assert replaced(words) == list(map(str, words))
