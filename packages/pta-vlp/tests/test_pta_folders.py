"""The verbs info, convert and prepare on small folders."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from nonet.errors import UserError
from nonet.testing import call_cli, normal
from pta_vlp.cost import Tower
from pta_vlp.holdings import tower_in
from pta_vlp.model_folders import load_model

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
from tiny_folders import SMALL, tokenizer, write_folder

# A block of 37 tokens of width 32, hidden 128: 37 x 32 x (4 x 32 + 2 x 128 + 2 x 37) multiply-accumulates.
BLOCK = 37 * 32 * 458


def info(path, *words):
    return call_cli("pta-vlp", "info", "--path", path, *words)


# ------------------------------------------------------------------------------------------------------- info


def test_info_says_how_patches_are_selected_and_what_they_cost(tmp_path):
    write_folder(tmp_path / "model", keep=0.25)
    shown = info(tmp_path / "model").stdout
    for words in (
        "48 x 48 pixels, 6 x 6 patches", "patch detector  yes", "selection       text",
        "behind block    0 of 0 to 1", "keep            0.25: 9 of 36 patches, and one token for the others",
        "patch_detector.safetensors",
    ):  # fmt: skip
        assert words in shown, shown
    cost = json.loads(info(tmp_path / "model", "--json").stdout)["vision tower, GMAC a text"]
    assert list(cost) == ["keep 0.25", "keep 0.3", "keep 0.5", "keep 0.7", "keep 1"]
    whole = 2 * BLOCK / 1e9
    assert cost["keep 1"] == f"{whole:.4g} with 1 text about an image, {whole / 5:.4g} with 5"
    # 11 tokens in the second block; the detector's part is 36 x 32 x 32 + 36 x 16 x 16 + 16 x 16 an image,
    # and 32 x 16 + 36 x (16 x 8 + 2 x 8) a text
    trunk = BLOCK + 36 * 32 * 32 + 36 * 16 * 16 + 16 * 16
    rest = 11 * 32 * (4 * 32 + 2 * 128 + 2 * 11) + 32 * 16 + 36 * (16 * 8 + 2 * 8)
    one, five = (trunk + rest) / 1e9, (trunk / 5 + rest) / 1e9
    assert cost["keep 0.25"] == f"{one:.4g} with 1 text about an image, {five:.4g} with 5"


def test_a_model_without_a_detector_selects_by_attention_once_an_image(tmp_path):
    write_folder(tmp_path / "model", detector=False, fuse=False)
    found = json.loads(info(tmp_path / "model", "--json").stdout)
    assert found["selection"]["patch detector"] == "none: `pta-vlp detector` trains one"
    assert found["selection"]["keep"] == "0.5: 18 of 36 patches"
    one, five = (float(found["vision tower, GMAC a text"]["keep 0.5"].split()[place]) for place in (0, 7))
    assert five == pytest.approx(one / 5, rel=1e-3)
    (tmp_path / "model" / "select.json").write_text('{"selection": "off", "block": 0}')
    found = json.loads(info(tmp_path / "model", "--json").stdout)
    assert found["selection"]["keep"] == "0.5: all 36 patches"


def test_sizes_of_the_tower_are_read_off_the_weights(tmp_path):
    write_folder(tmp_path / "model", dataclasses.replace(SMALL, vit_depth=3), words=False)
    assert tower_in(tmp_path / "model" / "model.safetensors", 36) == Tower(36, 32, 3, 128)
    with pytest.raises(UserError, match="no blocks of a vision transformer"):
        tower_in(tmp_path / "model" / "patch_detector.safetensors", 36)


def test_what_is_no_folder_of_ours_is_told_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "broken")
    (tmp_path / "broken" / "select.json").write_text('{"block": 7}')
    for name, text in (
        ("absent", "no such folder"),
        ("empty", "neither a model"),
        ("broken", "select.json: block 7, but the vision tower has blocks 0 to 1"),
    ):
        refused = info(tmp_path / name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert text in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


# ---------------------------------------------------------------------------------------------------- convert


def test_what_is_no_checkpoint_is_refused_and_nothing_is_written(tmp_path):
    torch.save({"model": {"visual_encoder.pos_embed": torch.zeros(1, 5, 8)}}, tmp_path / "half.pth")
    words = ("convert", tmp_path / "half.pth", "--out", tmp_path / "model", "--tokenizer", "")
    refused = call_cli("pta-vlp", *words)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "model").exists()


@torch.no_grad()
def test_a_vision_transformer_of_clip_becomes_a_folder_that_selects_by_attention(tmp_path):
    from transformers import BertConfig, BertForMaskedLM, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    clip = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=64, intermediate_size=256, num_hidden_layers=4, num_attention_heads=1, image_size=32,
            patch_size=8,
        )
    ).eval()  # fmt: skip
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 1, "num_hidden_layers": 12}
    BertForMaskedLM(BertConfig(vocab_size=60, **sizes)).save_pretrained(tmp_path / "bert")
    clip.save_pretrained(tmp_path / "clip")
    tokenizer().save_pretrained(tmp_path / "words")
    words = ("--out", tmp_path / "model", "--tokenizer", tmp_path / "words", "--text", tmp_path / "bert")
    done = call_cli("pta-vlp", "convert", tmp_path / "clip", *words)
    assert done.returncode == 0, done.stderr
    assert "no patch detector: patches are selected by attention" in done.stdout
    loaded = load_model(tmp_path / "model")
    assert (loaded.options.selection, loaded.options.block, loaded.detector) == ("attention", 1, None)
    images = normal(2, 3, 32, 32)
    wanted = clip.post_layernorm(clip(pixel_values=images).last_hidden_state)
    found = loaded.model.vision.vit.forward_features(images)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert f"pta-vlp info --path {tmp_path / 'model'}" in done.stdout
    assert info(tmp_path / "model").returncode == 0


# ---------------------------------------------------------------------------------------------------- prepare


def test_pairs_and_regions_are_checked_together_and_mistakes_leave_nothing(tmp_path):
    for number in range(4):
        Image.new("RGB", (6, 8), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    pairs = [{"image": f"{number}.png", "caption": f"A dog, {number}."} for number in range(4)]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    elems = [{"bb": [1, 1, 3, 3], "caption": "Dog"}]
    (tmp_path / "regions.json").write_text(json.dumps([{"image": "2.png", "elems": elems}]))
    words = ("prepare", "--pairs", tmp_path / "pairs.json", "--regions", tmp_path / "regions.json")
    words += ("--out", tmp_path / "out")
    refused = call_cli("pta-vlp", *words, "--share", "2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "share is 2; it is above 0 and at most 1" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = call_cli("pta-vlp", *words, "--vocabulary", "100")
    assert done.returncode == 0, done.stderr
    assert "pairs.jsonl: 4 items of 4 images, 4 captions" in done.stdout
    assert json.loads((tmp_path / "out" / "regions.jsonl").read_text())["elems"][0]["caption"] == "dog"
    assert (tmp_path / "out" / "tokenizer" / "tokenizer_config.json").is_file()
