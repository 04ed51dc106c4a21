"""The verb `bench`: what a share of patches costs, and how much of boxes it keeps."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.testing import call_cli, replaced
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.region_data import region_texts
from nonet.vision_language.region_files import read_regions
from pta_vlp import speed_curve as curve
from pta_vlp.boxes_kept import BEST, recall_of_boxes
from pta_vlp.cost import full_macs, tower_of
from pta_vlp.model_folders import load_model, save_model
from pta_vlp.patch_selection import recall_at_keep
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.scenes import SIDE, make_scenes, write_scenes

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
import square_tasks

KEEPS = (0.05, 0.25, 1.0)  # 3, 16 and 64 of 64 patches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bench")
    config = dataclasses.replace(square_tasks.SMALL, image=SIDE)
    save_model(
        square_tasks.model(config), square_tasks.detector(config), square_tasks.tokenizer(), made / "model",
        "tiny", options=square_tasks.SELECT,
    )  # fmt: skip
    write_scenes(made / "scenes", 5)
    return made


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder / "model")


def options_of(loaded, selection):
    return dataclasses.replace(loaded.options, selection=selection)


def test_a_detector_that_knows_the_boxes_keeps_all_that_can_be_kept(folder, loaded, monkeypatch):
    """Scores that are the labels reach the bound; their opposite keeps none."""
    table = read_regions([folder / "scenes" / "regions.jsonl"])
    boxes = torch.from_numpy(make_scenes(5, 0).boxes).flatten(0, 1)
    inside = torch.zeros(15, 8, 8)
    for row, (x, y, wide, high) in enumerate((boxes / 8).int().tolist()):
        inside[row, y : y + high, x : x + wide] = 1
    for sign, found in ((1, 1.0), (-1, 0.0)):
        monkeypatch.setattr(
            "pta_vlp.pruned_vision.PrunedVision.scores", lambda *_, sign=sign: sign * inside.flatten(1)
        )
        told = recall_of_boxes(loaded, table, [options_of(loaded, "attention")], KEEPS)
        assert told["attention"]["recall@0.25"] == found  # a shape has 4 patches
        assert told["attention"]["recall@0.05"] == pytest.approx(found * 3 / 4)
        assert told["attention"]["recall@1"] == 1.0
        assert told[BEST] == {"recall@0.05": 0.75, "recall@0.25": 1.0, "recall@1": 1.0}


def test_recall_is_that_of_the_tower_s_own_kept_patches(folder, loaded):
    table = read_regions([folder / "scenes" / "regions.jsonl"])
    told = recall_of_boxes(loaded, table, [options_of(loaded, "text")], (0.25,), batch=2)
    assert {"recall@0.25", "accuracy", "ap", "f1"} <= told["text"].keys()
    config = loaded.model.config
    tower = PrunedVision(loaded.model.vision, loaded.detector, dataclasses.replace(loaded.options, keep=0.25))
    shares = []
    for index in range(5):
        pixels = torch.from_numpy(np.asarray(table.open(index), np.float32)).permute(2, 0, 1) / 255
        pixels = (pixels - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.deviation)[
            :, None, None
        ]
        regions = table.regions(index)
        ids, mask, _ = region_texts(loaded.tokenizer, [each.texts[0] for each in regions], 40)
        labels = rasterise(np.array([each.boxes[0] for each in regions]), SIDE, 8)
        with torch.inference_mode():
            text = loaded.model.encode_text(ids, mask)[:, 0]
            kept = tower(pixels[None], text, torch.zeros(3, dtype=torch.int64)).kept
        shares.append(recall_at_keep(kept, labels))
    assert told["text"]["recall@0.25"] == pytest.approx(float(torch.cat(shares).mean()))


def test_points_say_what_is_counted_and_timed(loaded, monkeypatch):
    """With a clock that says how many tokens went through the second half, ratios are those of tokens."""
    asked = []

    def seconds(model, tower, pixels, text, q, device):
        asked.append((tower.options.keep, q, len(pixels), len(text)))
        return float(q if tower.plain else 2 * q + tower.kept())

    monkeypatch.setattr(curve, "_seconds", seconds)
    points = curve.speed_curve(loaded, loaded.options, (0.25, 0.5, 1.0), (1, 3), images=2, rounds=3)
    assert [(point.keep, point.texts) for point in points] == [
        (0.25, 1), (0.5, 1), (1.0, 1), (0.25, 3), (0.5, 3), (1.0, 3),
    ]  # fmt: skip
    assert [point.tokens for point in points[:3]] == [18, 34, 65]
    assert len(asked) == 4 * 6
    assert {each[2:] for each in asked} == {(2, 2), (2, 6)}
    first, full = points[3], points[5]
    assert first.milliseconds == pytest.approx(1000 * (6 + 16) / 6)
    assert first.faster == first.low == first.high == pytest.approx(3 / 22)
    assert (full.faster, full.gmac) == (1.0, pytest.approx(full_macs(tower_of(loaded.model.vision)) / 3e9))


def test_a_pass_is_timed_and_takes_every_pair_to_the_fusion(loaded):
    seen = []
    hook = loaded.model.fusion.register_forward_hook(lambda _, given, out: seen.append(out[1].shape))
    points = curve.speed_curve(loaded, loaded.options, (0.5,), (3,), images=2, rounds=1)
    hook.remove()
    assert points[0].milliseconds > 0
    assert {tuple(shape) for shape in seen} == {(6, 12, 32)}


def test_the_command_prints_tables_and_writes_numbers(folder):
    done = call_cli(
        "pta-vlp", "bench", "--model", folder / "model", "--keep", "0.25", "1", "--texts", "1", "2",
        "--rounds", "1", "--images", "2", "--regions", folder / "scenes" / "regions.jsonl", "--device", "cpu",
        "--out", folder / "bench.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "bench.json").read_text())
    assert [(point["keep"], point["texts"]) for point in told["speed"]] == [
        (0.25, 1),
        (1, 1),
        (0.25, 2),
        (1, 2),
    ]
    assert set(told["boxes"]) == {"text", "attention", "random", BEST}
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "selection text behind block 0, images of 64 x 64 pixels, 2 at a time, on the CPU"
    )
    assert lines[1].split()[0] == "keep"
    best = next(line for line in lines if line.split()[:1] == [BEST])
    assert best.split()[1:] == ["100.0", "100.0"]
    assert "5 images, 15 regions" in done.stderr


def test_a_detector_that_never_learned_is_timed_where_it_is_asked_for(folder, loaded, tmp_path):
    options = options_of(loaded, "attention")
    save_model(loaded.model, None, loaded.tokenizer, tmp_path / "plain", "tiny", options=options)
    words = ["--model", tmp_path / "plain", "--keep", "0.5", "--texts", "1", "--rounds", "1", "--images", "1"]
    words += ["--device", "cpu", "--selection", "text"]
    assert call_cli("pta-vlp", "bench", *words).returncode == 2
    done = call_cli("pta-vlp", "bench", *words, "--untrained-detector")
    assert done.returncode == 0, done.stderr
    assert "no patch detector in it; one with random weights is timed" in done.stderr
    assert done.stdout.startswith("selection text behind block 0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--selection", "off"], "selection off keeps all patches"),
        (["--keep", "0.5", "1.2"], "keep is 1.2; it is above 0 and at most 1"),
        (["--keep", "0.5", "0.5"], "name each once"),
        (["--texts", "0"], "texts is 0; it is at least 1"),
        (["--rounds", "0"], "rounds is 0; it is at least 1"),
        (["--size", "50"], "do not divide into patches of 8"),
        (["--regions", "none.jsonl"], "none.jsonl"),
        (["--device", "nonsense"], "nonsense"),
        (["--out", "."], "is a folder"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folder, tmp_path, changes, message):
    words = ["bench", "--model", folder / "model", "--device", "cpu", "--out", "new.json"]
    done = call_cli("pta-vlp", *replaced(words, *changes), cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
