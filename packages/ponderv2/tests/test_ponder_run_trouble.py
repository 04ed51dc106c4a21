"""Runs that cannot begin, and what the world around them does: too many processes, a full disk, read-only data."""

import sys
from pathlib import Path

import pytest

from nonet.report import Page
from nonet.testing import call_cli, one_thread, replaced
from ponderv2 import pretrain_data, run_pictures

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from made_up_streets import write_nuscenes
from small_runs import WORDS, opener, rooms


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(autouse=True, scope="module")
def _plain_pages():
    """Curves take longer to draw than such a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_pictures, "run_page", lambda folder: Page("a run"))
        yield


def pretrain(folder, *more, data="synthetic:2"):
    """A run of four steps, with some options otherwise."""
    return call_cli(
        "ponderv2", *replaced(["pretrain", "--data", data, *WORDS, "--val-scenes", "0"], *more),
        "--out", folder,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- processes


def refused(done, folder, text):
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1]
    assert not folder.exists()


def test_batches_smaller_than_the_number_of_processes_leave_no_run(tmp_path, monkeypatch):
    """One scene of s3dis beside two of scannet: it is known before the first step that two cannot share it."""
    both = rooms("scannet", "s3dis")
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(both.of(list(both)[:3])))
    done = pretrain(tmp_path / "run", "--trainer.devices", "2")
    refused(done, tmp_path / "run", "data set 2 of 2, 1 scenes, has batches of 1 for 2 processes")


def test_so_do_those_of_a_fine_tuning_and_those_of_streets(tmp_path):
    two = ("--trainer.devices", "2", "--trainer.accelerator", "cpu", "--out", tmp_path / "run")
    done = call_cli("ponderv2", "finetune", "semseg", "--data", "synthetic:1", "--size", "tiny", *two)
    refused(done, tmp_path / "run", "data set 1 of 1, 1 scenes, has batches of 1 for 2 processes")
    write_nuscenes(tmp_path / "streets")
    words = ("--data", f"nuscenes:{tmp_path / 'streets'}", "--modality", "lidar", "--size", "tiny")
    done = call_cli("ponderv2", "pretrain", *words, "--batch", "1", "--trainer.validate-every", "0", *two)
    refused(done, tmp_path / "run", "there are batches of 1 for 2 processes: use fewer devices, raise batch")
