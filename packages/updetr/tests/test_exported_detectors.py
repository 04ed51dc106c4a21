"""Exports: read and run by the programs they are for, on other images than those of the check inside."""

import ast
import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from small_detectors import answers, batch, same, shake, small

import nonet
import updetr
from nonet.errors import RunFailed, UserError
from nonet.testing import call_cli, run_cli
from updetr import exporting
from updetr.exporting import export, padded_images
from updetr.loading import new_detector, save_model
from updetr.query_patches import PatchDetector

SHUT_OUT = ("torchvision", "timm", "cv2", "torchmetrics")
transformers.TableTransformerForObjectDetection  # noqa: B018 - it looks for torchvision itself, and only once


@contextlib.contextmanager
def shut_out():
    """Make importing one of them an error."""
    before = {name: sys.modules[name] for name in SHUT_OUT if name in sys.modules}
    sys.modules.update(dict.fromkeys(SHUT_OUT))
    try:
        yield
    finally:
        for name in SHUT_OUT:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tuned", small(), {"steps": 7}, sizes=(64, 96))


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """A folder for transformers, and what the command said."""
    out = tmp_path_factory.mktemp("exports") / "hf"
    with shut_out():
        done = call_cli("updetr", "export", "hf", "--model", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_transformers_loads_an_export_and_gives_the_same_answers(exported):
    from transformers import AutoModelForObjectDetection

    out, said = exported
    assert {path.name for path in out.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "nonet.json", "preprocessor_config.json"
    }  # fmt: skip
    model, info = AutoModelForObjectDetection.from_pretrained(out, output_loading_info=True)
    assert type(model).__name__ == "TableTransformerForObjectDetection"
    assert not any(info.values())
    with torch.no_grad():
        found = model(pixel_values=batch().pixels, pixel_mask=batch().mask.long())
    assert same((found.logits, found.pred_boxes), answers(small()), atol=1e-5)
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "cow"}
    assert model.config.auxiliary_loss is False, "transformers would feed the last norm's result on"
    size = (out / "model.safetensors").stat().st_size
    assert f"weights: {size:,} bytes" in said
    assert "largest difference from" in said
    assert "all of the backbone learns" in (out / "README.md").read_text()


def test_all_of_the_backbone_learns_in_transformers_as_the_note_says(exported):
    from transformers import AutoModelForObjectDetection

    model = AutoModelForObjectDetection.from_pretrained(exported[0])
    assert all(weight.requires_grad for weight in model.model.backbone.parameters())


