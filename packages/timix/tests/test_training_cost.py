"""No score without its cost: what a training took is counted, kept with the model, told with its scores."""

import json
import sys
from pathlib import Path

import pytest

from nonet.errors import UserError
from nonet.testing import call_cli, one_thread, plain_pages
from nonet.vision_language.training_stages import TRAINING, learnt, read_stages, told

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from square_pairs import config, write_squares

HALVES = {"batch": 7, "mix": {"every": 2, "ramp": 0.0}, "losses": {"itm": 0.0, "mlm": 0.0, "prefix": 0.0}}


@pytest.fixture(autouse=True, scope="module")
def _no_curves():
    with plain_pages():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps of 6 (of 7 at most), two with mixed images, that never taught the matching head."""
    folder = tmp_path_factory.mktemp("cost")
    files = write_squares(folder)
    with one_thread():
        found = call_cli(
            "timix", "pretrain", "--config", config(folder, **HALVES), "--pairs", files["pairs"],
            "--regions", files["regions"], "--out", folder / "run",
        )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return folder / "run"


def test_steps_with_and_without_mixed_images_count_by_their_shares(run):
    cost = json.loads((run / "cost.json").read_text())
    kinds = cost["kinds"]
    assert {kind: each["share"] for kind, each in kinds.items()} == {
        "pairs and regions, mixed": 0.5, "pairs and regions": 0.5,
    }  # fmt: skip
    plain, mixed = (
        kinds[kind]["gmac_per_pair"] for kind in ("pairs and regions", "pairs and regions, mixed")
    )
    assert cost["gmac_per_pair"] == pytest.approx((plain + mixed) / 2)
    # A mixed image goes forward and backward through all blocks once more: 2 blocks of width 32 with 37
    # tokens (12 d^2 a token, 2 n d for attention), as 3 passes, and the projection to 16.
    blocks = 2 * 37 * (12 * 32 * 32 + 2 * 37 * 32)
    assert (mixed - plain) * 1e9 == pytest.approx(3 * blocks, rel=0.1)


def test_a_model_keeps_its_stages_and_the_fine_tuned_one_adds_to_them(run, tmp_path):
    (stage,) = read_stages(run / "model")
    assert stage["losses"] == ["itc", "mix", "pta"]
    assert (stage["verb"], stage["steps"], stage["examples"]) == ("pretrain", 4, 24)
    assert not learnt([stage], "itm")
    pairs = run.parent / "pairs.jsonl"
    done = call_cli(
        "timix", "finetune", "retrieval", "--model", run, "--train", pairs, "--image", 48, "--epochs", 0,
        "--trainer.steps", 2, "--batch", 10, "--queue", 0, "--lr", 1e-3, "--out", tmp_path / "tuned",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = read_stages(tmp_path / "tuned/model")
    assert first == stage
    assert (second["verb"], second["steps"], second["examples"]) == ("finetune retrieval", 2, 16)
    assert learnt([first, second], "itm")
    info = call_cli("timix", "info", "--path", tmp_path / "tuned")
    assert "pretrain: 4 steps, 24 examples seen" in info.stdout
    assert "finetune retrieval: 2 steps, 16 examples seen" in info.stdout


def test_scores_come_with_their_cost_and_an_untrained_head_is_not_asked(run, tmp_path):
    words = ("--model", run, "--data", run.parent / "pairs.jsonl")
    found = call_cli("timix", "evaluate", "retrieval", *words, "--out", tmp_path / "scores")
    assert found.returncode == 0, found.stderr
    assert "pretrain: 4 steps, 24 examples seen, " in found.stderr
    assert "its matching head was not trained: cosines alone are compared (rerank 0)" in found.stderr
    kept = json.loads((tmp_path / "scores/scores.json").read_text())
    assert kept["training"] == read_stages(run / "model")
    assert kept["settings"]["rerank"] == 0
    assert kept["settings"]["max_length"] == 20  # as it was trained, not as one that is fine-tuned
    asked = call_cli("timix", "evaluate", "retrieval", *words, "--rerank", 4)
    assert "warning" in asked.stderr
    assert "ties TR: 0.00" not in asked.stdout


def test_a_stage_is_told_in_a_line():
    stage = {"verb": "pretrain", "steps": 1500, "examples": 96000, "device_hours": 0.02, "losses": ["itc"]}
    assert told(stage) == "pretrain: 1,500 steps, 96,000 examples seen, 72 s of a device"
    more = stage | {"device_hours": 2.5, "gmac_per_example": 0.0438}
    assert told(more).endswith("2.5 device hours, 0.0438 GMAC each")


def test_of_a_model_of_others_nothing_is_claimed(tmp_path):
    stages = read_stages(tmp_path, "ALBEF.pth")
    assert told(stages[0]) == "ALBEF.pth: what its training took is not known"
    assert learnt(stages, "itm")
    (tmp_path / TRAINING).write_text("{")
    with pytest.raises(UserError, match=r"training\.json: not JSON"):
        read_stages(tmp_path)
    (tmp_path / TRAINING).write_text('["pretrain"]')
    with pytest.raises(UserError, match="not a list of stages"):
        read_stages(tmp_path)
