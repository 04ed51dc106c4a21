"""Model folders: written whole, read as they were, taken over by the released code's rule."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from small_detectors import SIZES, answers, same, shake, small

from nonet.errors import UserError
from nonet.options import dump
from nonet.testing import call_cli, normal
from updetr.commands.finetune import Options
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.loading import load_into, load_model, new_detector, save_model
from updetr.model_folders import read_source
from updetr.query_patches import PatchDetector
from updetr.train_options import SizeOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A fine-tuned detector."""
    path = tmp_path_factory.mktemp("models") / "tuned"
    return save_model(path, small(), {"data": "farm", "steps": 7}, sizes=(96, 160))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A detector that finds patches."""
    path = tmp_path_factory.mktemp("models") / "pre"
    return save_model(path, shake(PatchDetector(small(seed=3, labels=("patch",)))), {"steps": 9})


def copied(folder, to, **changes):
    """A copy, with other entries in its config.json."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | changes))
    return to


def test_a_detector_is_read_as_it_was_written(folder):
    detector = load_model(folder)
    assert type(detector) is Detector
    assert not detector.training
    assert detector.config == small().config
    assert same(answers(detector), answers(small()))
    source = read_source(folder)
    assert (source.sizes, source.facts) == ((96, 160), {"data": "farm", "steps": 7})
    assert "It finds cat, dog, cow." in (folder / "README.md").read_text()
    files = {"README.md", "config.json", "model.safetensors", "nonet.json", "preprocessor_config.json"}
    assert {path.name for path in folder.iterdir()} == files | {"updetr.json"}


@torch.no_grad()
def test_heads_of_patches_are_read_as_they_were_written(pretrained):
    model, expected = load_model(pretrained), shake(PatchDetector(small(seed=3, labels=("patch",)))).eval()
    features = normal(1, 2, model.detector.backbone.channels[-1])
    images = torch.randn(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool)
    memory = expected.detector.encode_maps(expected.detector.backbone(images[0]), images[1])
    for ours, theirs in zip(model(memory, features), expected(memory, features), strict=True):
        assert torch.equal(ours, theirs)


def test_loading_draws_no_random_numbers(folder):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_model(folder)
    assert torch.equal(torch.rand(1), expected)


def test_a_run_is_read_by_its_model(folder, tmp_path):
    with pytest.raises(UserError, match=r"no config\.json in this folder"):
        load_model(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="a run without a model yet"):
        load_model(tmp_path)
    shutil.copytree(folder, tmp_path / "model")
    assert read_source(tmp_path).folder == tmp_path / "model"
    assert read_source(f"hf:{folder}").config == small().config


def test_a_checkpoint_file_is_named_with_its_converter(tmp_path):
    (tmp_path / "up.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"is a checkpoint file; `updetr convert \S+up\.pth --out FOLDER`"):
        load_model(tmp_path / "up.pth")
    (tmp_path / "photo.jpg").write_bytes(b"")
    done = call_cli("updetr", "convert", tmp_path / "photo.jpg", "--out", tmp_path / "model")
    assert done.returncode == 2
    assert (
        "photo.jpg: is no model: that is a folder, or for `updetr convert` a checkpoint file" in done.stderr
    )
    assert ".pth, .pt, .bin, .tar, .ckpt or .safetensors" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_folder_of_transformers_is_read_without_our_note(folder, tmp_path):
    plain = copied(folder, tmp_path / "plain")
    (plain / "updetr.json").unlink()
    detector = load_model(plain)
    assert detector.config == dataclasses.replace(small().config, patches=6)
    assert same(answers(detector), answers(small()))
    assert read_source(plain).sizes == (96, 160)


@pytest.mark.parametrize("arch", ["detr-prenorm", "detr"])
def test_layers_of_the_other_kind_are_refused_with_the_right_class(arch, tmp_path):
    kinds = {"detr-prenorm": "table-transformer", "detr": "detr"}
    classes = {"detr-prenorm": "TableTransformerForObjectDetection", "detr": "DetrForObjectDetection"}
    (wrong,) = kinds.keys() - {arch}
    save_model(tmp_path / "right", small(arch=arch))
    mixed = copied(tmp_path / "right", tmp_path / "mixed", model_type=kinds[wrong])
    (mixed / "updetr.json").unlink()
    text = f"config.json is for {classes[wrong]}, but the weights are those of a {classes[arch]}"
    with pytest.raises(UserError, match=text):
        load_model(mixed)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": 9}, "format is 9, this version reads 1"),
        ({"sizes": None}, "damaged"),
        ({"detector": {"labels": ["a"], "colour": 1}}, "damaged .*colour"),
        ({"detector": SIZES | {"queries": 11}}, "11 queries cannot be shared by 4 patches"),
    ],
)
def test_a_damaged_note_is_named(folder, tmp_path, change, text):
    broken = copied(folder, tmp_path / "broken")
    note = json.loads((broken / "updetr.json").read_text())
    (broken / "updetr.json").write_text(json.dumps(note | change))
    with pytest.raises(UserError, match=rf"updetr\.json: {text}"):
        load_model(broken)


