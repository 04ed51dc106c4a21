"""The way of a new user on real photographs: every command of it works, on what the one before it left."""

import importlib

import pytest

from nonet.testing import benchmarks_of, call_cli, data_folder

ROOT, NAMES = benchmarks_of("timix")


@pytest.fixture
def journey(monkeypatch):
    if not NAMES:
        pytest.skip("benchmarks are in the repository's checkout, which is not here")
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("NONET_PROGRESS", "0")
    return importlib.import_module("benchmarks.timix.journey")


@pytest.mark.slow
def test_photographs_of_coco_go_all_the_way(journey, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NONET_DATA", str(data_folder("coco-mini").parent))
    rows = {row["name"]: row for row in journey.main(tiny=True, work=tmp_path)}
    said = capsys.readouterr().out
    left = tmp_path / "coco"
    for name in ("mixed.png", "guided.png", "pretrain/report.html", "captions.jsonl", "onnx/image.onnx"):
        assert (left / name).stat().st_size > 0, name
    assert "finetune retrieval: 2 steps, 80 examples seen" in said
    trained = rows["COCO, pre-trained, images learnt from"]
    assert (trained["steps"], trained["pairs seen"]) == (2, 80)
    assert float(trained["GMAC a pair, pre-training"]) > 0
    assert rows["COCO, fine-tuned, 16 candidates matched"]["pairs seen"] == 160
    assert rows["COCO, before"]["pairs seen"] == 0


def test_chance_is_what_a_random_order_reaches(journey):
    """Of 2 images with 5 captions each; the first of 10 texts in random order is one of the 5 in half of the
    cases, and 5 are enough unless they are all of the other: 1 - 1 / 252."""
    row = journey.chance("two", 2)
    assert (row["TR@1"], row["IR@1"]) == ("50.00", "50.00")
    assert row["TR@5"] == f"{100 * (1 - 1 / 252):.2f}"


def test_without_data_there_is_one_line_and_no_row(journey, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NONET_DATA", str(tmp_path))
    assert journey.main(tiny=True, work=tmp_path / "work") == []
    assert "name their folder in NONET_DATA" in capsys.readouterr().out
    assert not (tmp_path / "work").exists()


def test_boxes_of_coco_without_their_prefix_are_told_from_ours(tmp_path):
    (tmp_path / "instances.json").write_text('{"images": [], "annotations": [], "categories": []}')
    done = call_cli(
        "timix", "prepare", "--regions", "instances.json", "--out", tmp_path / "data", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "instances.json:record 1: is one of COCO's: prepare reads it as coco:instances.json" in done.stderr
    assert not (tmp_path / "data").exists()
