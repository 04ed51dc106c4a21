"""Checkpoints of the released code: its equations restated on torch's own layers give the same answers."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from original_detr import Original
from small_detectors import SIZES, batch, shake

from nonet.errors import UserError
from nonet.testing import call_cli, normal
from updetr.backbones import build_backbone
from updetr.detector import Detector
from updetr.loading import load_model
from updetr.original_weights import convert_original
from updetr.query_patches import PatchDetector

NOTED = {"nheads": 2, "num_patches": 4, "dropout": 0.3, "dilation": False}


def original(backbone="resnet-tiny", **changes):
    torch.manual_seed(0)
    body = build_backbone(backbone)
    return shake(Original(body, body.channels[-1], **changes)).eval()


def saved(path, model, noted=NOTED, drop=()):
    """A checkpoint as the released code writes it."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(drop)}
    done = {"model": state, "epoch": 59, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}}
    torch.save(done | {"args": argparse.Namespace(**noted)}, path)
    return path


def close(ours, theirs):
    """Equal but for the order of sums, which costs a few units in the last place of the largest number."""
    return float((ours - theirs).abs().max()) < 1e-5 * max(1.0, float(theirs.abs().max()))


def convert(path, **options):
    said = []
    return convert_original(path, say=said.append, **options), said


@torch.no_grad()
def test_the_pretrained_model_finds_patches_as_the_original_does(tmp_path):
    theirs, images, patches = original(), batch(), normal(2, 3, 3, 64, 64)
    done, said = convert(saved(tmp_path / "up.pth", theirs))
    assert isinstance(done.model, PatchDetector)
    assert not done.model.training
    features = done.model.patch_features(patches)
    found = done.model(images, features)
    logits, boxes, recon, truth = theirs(images.pixels, ~images.mask, patches)
    assert logits.std(2).max() > 0.01
    assert close(features, truth)
    assert close(found.logits, logits[..., [1, 2]]), "all layers, live classes"
    assert close(found.boxes, boxes)
    assert close(found.features, recon)
    total = len(theirs.state_dict())
    assert said[0].splitlines()[0].split() == ["matched", str(total), "of", str(total)]
    assert done.facts["classes"] == "patch; 1 of 3 logits are never a target and are dropped"
    assert done.model.detector.config.dropout == 0.3


@pytest.mark.parametrize("before", [True, False])
@torch.no_grad()
def test_a_fine_tuned_model_finds_what_the_original_does(tmp_path, before):
    theirs, images = original(before=before, classes=5), batch()
    path = saved(tmp_path / "tuned.pth", theirs, drop=("patch2query", "feature_align"))
    done, _ = convert(path, labels=("a", "b", "c", "d", "e"))
    assert isinstance(done.model, Detector)
    assert done.model.config.arch == ("detr-prenorm" if before else "detr")
    logits, boxes, _, _ = theirs(images.pixels, ~images.mask)
    found = done.model(images)
    assert close(found.logits, logits)
    assert close(found.boxes, boxes)


def test_a_backbone_of_bottlenecks_is_told_by_its_names_and_computes_as_the_original(tmp_path):
    theirs = original("resnet26")
    done, _ = convert(saved(tmp_path / "up.pth", theirs))
    assert done.model.detector.config.backbone == "resnet26"
    from original_detr import resnet

    body = {
        name.removeprefix("backbone.0.body."): tensor
        for name, tensor in theirs.state_dict().items()
        if name.startswith("backbone")
    }
    with torch.no_grad():
        expected = resnet(body, batch().pixels)
        found = done.model.detector.backbone(batch().pixels)[-1]
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_what_no_tensor_tells_is_noted_or_assumed_or_asked_for(tmp_path):
    theirs = original(width=64, queries=20, patches=10)
    done, _ = convert(saved(tmp_path / "up.pth", theirs, noted={}))
    config = done.model.detector.config
    assert (config.heads, config.patches, config.dilation, config.hidden) == (2, 10, False, 24)
    assert done.facts["heads"] == "2, assumed"
    done, _ = convert(saved(tmp_path / "up.pth", theirs, noted={"nheads": 4}), patches=5)
    assert (done.model.detector.config.heads, done.model.detector.config.patches) == (4, 5)
    assert done.facts["heads"] == "4, noted in the file"
    assert done.facts["patches"] == "5, as asked for"


