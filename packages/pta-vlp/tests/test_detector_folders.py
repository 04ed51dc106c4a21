"""Folders with a detector and with a selection, written and read, and read by their neighbours."""

import json
import sys
from pathlib import Path

import pytest
import torch

from nonet.errors import UserError
from nonet.vision_language.pair_folders import load_pair_model, save_pair_model
from nonet.vision_language.pair_model import PairModel
from pta_vlp.model_folders import detector_for, load_model, save_model
from pta_vlp.select_options import SelectOptions

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))

from tiny_towers import CONFIG


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    model = PairModel(CONFIG).eval()
    return model, detector_for(model)


@pytest.fixture
def folder(parts, tmp_path):
    model, detector = parts
    options = SelectOptions(block=2, keep=0.3, selection="mixed", alpha=0.5, fuse=False)
    return save_model(model, detector, None, tmp_path / "model", "a card", options=options)


def test_what_is_saved_is_loaded(parts, folder):
    found = load_model(folder, say=pytest.fail)
    for ours, theirs in zip(parts, (found.model, found.detector), strict=True):
        for name, value in ours.state_dict().items():
            assert torch.equal(theirs.state_dict()[name], value), name
    assert found.options == SelectOptions(block=2, keep=0.3, selection="mixed", alpha=0.5, fuse=False)
    assert not found.detector.training
    assert found.folder == folder
    assert (folder / "patch_detector.safetensors").is_file()  # the name that timix reads


def test_others_read_the_model_without_the_detector(parts, folder):
    again = load_pair_model(folder, say=pytest.fail).model
    assert torch.equal(again.itm_head.weight, parts[0].itm_head.weight)


def test_a_folder_without_a_detector_selects_by_attention_behind_the_middle(parts, tmp_path):
    folder = save_pair_model(parts[0], None, tmp_path / "plain", "a card")
    found = load_model(folder)
    assert found.detector is None
    assert found.options == SelectOptions(selection="attention", block=1)


def test_a_folder_that_says_nothing_but_has_a_detector_selects_by_text(parts, tmp_path):
    folder = save_pair_model(
        parts[0], None, tmp_path / "timix", "a card", extras={"patch_detector": parts[1]}
    )
    assert load_model(folder).options == SelectOptions(selection="text", block=1)


def test_positions_are_resampled_for_another_size(folder):
    said = []
    found = load_model(folder, say=said.append, image=64)
    assert found.model.vision.grid == (8, 8)
    assert said == ["positions: resampled from 4 x 4 to 8 x 8"]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"block": 4}, r"select\.json: block 4, but the vision tower has blocks 0 to 3"),
        ({"keep": 2.0}, r"keep is 2"),
        ({"kep": 0.5}, r"select\.json: .*kep"),
        ({"selection": "best"}, r"select\.json: .*best"),
    ],
)
def test_a_damaged_selection_is_refused(folder, values, error):
    (folder / "select.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=error):
        load_model(folder)


def test_a_detector_of_other_widths_is_refused(parts, tmp_path):
    from nonet.vision_language.patch_detector import PatchDetector

    other = {"patch_detector": PatchDetector(64)}
    folder = save_pair_model(parts[0], None, tmp_path / "other", "a card", extras=other)
    with pytest.raises(UserError, match="the weights do not fit the model"):
        load_model(folder, say=lambda _: None)


def test_a_folder_is_not_written_over(parts, folder):
    with pytest.raises(UserError, match="model"):
        save_model(parts[0], None, None, folder, "a card", options=SelectOptions())
    assert load_model(folder).detector is not None
