"""`predict`: the same boxes as one image at a time, in every format, whatever the files are like."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.data.coco_boxes import read_coco
from nonet.data.images import fitted_size, normalise
from nonet.testing import call_cli, one_thread
from updetr.batches import Images
from updetr.detector_config import DetectorConfig
from updetr.labelled_data import read_labelled
from updetr.loading import load_model, new_detector, save_model
from updetr.predicting import detect, surest
from updetr.query_patches import PatchDetector

CONFIG = DetectorConfig(
    backbone="resnet-tiny", width=16, heads=2, encoder_layers=1, decoder_layers=1, hidden=32, queries=8,
    patches=4, labels=("cat", "dog"),
)  # fmt: skip
SIZES = (64, 96)  # pixels of the shorter and the longer side


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A detector that sees something everywhere: no object is unlikely, and answers differ."""
    torch.manual_seed(0)
    detector = new_detector(CONFIG)
    with torch.no_grad():
        detector.class_embed.weight.mul_(4)
        detector.bbox_embed.layers[-1].weight.mul_(4)
    return save_model(tmp_path_factory.mktemp("model") / "detector", detector, sizes=SIZES)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two folders with a picture of the same name, a wide one, one turned by EXIF, and a broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, (width, height) in {
        "a/one": (90, 70),
        "b/one": (64, 80),
        "b/wide": (120, 50),
        "b/up": (100, 60),
    }.items():
        pixels = random.integers(0, 255, (height // 10, width // 10, 3), np.uint8)
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(pixels).resize((width, height))
        exif = Image.Exif()
        if name == "b/up":
            exif[0x0112] = 6
        image.save(path, exif=exif)
    (folder / "b" / "broken.png").write_bytes((folder / "b" / "one.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def found(model, pictures, tmp_path_factory):
    """The folder that `predict` wrote, what it said, and a score that half of the boxes reach."""
    paths = sorted(path for path in pictures.rglob("*.png") if path.stem != "broken")
    first = detect(load_model(model), paths, scale=SIZES[0], longest=SIZES[1], batch=1)
    score = round(float(torch.cat([one.scores for one in first.detections]).median()), 4)
    out = tmp_path_factory.mktemp("out") / "found"
    words = ("--out", out, "--format", "voc", "yolo", "--draw", "--score", score, "--batch", 1)
    done = call_cli("updetr", "predict", pictures, "--model", model, *words)
    assert done.returncode == 0, done.stderr
    return out, done, score


def test_boxes_are_those_of_one_image_at_a_time_in_pixels_of_the_file(model, found, pictures):
    out, *_ = found
    detector = load_model(model)
    known = {entry["id"]: entry for entry in json.loads((out / "images.json").read_text())["images"]}
    results = json.loads((out / "detections.json").read_text())
    assert len(results) == 4 * CONFIG.queries
    for number, entry in known.items():
        with Image.open(pictures / entry["file_name"]) as image:
            image = image.convert("RGB")
            if entry["file_name"].endswith("up.png"):
                image = image.transpose(Image.Transpose.ROTATE_270)
        assert image.size == (entry["width"], entry["height"])
        small = image.resize(fitted_size(*image.size, *SIZES), Image.Resampling.BILINEAR)
        pixels = normalise(torch.from_numpy(np.array(small)).permute(2, 0, 1))[None]
        with torch.no_grad(), one_thread():
            outputs = detector(Images(pixels, torch.ones_like(pixels[:, 0], dtype=torch.bool)))
        chances = outputs.logits[-1, 0].softmax(-1)[:, :-1]
        order = chances.amax(-1).argsort(descending=True)
        mine = [one for one in results if one["image_id"] == number]
        np.testing.assert_allclose([one["score"] for one in mine], chances.amax(-1)[order], atol=1e-5)
        assert [one["category_id"] - 1 for one in mine] == chances.argmax(-1)[order].tolist()
        cx, cy, w, h = (outputs.boxes[-1, 0][order] * torch.tensor([*image.size, *image.size])).T
        xywh = torch.stack([cx - w / 2, cy - h / 2, w, h], -1)
        np.testing.assert_allclose([one["bbox"] for one in mine], xywh, atol=0.01)


def test_what_was_turned_and_what_is_broken_is_said(found):
    out, done, _ = found
    assert "up.png: turned by its EXIF orientation 6" in done.stderr
    assert "left out: " in done.stderr
    assert "broken.png" in (out / "unreadable.txt").read_text()
    assert done.stdout.startswith("4 images, ")


def test_voc_and_yolo_files_and_pictures_hold_the_surest_boxes(found, pictures, tmp_path):
    out, _, score = found
    known = {entry["file_name"]: entry for entry in json.loads((out / "images.json").read_text())["images"]}
    sure = {}
    for one in json.loads((out / "detections.json").read_text()):
        if one["score"] >= score:
            sure.setdefault(one["image_id"], []).append(one)
    assert 4 < sum(map(len, sure.values())) < 28
    voc = read_labelled(f"voc:{linked(tmp_path / 'voc', pictures, out / 'voc', 'Annotations', 'JPEGImages')}")
    for name, entry in known.items():
        stem = name.removesuffix(".png")
        lines = [line.split() for line in (out / "yolo" / f"{stem}.txt").read_text().splitlines()]
        assert [int(line[0]) + 1 for line in lines] == [
            one["category_id"] for one in sure.get(entry["id"], [])
        ]
        np.testing.assert_allclose(
            [float(line[5]) for line in lines], [one["score"] for one in sure.get(entry["id"], [])], atol=1e-5
        )
        assert (out / "voc" / f"{stem}.xml").is_file()
        with Image.open(out / "drawn" / f"{stem}.jpg") as drawn:
            assert drawn.size == (entry["width"], entry["height"])
    assert sum(len(image.labels) for image in voc.images) == sum(map(len, sure.values()))
    assert (out / "yolo" / "classes.txt").read_text() == "cat\ndog\n"


def linked(root, pictures, labels, first, second):
    root.mkdir()
    (root / first).symlink_to(labels)
    (root / second).symlink_to(pictures)
    return root


def test_images_json_names_the_images_for_any_reader_of_coco(found, pictures):
    out, *_ = found
    data = read_coco(out / "images.json", pictures)
    assert sorted(image.path.relative_to(pictures).as_posix() for image in data.images) == [
        "a/one.png", "b/one.png", "b/up.png", "b/wide.png",
    ]  # fmt: skip
    assert data.names == ("cat", "dog")


def test_stored_pixels_and_fewer_boxes_are_to_be_had(model, pictures):
    detector = load_model(model)
    path = pictures / "b" / "up.png"
    turned, stored = (
        detect(detector, [path], scale=64, longest=96, orient=orient) for orient in (True, False)
    )
    assert (turned.images[0].width, stored.images[0].width) == (60, 100)
    assert "left aside" in stored.remarks[0]
    one = detect(detector, [path], scale=64, longest=96, top=3)
    assert len(one.detections[0].scores) == 3


def test_boxes_are_clipped_to_the_image_and_those_outside_left_out(model, pictures):
    found = detect(load_model(model), [pictures / "a" / "one.png"], scale=64, longest=96)
    image, one = found.images[0], found.detections[0]
    boxes = torch.tensor([[-5.0, -5, 30, 40], [100, 0, 120, 40], [10, 10, 20, 20]])
    one = one._replace(boxes=boxes, scores=torch.tensor([0.9, 0.8, 0.1]), labels=torch.tensor([1, 0, 0]))
    kept = surest(image, one, 0.5)
    assert kept.boxes.tolist() == [[0, 0, 30, 40]]
    assert (kept.labels.tolist(), kept.scores.round(1).tolist()) == ([1], [0.9])


def test_predict_refuses_what_cannot_work_and_writes_nothing(model, pictures, tmp_path):
    cases = [
        ((pictures, "--model", model, "--out", pictures), 2, "is not empty"),
        ((pictures, "--model", tmp_path / "none", "--out", "x"), 2, "none"),
        ((tmp_path / "no.png", "--model", model, "--out", "x"), 2, "no.png"),
        ((pictures, "--model", model, "--out", "x", "--score", "2"), 2, "it lies in 0..1"),
        ((pictures / "b" / "broken.png", "--model", model, "--out", "x"), 1, "1 of 1 images cannot be read"),
    ]
    for words, code, said in cases:
        done = call_cli("updetr", "predict", *words, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_pretrained_model_knows_no_classes(pictures, tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "pre", PatchDetector(new_detector(CONFIG)), sizes=SIZES)
    done = call_cli("updetr", "predict", pictures, "--model", tmp_path / "pre", "--out", tmp_path / "x")
    assert (done.returncode, "knows no class" in done.stderr) == (2, True), done.stderr