def test_detregs_embedding_and_a_mask_head_are_left_out_and_said(tmp_path):
    model = original(classes=21)
    state = model.state_dict()
    for name in [name for name in state if name.startswith(("patch2query", "feature_align"))]:
        del state[name]
    state["feature_embed.layers.0.weight"] = torch.zeros(3, 3)
    torch.save({"model": state}, tmp_path / "detreg.pth")
    done, _ = convert(tmp_path / "detreg.pth", heads=2)
    assert done.facts["left out"] == "feature_embed"
    assert torch.equal(done.model.class_embed.weight, state["class_embed.weight"][[1, 21]])
    del state["feature_embed.layers.0.weight"]
    masked = {f"detr.{name}": tensor for name, tensor in state.items()} | {
        "mask_head.gn1.bias": torch.zeros(3), "bbox_attention.q_linear.bias": torch.zeros(3),
    }  # fmt: skip
    torch.save({"model": masked}, tmp_path / "panoptic.pth")
    done, _ = convert(tmp_path / "panoptic.pth", heads=2)
    assert done.facts["left out"] == "bbox_attention, mask_head"
    assert done.model.config.labels[:2] == ("class 0", "class 1")


def test_the_command_writes_a_folder_that_loads(tmp_path):
    saved(tmp_path / "tuned.pth", original(classes=2), drop=("patch2query", "feature_align"))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    words = ["convert", "tuned.pth", "--out", "model", "--labels", "names.txt", "--shortest", "96"]
    done = call_cli("updetr", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "heads: 2, noted in the file" in done.stdout
    assert load_model(tmp_path / "model").config.labels == ("cat", "dog")
    again = call_cli("updetr", *words, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.strip().splitlines()[-1].endswith("or allow to overwrite it")


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return (print, ("run",))


def refused(tmp_path, found, text, **options):
    torch.save(found, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=text):
        convert(tmp_path / "bad.pth", **options)


def test_checkpoints_that_ask_to_run_something_are_refused(tmp_path, capsys):
    state = original().state_dict()
    refused(
        tmp_path, {"model": state, "args": Payload()}, r"bad\.pth: asks to import \S*print, which could run"
    )
    assert capsys.readouterr().out == ""


def test_checkpoints_of_other_models_are_refused(tmp_path):
    state = original().state_dict()
    learned = state | {"backbone.1.row_embed.weight": torch.zeros(50, 8)}
    refused(tmp_path, {"model": learned}, "a detector with learned positions")
    bent = state | {"transformer.level_embed": torch.zeros(4, 8)}
    refused(tmp_path, {"model": bent}, "a detector with deformable attention")
    refused(tmp_path, {"model": {"fc.weight": torch.zeros(2, 2)}}, "no query_embed.weight: not a checkpoint")
    refused(tmp_path, {"epoch": 3}, "holds no weights by name")
    refused(tmp_path, {"model": state}, "one class, patch; leave out --labels", labels=("a", "b"), heads=2)
    less = {name: tensor for name, tensor in state.items() if "layers.1.norm3" not in name}
    refused(tmp_path, {"model": less}, "the weights do not fit the model", heads=2)
    odd = {name: tensor for name, tensor in state.items() if "layer3.1" not in name}
    refused(tmp_path, {"model": odd}, r"a ResNet of \(2, 2, 1\) blocks, none of resnet-tiny", heads=2)
    tuned = {n: t for n, t in state.items() if not n.startswith(("patch2query", "feature_align"))}
    refused(tmp_path, {"model": tuned}, "has 2 classes, and --labels names 1", labels=("a",))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "bad.pth").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.pth: not a checkpoint that torch can read, or a damaged one"):
        convert(tmp_path / "cut.pth")
    with pytest.raises(UserError, match=r"gone\.pth: no such file"):
        convert(tmp_path / "gone.pth")


def test_a_line_of_labels_that_is_empty_is_named(tmp_path):
    saved(tmp_path / "up.pth", original())
    (tmp_path / "names.txt").write_text("cat\n\n")
    done = call_cli("updetr", "convert", "up.pth", "--out", "m", "--labels", "names.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert "names.txt:2: an empty line" in done.stderr
    assert not (tmp_path / "m").exists()
    done = call_cli("updetr", "convert", "up.pth", "--out", "m", "--shortest", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "shortest is 0" in done.stderr


def test_sizes_here_are_those_of_the_restated_original():
    assert (SIZES["width"], SIZES["heads"], SIZES["queries"], SIZES["patches"]) == (16, 2, 12, 4)
