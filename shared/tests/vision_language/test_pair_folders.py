"""Image-text models in folders, and what their configuration refuses."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal, whole
from nonet.vision_language.bert_weights import start_pair_model
from nonet.vision_language.pair_config import CONFIG, TINY, config_from, read_config
from nonet.vision_language.pair_folders import load_extra, load_pair_model, save_pair_model, tensors_of
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.vision import resample_positions

SMALL = dataclasses.replace(TINY, vit_width=32, vit_depth=1, text_width=32, vocabulary=50)


def tokenizer():
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "##s"]
    return BertTokenizer(vocab={word: number for number, word in enumerate(words)})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model = PairModel(SMALL).eval()
    extra = torch.nn.Linear(2, 3)
    folder = tmp_path_factory.mktemp("pair") / "model"
    save_pair_model(
        model, tokenizer(), folder, "# card\n", extras={"detector": extra}, files={"task.json": "{}\n"}
    )
    return model, extra, folder


@torch.no_grad()
def test_a_saved_model_comes_back_with_tokenizer_and_added_parts(saved):
    model, extra, folder = saved
    said = []
    loaded = load_pair_model(folder, say=said.append)
    images, ids = normal(2, 3, 48, 48), whole(50, 2, 5)
    for ours, theirs in zip(loaded.model(images, ids), model(images, ids), strict=True):
        assert torch.equal(ours, theirs)
    assert said == []
    assert loaded.model.config == SMALL
    assert loaded.tokenizer("a dogs")["input_ids"] == [2, 5, 6, 7, 3]
    again = torch.nn.Linear(2, 3)
    assert load_extra(folder, "detector", again)
    assert torch.equal(again.weight, extra.weight)
    assert not load_extra(folder, "nothing", again)
    assert (folder / "task.json").read_text() == "{}\n"
    assert loaded.model.mlm_head.words is loaded.model.text.embeddings.words.weight


def test_shared_tables_are_written_once(saved):
    model, _, _ = saved
    names = set(tensors_of(model))
    assert "text.embeddings.words.weight" in names
    assert "mlm_head.words" not in names
    assert {name for name in model.state_dict() if name not in names} == {
        "mlm_head.words",
        "decoder.head.words",
    }


@torch.no_grad()
def test_another_size_of_image_resamples_positions_and_says_so(saved):
    model, _, folder = saved
    said = []
    loaded = load_pair_model(folder, say=said.append, image=64, max_length=30).model
    assert said == ["positions: resampled from 6 x 6 to 8 x 8"]
    wanted = resample_positions(model.vision.vit.pos_embed, (6, 6), (8, 8))
    assert torch.equal(loaded.vision.vit.pos_embed, wanted)
    assert (loaded.config.image, loaded.config.max_length) == (64, 30)
    assert loaded.encode_image(normal(1, 3, 64, 64)).shape == (1, 65, 32)


def test_weights_that_hardly_match_are_refused_with_three_lists(saved):
    folder = saved[2]
    with pytest.raises(
        UserError, match=r"the weights do not fit the model: .* missing, .* unexpected, .* other"
    ):
        load_pair_model(folder, say=print, config=dataclasses.replace(SMALL, text_layers=12))
    said = []
    changed = dataclasses.replace(SMALL, decoder_layers=0)
    loaded = load_pair_model(folder, say=said.append, config=changed, limit=0.5)
    assert loaded.model.decoder is None
    assert "unexpected" in said[0]
    assert "decoder.head.dense.weight" in said[0]


def test_what_is_no_model_is_told_in_one_line(saved, tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(
        UserError, match=r"no pair_model.json in this folder, so no image-text model; it holds x"
    ):
        load_pair_model(tmp_path)
    with pytest.raises(UserError, match="is a file; name a model's folder"):
        load_pair_model(tmp_path / "x")
    with pytest.raises(UserError, match="no folder nowhere/at/all"):
        load_pair_model("nowhere/at/all")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    with pytest.raises(UserError, match="a run without a model yet"):
        load_pair_model(tmp_path / "run")
    (tmp_path / "run" / "model").symlink_to(saved[2])
    assert load_pair_model(tmp_path / "run").folder == tmp_path / "run" / "model"
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / CONFIG).write_text(SMALL.as_json())
    (damaged / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model.safetensors: not a sound safetensors file"):
        load_pair_model(damaged)
    (damaged / CONFIG).write_text("{")
    with pytest.raises(UserError, match=r"pair_model.json: cannot be read"):
        read_config(damaged)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": 50}, "images of 50 pixels do not divide into patches of 8; nearest: 48 or 56"),
        ({"image_width": 4}, "nearest: 8"),
        ({"vit": "deit_base_patch16_224"}, "sizes are fixed"),
        ({"vit_width": 0}, "give vit_width"),
        ({"text_heads": 5}, "text_width is 64; it is divisible by 5 heads"),
        ({"fusion_layers": 0}, "fusion_layers is 0; it is at least 1"),
        ({"max_length": 70}, "max_length is 70; the table of positions has 64"),
        ({"tau": 0.6}, "tau is 0.6; it lies in tau_range, 0.001 to 0.5"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"deviation": (0.0, 1.0, 1.0)}, "deviation"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(TINY, **changes)


def test_a_configuration_survives_json_and_an_unknown_name_gets_the_nearest():
    assert config_from(json.loads(SMALL.as_json()), "x") == SMALL
    with pytest.raises(UserError, match=r"fusion_layer.*fusion_layers"):
        config_from({"fusion_layer": 3}, "x.json")
    assert dataclasses.replace(TINY, image_width=96).grid == (6, 12)


def test_the_temperature_is_kept_in_its_range():
    model = PairModel(SMALL)
    for value, wanted in ((-3.0, 0.001), (0.9, 0.5), (0.2, 0.2)):
        model.tau.data.fill_(value)
        model.clamp_tau()
        assert model.tau.item() == pytest.approx(wanted)


def test_a_new_model_says_where_its_weights_come_from():
    said = []
    start_pair_model(SMALL, say=said.append)
    assert said == ["vision: random weights", "text: random weights"]


def test_the_configuration_loads_no_torch():
    code = "import sys, nonet.vision_language.pair_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