def test_damaged_weights_are_named(folder, pretrained, tmp_path):
    broken = copied(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"model\.safetensors: not a sound safetensors file"):
        load_model(broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights: neither model\.safetensors nor pytorch_model\.bin"):
        load_model(broken)
    other = copied(folder, tmp_path / "other")
    shutil.copy(pretrained / "model.safetensors", other / "pretext.safetensors")
    with pytest.raises(UserError, match=r"pretext\.safetensors: has \["):
        load_model(other)
    (broken / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        load_model(broken)


def taken(model, name, **options):
    said = []
    load_into(model, name, say=said.append, **options)
    return "\n".join(said)


def test_other_classes_begin_anew_and_everything_else_is_taken(pretrained):
    fresh = new_detector(DetectorConfig(**SIZES))
    head = fresh.class_embed.weight.clone()
    said = taken(fresh, pretrained)
    source = read_source(pretrained).state
    state = fresh.state_dict()
    assert torch.equal(fresh.class_embed.weight, head)
    for name in state.keys() - {"class_embed.weight", "class_embed.bias"}:
        assert torch.equal(state[name], source[name]), name
    assert "the head for cat, dog, cow starts anew" in said
    assert "heads of patches are left out" in said
    assert "missing          2" in said


def test_the_same_classes_keep_their_head(folder):
    fresh = new_detector(DetectorConfig(**SIZES))
    taken(fresh, folder)
    assert same(answers(fresh.eval()), answers(small()))


def test_a_model_with_patches_takes_their_heads(pretrained, folder):
    fresh = PatchDetector(new_detector(DetectorConfig(**(SIZES | {"labels": ("thing",)}))))
    assert "its heads of patches are taken" in taken(fresh, pretrained)
    assert torch.equal(fresh.patch2query.weight, load_model(pretrained).patch2query.weight)
    assert "has no heads of patches: they start anew" in taken(fresh, folder)


@pytest.mark.parametrize(("queries", "rows"), [(20, [*range(12), *range(8)]), (8, list(range(8)))])
def test_queries_are_cut_or_repeated_only_where_asked_for(folder, queries, rows):
    fresh = new_detector(DetectorConfig(**(SIZES | {"queries": queries})))
    with pytest.raises(
        UserError, match=f"has 12 queries, and the new detector {queries}; .*--resize-queries"
    ):
        taken(fresh, folder)
    assert f"its 12 queries are cut or repeated to {queries}" in taken(fresh, folder, resize_queries=True)
    assert torch.equal(fresh.query_embed.weight, small().query_embed.weight[rows])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 32}, "its width is 16, that of the new detector is 32; give 16"),
        ({"arch": "detr"}, "its arch is detr-prenorm, that of the new detector is detr; give detr-prenorm"),
        ({"backbone": "resnet18"}, "its backbone is resnet-tiny, that of the new detector is resnet18"),
        ({"decoder_layers": 1}, "its decoder_layers is 2"),
    ],
)
def test_models_of_other_sizes_are_refused_by_the_entry(folder, change, text):
    with pytest.raises(UserError, match=text):
        taken(new_detector(DetectorConfig(**(SIZES | change))), folder)


