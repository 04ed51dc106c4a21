"""What `info` says of a run."""

import json
from dataclasses import dataclass

from nonet.runs import Run
from nonet.training.folder_holdings import run_parts


@dataclass(frozen=True)
class Options:
    """None."""


def holdings(folder):
    return dict(run_parts(folder))


def test_how_a_run_ended_is_told(tmp_path):
    with Run.create("nonet", "pretrain", Options(), folder=tmp_path / "done") as run:
        assert holdings(run.folder)["run"]["exit code"] == "none: it was killed, or still runs"
    assert holdings(run.folder)["run"]["exit code"] == 0
    assert json.loads((run.folder / "run.json").read_text())["sessions"][0]["exit"] == 0


def test_last_numbers_stand_in_the_order_they_were_written_and_small_ones_are_not_lost(tmp_path):
    with Run.create("nonet", "pretrain", Options(), folder=tmp_path / "run") as run:
        run.log(1, lr=0.5, recall=12.34567)
        run.log(2, lr=2.5397e-06, **{"val/R@1": 0.0, "val/R@5": -0.04321, "val/R@10": float("nan")})
    found = holdings(run.folder)["last numbers"]
    assert list(found) == ["step", "seconds", "lr", "recall", "val/R@1", "val/R@5", "val/R@10"]
    assert (found["step"], found["lr"], found["recall"]) == (2, 2.54e-06, 12.3457)
    assert (found["val/R@1"], found["val/R@5"], str(found["val/R@10"])) == (0, -0.0432, "nan")
