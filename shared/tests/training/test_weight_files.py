"""Weights from files of every kind, and those that are refused."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from nonet.errors import UserError
from nonet.training.weight_files import read_folder, read_object, read_weight_file

TENSORS = {"a.weight": torch.arange(3.0), "b": torch.ones(2)}


def same(found, wanted=TENSORS):
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("key", [None, "model", "module", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_pickle_gives_its_tensors_whatever_they_are_wrapped_in(key, prefix, tmp_path):
    inside = {prefix + name: value for name, value in TENSORS.items()}
    whole = inside if key is None else {key: inside, "args": argparse.Namespace(lr=1), "epoch": 3}
    torch.save(whole, tmp_path / "x.pth")
    assert same(read_weight_file(tmp_path / "x.pth"))


def test_a_folder_may_hold_one_file_parts_with_an_index_or_a_pickle(tmp_path):
    for name in ("one", "parts", "pickle", "none"):
        (tmp_path / name).mkdir()
    save_file(TENSORS, tmp_path / "one" / "model.safetensors")
    index = {}
    for number, (name, value) in enumerate(TENSORS.items()):
        file = f"model-{number}.safetensors"
        save_file({name: value}, tmp_path / "parts" / file)
        index[name] = file
    (tmp_path / "parts" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    torch.save(TENSORS, tmp_path / "pickle" / "pytorch_model.bin")
    assert all(same(read_folder(tmp_path / name)) for name in ("one", "parts", "pickle"))
    assert same(read_weight_file(tmp_path / "one" / "model.safetensors"))
    with pytest.raises(UserError, match="no weights: neither"):
        read_folder(tmp_path / "none")


def test_what_is_no_file_of_weights_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_weight_file(tmp_path / "absent.pth")
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(b"nothing at all")
        with pytest.raises(UserError, match=r"damaged|not a sound"):
            read_weight_file(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no weights by name"):
        read_weight_file(tmp_path / "list.pth")
    torch.save({"f": print}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="asks to import print, which could run code"):
        read_weight_file(tmp_path / "code.pth")
    for text, words in (("[1]", "not a JSON object"), ("{", "not JSON")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(UserError, match=words):
            read_object(tmp_path / "x.json")