def test_info_says_what_folders_hold(folder, pretrained, tmp_path):
    done = call_cli("updetr", "info", "--path", folder, "--json")
    facts = json.loads(done.stdout)
    assert facts["model"]["kind"] == "finds objects"
    assert facts["model"]["image sides"] == "96 to 160 pixels"
    assert facts["classes"] == {"number": 3, "names": "cat, dog, cow"}
    assert facts["training"] == {"data": "farm", "steps": 7}
    count = sum(tensor.numel() for tensor in small().state_dict().values())
    assert f"{count:,} numbers" in facts["weights"]["model.safetensors"]
    shutil.copytree(pretrained, tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text('{"package": "updetr", "verb": "pretrain", "sessions": []}')
    shown = call_cli("updetr", "info", "--path", tmp_path / "run").stdout
    assert "finds patches: pre-trained without labels" in shown
    assert "pretrain" in shown
    (tmp_path / "run" / "model" / "config.json").unlink()
    assert "pretext.safetensors" in call_cli("updetr", "info", "--path", tmp_path / "run").stdout
    (tmp_path / "empty").mkdir()
    done = call_cli("updetr", "info", "--path", tmp_path / "empty")
    assert (done.returncode, "neither a model" in done.stderr) == (2, True)


def test_the_card_shows_options_as_nested_yaml_names_for_paths_and_percents(tmp_path):
    options = Options(
        data="coco:/disk/me/train.json,/disk/me/my images", val="voc:../VOCdevkit/VOC2007:val",
        init="hf:me/model", backbone_weights=Path("/disk/me/swav.pth"), out=Path("runs/here"),
        scales=(48, 64), size=SizeOptions(width=16),
    )  # fmt: skip
    facts = {"verb": "finetune", "images": 7, "options": dump(options), "scores": {"AP": 41.5, "APl": None}}
    save_model(tmp_path / "model", small(), facts)
    text = (tmp_path / "model" / "README.md").read_text()
    assert "/disk" not in text
    assert "\\n" not in text
    assert "\n  scales: [48, 64]\n" in text
    block = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert (block["verb"], block["images"]) == ("finetune", 7)
    assert block["scores in percent"] == {"AP": 41.5, "APl": None}
    shown = block["options"]
    assert shown["size"]["width"] == 16
    names = ("data", "val", "init", "backbone_weights", "out")
    assert [shown[name] for name in names] == [
        "coco:train.json,my images", "voc:VOC2007:val", "hf:me/model", "swav.pth", "here"
    ]  # fmt: skip
    assert shown.keys() == yaml.safe_load(facts["options"]).keys()
    save_model(tmp_path / "other", small(), {"options": "by hand", "scores": {"val/loss": 0.5}})
    text = (tmp_path / "other" / "README.md").read_text()
    assert "options: by hand\n" in text
    assert "percent" not in text


def test_the_folder_of_several_seeds_names_their_runs_and_info_tells_their_numbers(folder, tmp_path):
    (tmp_path / "run.json").write_text('{"package": "updetr", "verb": "finetune", "sessions": []}')
    for seed in (2, 10):
        shutil.copytree(folder, tmp_path / f"seed-{seed}" / "model")
    (tmp_path / "seed-11").mkdir()  # was interrupted: has no model yet
    with pytest.raises(UserError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: 2 runs with different seeds; name {tmp_path}/seed-2 or {tmp_path}/seed-10"
    )
    shown = call_cli("updetr", "info", "--path", tmp_path).stdout
    assert "seed-2, seed-10" in shown
    assert "not written yet" not in shown
    scores = {"AP": {"mean": 12.345, "sd": 1.5, "values": [13.4, 11.3]}}
    (tmp_path / "summary.json").write_text(json.dumps({"seeds": [2, 10], "scores": scores}))
    shown = json.loads(call_cli("updetr", "info", "--path", tmp_path, "--json").stdout)
    assert shown["scores, x 100: mean +- deviation"] == {"AP": "12.35 +- 1.50"}


def test_a_dilated_detector_is_read_back_without_timm(tmp_path):
    detector = small(backbone="resnet18", dilation=True)
    save_model(tmp_path / "dilated", detector)
    assert same(answers(load_model(tmp_path / "dilated")), answers(detector))
