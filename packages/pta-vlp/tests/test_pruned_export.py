"""The pruned tower as ONNX files, run as their users run them."""

import json
import sys
from pathlib import Path

import pytest
import torch

from nonet.testing import call_cli, normal
from nonet.training.onnx_files import run_onnx
from pta_vlp.pruned_export import Image, Rest
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
from tiny_folders import write_folder

IDS = torch.tensor([[2, 5, 5, 5, 3], [2, 7, 9, 3, 0], [2, 30, 3, 0, 0], [2, 8, 8, 3, 0], [2, 3, 0, 0, 0]])
MASK = (IDS > 0).long()


def export(folder, *words):
    return call_cli(
        "pta-vlp",
        "export",
        "--model",
        folder / "model",
        "--format",
        "pruned",
        "--out",
        folder / "out",
        *words,
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder with an export of a quarter of the patches, and what the verb printed."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("mixed")
    model, detector = write_folder(folder / "model", selection="mixed", alpha=0.9)
    done = export(folder, "--keep", "0.25")
    assert done.returncode == 0, done.stderr
    return folder, model, detector, done.stdout


@pytest.mark.slow
@torch.no_grad()
def test_an_image_is_seen_once_and_pruned_for_each_of_its_texts(mixed):
    folder, model, detector, said = mixed
    assert "out: pruned; largest difference" in said
    images, of_image = normal(2, 3, 48, 48), torch.tensor([0, 1, 1, 0, 1])
    shared = run_onnx(folder / "out" / "image.onnx", {"pixel_values": images})
    words = run_onnx(folder / "out" / "text.onnx", {"input_ids": IDS, "attention_mask": MASK})["words"]
    pairs = {name: value[of_image] for name, value in shared.items()} | {"text_cls": words[:, 0]}
    found = run_onnx(folder / "out" / "pruned.onnx", pairs)
    inputs = {"tokens": found["tokens"], "words": words, "attention_mask": MASK}
    logits = run_onnx(folder / "out" / "match.onnx", inputs)["logits"]
    options = SelectOptions(selection="mixed", alpha=0.9, block=0, keep=0.25)
    texts = model.encode_text(IDS, MASK)
    wanted = PrunedVision(model.vision, detector, options).eval()(images, texts[:, 0], of_image)
    assert torch.equal(found["kept"], wanted.kept)
    assert len({tuple(row) for row in wanted.kept[of_image == 1].tolist()}) > 1, "all texts keep the same"
    torch.testing.assert_close(found["tokens"], wanted.tokens, atol=1e-4, rtol=1e-4)
    fused = model.fusion(wanted.tokens, None, texts, MASK)[1]
    torch.testing.assert_close(logits, model.itm_logits(fused), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_of_equal_patches_the_first_are_kept_as_in_the_model(mixed):
    inputs = {"patches": torch.ones(2, 37, 32), "image_part": torch.ones(2, 36, 16)}
    inputs |= {"attention": torch.ones(2, 36), "text_cls": normal(2, 32)}
    assert run_onnx(mixed[0] / "out" / "pruned.onnx", inputs)["kept"].tolist() == [list(range(9))] * 2


@pytest.mark.slow
def test_what_a_program_needs_beside_the_weights_lies_there_too(mixed):
    folder = mixed[0] / "out"
    facts = json.loads((folder / "config.json").read_text())
    assert (facts["patches"], facts["kept"], facts["keep"], facts["block"]) == (36, 9, 0.25, 0)
    assert json.loads((folder / "preprocessor_config.json").read_text())["size"] == {
        "height": 48,
        "width": 48,
    }
    assert (folder / "tokenizer_config.json").is_file()
    assert "selection: mixed" in (folder / "README.md").read_text()


@torch.no_grad()
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("selection", ["text", "mixed", "attention"])
def test_what_onnx_can_select_with_selects_as_the_model_does(selection, fuse, late, tmp_path):
    model, detector = write_folder(tmp_path / "model", words=False)
    options = SelectOptions(selection=selection, block=0, keep=0.3, alpha=0.6, fuse=fuse, late=late)
    pruned = PrunedVision(model.vision, detector, options).eval()
    images, cls = normal(3, 3, 48, 48), normal(3, 32, seed=1)
    found = Image(pruned)(images)
    if selection != "attention":
        found = Rest(pruned)(*found, cls)
    wanted = pruned(images, cls)
    assert torch.equal(found[1], wanted.kept)
    torch.testing.assert_close(found[0], wanted.tokens, atol=1e-5, rtol=1e-5)


def test_what_prunes_nothing_is_refused_and_nothing_is_written(tmp_path):
    write_folder(tmp_path / "model", selection="off")
    refused = export(tmp_path)
    assert (refused.returncode, "selection off at keep 0.5 prunes nothing" in refused.stderr) == (2, True)
    for words, text in (
        (["--keep", "1"], "keep is 1; it is above 0 and below 1"),
        (["--format", "timm", "--keep", "0.5"], "keep is for --format pruned, not for timm"),
    ):
        refused = call_cli(
            "pta-vlp",
            "export",
            "--model",
            tmp_path / "model",
            "--out",
            tmp_path / "out",
            *(["--format", "pruned"] if "--format" not in words else []),
            *words,
        )
        assert (refused.returncode, text in refused.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