def test_a_pipeline_finds_what_the_detector_finds(exported):
    """The processor's picture is resized and normalised here by hand."""
    from PIL import Image
    from transformers import AutoImageProcessor, pipeline

    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    picture = Image.fromarray(pixels)
    with shut_out():
        processor = AutoImageProcessor.from_pretrained(exported[0])
        detect = pipeline("object-detection", model=str(exported[0]), image_processor=processor, device="cpu")
        found = detect(picture, threshold=0.0)
    resized = np.asarray(picture.resize((96, 64), Image.Resampling.BILINEAR), np.float32) / 255
    normed = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    image = torch.from_numpy(normed.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        outputs = small()(updetr.batches.Images(image, torch.ones(1, 64, 96, dtype=torch.bool)))
    scores, labels = outputs.logits[-1][0].softmax(-1)[:, :-1].max(-1)
    cx, cy, w, h = outputs.boxes[-1][0].unbind(-1)
    expected = {
        (small().config.labels[label], *(round(number) for number in box))
        for label, box in zip(
            labels.tolist(),
            (
                torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
                * torch.tensor([48, 32, 48, 32])
            )
            .int()
            .tolist(),
            strict=True,
        )
    }
    assert {(each["label"], *each["box"].values()) for each in found} == expected
    assert sorted(each["score"] for each in found) == pytest.approx(sorted(scores.tolist()), abs=1e-4)


@pytest.mark.slow
def test_onnx_takes_images_of_any_number_and_size(folder, tmp_path):
    import onnxruntime

    done = call_cli("updetr", "export", "onnx", "--model", folder, "--out", tmp_path / "onnx")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    axes = {each.name: each.shape for each in [*session.get_inputs(), *session.get_outputs()]}
    assert axes == {
        "pixel_values": ["batch", 3, "height", "width"], "pixel_mask": ["batch", "height", "width"],
        "logits": ["batch", 12, 4], "pred_boxes": ["batch", 12, 4],
    }  # fmt: skip
    for shape in ((1, 64, 64), (2, 97, 130), (4, 240, 32)):
        images = padded_images(*shape)
        inputs = {"pixel_values": images.pixels.numpy(), "pixel_mask": images.mask.long().numpy()}
        found = [torch.from_numpy(each) for each in session.run(["logits", "pred_boxes"], inputs)]
        assert same(found, answers(small(), images), atol=1e-5)
    done = call_cli("updetr", "info", "--path", tmp_path / "onnx")
    assert "model.onnx" in done.stdout


def test_heads_of_patches_stay_behind_and_it_is_said(tmp_path):
    save_model(tmp_path / "pre", shake(PatchDetector(small(labels=("patch",)))))
    done = export(tmp_path / "pre", tmp_path / "hf", "hf")
    assert done.notes[0] == "the heads for patches stay behind: only this package locates patches"
    assert done.difference < 1e-5
    assert done.source_bytes == 4 * sum(
        tensor.numel() for tensor in small(labels=("patch",)).state_dict().values()
    )


def test_other_numbers_fail_the_run_and_leave_nothing(folder, tmp_path, monkeypatch):
    run_hf = exporting._run_hf

    def wrong(*arguments):
        logits, boxes = run_hf(*arguments)
        return logits, boxes + 1e-3

    monkeypatch.setattr(exporting, "_run_hf", wrong)
    with pytest.raises(RunFailed, match=r"the model gives other numbers \(by 0\.001"):
        export(folder, tmp_path / "hf", "hf")
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    save_model(tmp_path / "dilated", small(dilation=True))
    with pytest.raises(UserError, match=r"a dilated last stage \(DC5\) through timm alone.*export onnx"):
        export(tmp_path / "dilated", tmp_path / "hf", "hf")
    note = tmp_path / "dilated" / "updetr.json"
    note.write_text(note.read_text().replace("detr-prenorm", "rt-detr"))
    with pytest.raises(UserError, match="fixes the size of a rt-detr's images"):
        export(tmp_path / "dilated", tmp_path / "onnx", "onnx")
    done = call_cli("updetr", "export", "tflite", "--model", tmp_path / "dilated", "--out", tmp_path / "x")
    assert done.returncode == 2
    assert "tflite" in done.stderr


def test_an_export_is_converted_back(exported, tmp_path):
    done = call_cli("updetr", "convert", exported[0], "--out", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    assert "kind: TableTransformerForObjectDetection with resnet-tiny" in done.stdout
    note = json.loads((tmp_path / "back" / "updetr.json").read_text())
    assert note["sizes"] == [64, 96]
    refused = call_cli("updetr", "convert", exported[0], "--out", tmp_path / "no", "--heads", "2")
    assert (refused.returncode, "--heads is for checkpoint files" in refused.stderr) == (2, True)


def test_a_folder_of_ours_is_not_converted_and_the_error_names_what_to_do(folder, tmp_path):
    torch.manual_seed(0)
    config = replace(small().config, arch="deformable-detr", width=32)
    found = tmp_path / "found"
    save_model(found / "model", PatchDetector(new_detector(config)))
    (found / "run.json").write_text("{}")
    for source in (folder, found):
        done = call_cli("updetr", "convert", source, "--out", tmp_path / "out")
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert "is a model folder of this package already" in line
        assert f"`updetr export hf --model {source} --out FOLDER`" in line
        assert f"`updetr finetune --init {source}`" in line
    assert not (tmp_path / "out").exists()


def imported(path):
    """Every name that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_no_module_imports_what_may_be_broken_or_absent():
    """Neither ours nor any of nonet's that ours lead to."""
    roots = {name: Path(package.__path__[0]) for name, package in (("updetr", updetr), ("nonet", nonet))}
    files, found = set(), []
    todo = [path for path in roots["updetr"].rglob("*.py")]
    while todo:
        path = todo.pop()
        if path in files:
            continue
        files.add(path)
        for name in imported(path):
            first, *rest = name.split(".")
            if first in SHUT_OUT:
                found.append((path.name, name))
            if first in roots:
                place = roots[first].joinpath(*rest)
                todo += [each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()]
    assert found == []
    assert roots["nonet"] / "data" / "images.py" in files  # the walk gets beyond our own modules


@pytest.mark.slow
def test_a_process_without_torchvision_and_timm_exports(folder, tmp_path):
    """In a process of its own, whose first import of one of them fails."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({SHUT_OUT!r}))\n", encoding="utf-8"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_cli(
        "updetr", "export", "hf", "--model", folder, "--out", tmp_path / "hf", env={"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
