"""The verb `heatmap`: which patches a text asks for, which are kept, and the picture."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.testing import call_cli, replaced
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.patch_pictures import LINE
from pta_vlp.heat_maps import GAP, HeatMap, draw_heat_map, heat_map
from pta_vlp.model_folders import load_model
from pta_vlp.pruned_vision import PrunedVision

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
import square_tasks

TEXTS = ["a red square", "the left square"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("heat")
    square_tasks.write(made, 2, 1)
    square_tasks.save(made / "model")
    square_tasks.save(made / "bare", with_detector=False)
    return made


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder / "model")


def pixels():
    return torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(0))


def words(folder, *more):
    return [
        "heatmap", folder / "0.png", "--model", folder / "model", "--text", *TEXTS, "--out",
        folder / "map.png", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("selection", ["text", "attention", "mixed"])
def test_the_patches_are_those_that_the_tower_keeps(loaded, selection):
    options = dataclasses.replace(loaded.options, selection=selection, alpha=0.3, keep=0.4)
    found = heat_map(loaded, pixels(), TEXTS, options)
    assert found.kept.shape == (2, 14)  # floor(0.4 * 36)
    ids, mask = TextBatch(loaded.tokenizer, loaded.model.config.max_length)(TEXTS)
    with torch.inference_mode():
        cls = loaded.model.encode_text(ids, mask)[:, 0]
        tower = PrunedVision(loaded.model.vision, loaded.detector, options)
        seen = tower(pixels()[None], cls, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(found.kept, seen.kept)
    for row in range(2):
        best = sorted(range(36), key=lambda patch: (-float(found.scores[row, patch]), patch))
        assert sorted(best[:14]) == found.kept[row].tolist()
        assert [int(found.rank(row)[patch]) for patch in best] == list(range(1, 37))
        assert found.mask(row).nonzero().flatten().tolist() == found.kept[row].tolist()
    assert torch.equal(found.scores[0], found.scores[1]) == (selection == "attention")


def test_probabilities_are_the_detector_s_and_attention_is_that_of_the_block(loaded):
    found = heat_map(loaded, pixels(), TEXTS[:1], loaded.options)
    vision = loaded.model.vision
    with torch.inference_mode():
        start = vision.embed(pixels()[None])
        behind = vision.blocks(start, 0, 1)
        text = loaded.model.encode_text(loaded.tokenizer(TEXTS[:1], return_tensors="pt")["input_ids"])[:, 0]
        direct = loaded.detector(behind[:, 1:], text).softmax(-1)[..., 1]
        torch.testing.assert_close(found.attention, vision.cls_attention(start, 0))
    torch.testing.assert_close(found.probability, direct)


def test_the_picture_has_the_kept_patches_light_and_the_others_faded():
    image = Image.new("RGB", (60, 40), (200, 120, 40))
    kept = torch.tensor([[0, 5]])
    found = HeatMap((2, 3), None, torch.rand(1, 6), torch.rand(1, 6), kept)
    sheet = np.asarray(draw_heat_map(image, found, ["a text"]))
    wide, high = 192, 128  # the longer side is enlarged to 192 pixels
    assert sheet.shape == (GAP + 2 * LINE + high + GAP, GAP + 3 * (wide + GAP), 3)
    left, top = GAP + 2 * (wide + GAP), GAP + 2 * LINE
    cell = sheet[top : top + high, left : left + wide]
    for patch in range(6):
        y, x = divmod(patch, 3)
        inner = cell[y * 64 + 40 : y * 64 + 60, x * 64 + 20 : x * 64 + 60]  # below the rank
        assert (inner == (200, 120, 40)).all() == (patch in (0, 5))
        assert (inner.max() < 60) == (patch not in (0, 5))


def test_a_photograph_keeps_its_shape_and_has_a_row_for_each_text():
    image = Image.new("RGB", (900, 300))
    found = HeatMap(
        (4, 4), torch.rand(2, 16), torch.rand(2, 16), torch.rand(2, 16), torch.arange(8).expand(2, 8)
    )
    sheet = draw_heat_map(image, found, ["one", "two"])
    assert sheet.size == (GAP + 4 * (360 + GAP), GAP + 2 * (120 + 2 * LINE + GAP))


def test_the_command_writes_picture_and_numbers_and_says_why(folder, loaded):
    done = call_cli("pta-vlp", *words(folder, "--numbers", folder / "map.json"))
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "map.json").read_text())
    assert (told["rows"], told["columns"], [each["text"] for each in told["texts"]]) == (6, 6, TEXTS)
    first = told["texts"][0]
    chances = first["probability"]
    kept = [chances[patch] for patch in first["kept"]]
    gone = [chance for patch, chance in enumerate(chances) if patch not in first["kept"]]
    assert min(kept) >= max(gone)
    assert (
        f"'a red square': 18 of 36 patches kept by the text's scores, behind block 0; probability "
        f"{min(kept):.3f} to {max(kept):.3f} of the kept, {min(gone):.3f} to {max(gone):.3f} of the dropped"
    ) in done.stdout
    once = (folder / "map.png").read_bytes()
    assert call_cli("pta-vlp", *words(folder)).returncode == 0
    assert (folder / "map.png").read_bytes() == once
    with Image.open(folder / "map.png") as picture:
        assert picture.size == (GAP + 4 * (192 + GAP), GAP + 2 * (192 + 2 * LINE + GAP))


def test_attention_needs_neither_text_nor_detector(folder):
    done = call_cli(
        "pta-vlp", "heatmap", folder / "0.png", "--model", folder / "bare", "--selection", "attention",
        "--out", folder / "bare.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "without a text: 18 of 36 patches kept by CLS's attention" in done.stdout


def test_a_text_that_is_too_long_is_cut_and_said(folder):
    done = call_cli("pta-vlp", *replaced(words(folder), "--text", "a red square on the left " * 4))
    assert done.returncode == 0, done.stderr
    assert "word pieces, the model takes 20; the rest is cut off" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--selection", "off"], "selection off keeps all patches"),
        (["--keep", "0"], "keep is 0; it is above 0"),
        (["--block", "3"], "block 3: the vision tower has blocks 0 to 2"),
        (["--text", "?!"], "nothing is left of it"),
        (["--out", "."], "is a folder"),
        (["--numbers", "same.png", "--out", "same.png"], "have the same name"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(folder, tmp_path, changes, message):
    done = call_cli("pta-vlp", *replaced(replaced(words(folder), "--out", "new.png"), *changes), cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_selection_by_text_without_detector_or_text_is_refused(folder, tmp_path):
    bare = ["heatmap", folder / "0.png", "--model", folder / "bare", "--selection", "text"]
    done = call_cli("pta-vlp", *bare, "--text", "a", cwd=tmp_path)
    assert (done.returncode, "needs a patch detector" in done.stderr) == (2, True)
    done = call_cli("pta-vlp", "heatmap", folder / "0.png", "--model", folder / "model", cwd=tmp_path)
    assert (done.returncode, "asks the text, and there is none: give --text" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())
