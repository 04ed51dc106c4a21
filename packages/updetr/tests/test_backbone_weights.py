"""Weights of a backbone out of files of others: prefixes, wrappers, heads, misfits, what is code."""

import argparse
import collections
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from nonet.errors import UserError
from updetr.backbones import build_backbone, load_backbone_weights

NAME = "resnet-tiny"


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    backbone = build_backbone(NAME, norm="batch")
    backbone.bn1.running_mean.normal_()
    return backbone.state_dict()


def behind(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def saved(kind, weights, folder):
    """A file as that project writes it."""
    file = folder / f"{kind}.pth"
    extra = torch.zeros(2, 2)
    plain = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    if kind == "ours":
        file = folder / "model.safetensors"
        save_file({name: tensor.clone() for name, tensor in plain.items()}, file)
        return file
    content = {
        "torchvision": {**weights, "fc.weight": extra, "fc.bias": extra},
        "swav": behind("module.", {**weights, "projection_head.0.weight": extra, "prototypes.weight": extra}),
        "moco": {
            "state_dict": {
                **behind("module.encoder_k.", {name: tensor + 1 for name, tensor in weights.items()}),
                **behind("module.encoder_q.", {**weights, "fc.0.weight": extra}),
                "module.queue": extra,
            },
            "arch": NAME,
        },
        "up-detr": {
            "model": {**behind("backbone.0.body.", plain), "query_embed.weight": extra},
            "args": argparse.Namespace(lr=1e-4),
            "epoch": 59,
        },
        "detector": behind("detector.backbone.", plain),
    }[kind]
    torch.save(content, file)
    return file


@pytest.mark.parametrize("kind", ["ours", "torchvision", "swav", "moco", "up-detr", "detector"])
def test_files_of_others_are_read_behind_their_prefixes(kind, source, tmp_path):
    backbone, said = build_backbone(NAME), []
    account = load_backbone_weights(backbone, saved(kind, source, tmp_path), said.append)
    assert account.missing == account.unexpected == account.mismatched == ()
    assert account.matched == len(backbone.state_dict())
    assert f"{account.matched} of {account.matched}" in "\n".join(said)
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, source[name])


def test_a_few_weights_that_do_not_fit_are_said(source, tmp_path):
    few = dict(source)
    few["extra.weight"] = few.pop("conv1.weight").clone()
    few["bn1.bias"] = torch.zeros(7)
    few["conv1.weight"] = source["conv1.weight"]
    del few["layer3.1.conv2.weight"]
    torch.save(few, tmp_path / "few.pth")
    said = []
    account = load_backbone_weights(build_backbone(NAME), tmp_path / "few.pth", said.append)
    assert account.missing == ("layer3.1.conv2.weight",)
    assert account.unexpected == ("extra.weight",)
    assert account.mismatched == ("bn1.bias",)
    assert "layer3.*.conv2.weight" in "\n".join(said)


def test_weights_of_another_resnet_are_refused_and_nothing_is_loaded(source, tmp_path):
    torch.save(source, tmp_path / "tiny.pth")
    other = build_backbone("resnet18")
    before = other.conv1.weight.clone()
    state = torch.get_rng_state()
    with pytest.raises(UserError, match="the weights do not fit the model") as caught:
        load_backbone_weights(other, tmp_path / "tiny.pth", lambda _: None)
    assert torch.equal(other.conv1.weight, before)
    assert str(caught.value).startswith(f"{tmp_path}/tiny.pth: ")
    assert str(caught.value).endswith("? It fits --backbone resnet-tiny")
    assert torch.equal(torch.get_rng_state(), state)  # finding that out costs no random numbers
    torch.save(
        {name: tensor for name, tensor in source.items() if "layer3" not in name}, tmp_path / "cut.pth"
    )
    with pytest.raises(UserError, match=r"cut\.pth: .* another model, or other names\?$"):
        load_backbone_weights(other, tmp_path / "cut.pth", lambda _: None)


@pytest.mark.parametrize("name", ["resnet18", "resnet26", "resnet34", "resnet50", "resnet101"])
def test_a_file_is_told_to_fit_the_resnet_that_it_is_of(name, source, tmp_path):
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in build_backbone(name).state_dict().items()}
    torch.save({key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"other\.pth: .* It fits --backbone {name}$"):
        load_backbone_weights(build_backbone(NAME), tmp_path / "other.pth", lambda _: None)


def test_files_without_a_resnet_and_files_with_code_are_refused(tmp_path):
    backbone = build_backbone(NAME)
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "head.pth")
    with pytest.raises(UserError, match=r"head.pth: holds no ResNet.* it has head.weight"):
        load_backbone_weights(backbone, tmp_path / "head.pth")
    torch.save({"model": collections.deque([1])}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"code.pth: .*deque.* refused"):
        load_backbone_weights(backbone, tmp_path / "code.pth")
    (tmp_path / "run.pth").write_bytes(pickle.dumps(os.system, 2))  # of a module that torch blocks as a whole
    with pytest.raises(UserError, match=r"run.pth: asks to import posix.system, .* refused"):
        load_backbone_weights(backbone, tmp_path / "run.pth")
    with pytest.raises(UserError, match=r"none.pth: "):
        load_backbone_weights(backbone, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"text.pth: "):
        load_backbone_weights(backbone, tmp_path / "text.pth")
