import json

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.errors import UserError
from nonet.testing import call_cli
from updetr import locating
from updetr.batches import Images, Outputs
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.loading import save_model
from updetr.locating import as_patch, locate, overlap, parse_box
from updetr.query_patches import PatchDetector

CONFIG = DetectorConfig(
    backbone="resnet-tiny",
    width=32,
    heads=4,
    encoder_layers=1,
    decoder_layers=1,
    hidden=32,
    queries=8,
    patches=2,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PatchDetector(Detector(CONFIG)).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("locating")
    save_model(place / "model", model, sizes=(64, 96))
    save_model(place / "detector", model.detector, sizes=(64, 96))
    picture().save(place / "image.png")
    picture().crop((10, 20, 40, 44)).save(place / "crop.png")
    return place


def picture():
    colours = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    return Image.fromarray(colours)


class Stub(torch.nn.Module):
    """A model whose answers are known: three queries for each of two patches."""

    def __init__(self, sigmoid):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.detector = self
        self.config = DetectorConfig(queries=6, patches=2)
        self.sigmoid = sigmoid

    def encode(self, images):
        assert isinstance(images, Images)
        assert images.mask.all()
        return "memory"

    def patch_features(self, patches):
        return patches.mean((-1, -2))

    def forward(self, memory, features):
        assert memory == "memory"
        logits = torch.tensor([[0.0, 1.0], [3.0, 0.0], [1.0, 1.0], [9.0, 9.0], [0.0, 2.0], [0.5, 0.0]])
        boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4]]).repeat(6, 1)
        boxes[:, 0] = torch.arange(6) / 10
        count = 3 * features.shape[1]
        logits = logits[:, :1] if self.sigmoid else logits
        return Outputs(logits[None, None, :count], boxes[None, None, :count])


@pytest.mark.parametrize(("sigmoid", "best"), [(False, [1, 5]), (True, [1, 3])])
def test_the_box_of_a_patch_is_that_of_its_group_s_surest_query_in_pixels(sigmoid, best):
    found = locate(Stub(sigmoid), picture(), [picture(), picture()], short=64, longest=96)
    for place, query in zip(found, best, strict=True):
        centre = query / 10 * 90
        assert place.boxes[0].tolist() == pytest.approx([centre - 9, 18, centre + 9, 42], abs=1e-4)
        assert (place.scores[:-1] >= place.scores[1:]).all()
    chance = torch.tensor([3.0, 0.0]).softmax(0)[0] if not sigmoid else torch.tensor(3.0).sigmoid()
    assert float(found[0].scores[0]) == pytest.approx(float(chance))


def test_more_patches_than_groups_are_looked_for_in_several_passes(model):
    image = picture()
    patches = [image.crop((5 * i, 3 * i, 5 * i + 30, 3 * i + 20)) for i in range(5)]
    sizes = {"short": 64, "longest": 96, "patch_size": 32}
    together = locate(model, image, patches, **sizes)
    apart = [
        each for first in (0, 2, 4) for each in locate(model, image, patches[first : first + 2], **sizes)
    ]
    assert len(together) == 5
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes)
        torch.testing.assert_close(one.scores, other.scores)
        assert one.boxes.shape == (4, 4)


def test_a_patch_is_resized_whole_and_normalised():
    flat = Image.new("RGB", (7, 50), (255, 0, 128))
    pixels = as_patch(flat, 16)
    wanted = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    assert pixels.shape == (3, 16, 16)
    assert pixels.mean((1, 2)).tolist() == pytest.approx(wanted, rel=1e-4)


def test_overlap_by_hand():
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1,2,3", "patch '1,2,3': give x,y,width,height in pixels, such as 10,20,64,64"),
        ("a,2,3,4", "patch 'a,2,3,4': give x,y,width,height in pixels, such as 10,20,64,64"),
        ("80,2,11,4", "patch '80,2,11,4' is not inside the image of 90 x 60 pixels"),
        ("0,0,0,4", "patch '0,0,0,4' is not inside the image of 90 x 60 pixels"),
    ],
)
def test_a_patch_that_cannot_be_cut_is_refused(text, error):
    with pytest.raises(UserError) as caught:
        parse_box(text, (90, 60))
    assert str(caught.value) == error


def test_locate_prints_a_line_for_each_box_and_writes_them_with_a_picture(folder):
    done = call_cli(
        "updetr", "locate", folder / "image.png", "--model", folder / "model", "--patch", "10,20,30,24",
        "0,0,20,20", "--patch-file", folder / "crop.png", "--top", "2", "--patch-size", "32",
        "--out", folder / "out", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert done.stderr == ""
    report = json.loads((folder / "out" / "located.json").read_text())
    assert [row["patch"] for row in report["found"][::2]] == [
        "10,20,30,24",
        "0,0,20,20",
        str(folder / "crop.png"),
    ]
    assert "iou" in report["found"][0]
    assert "iou" not in report["found"][-1]
    first, second = report["found"][:2]
    assert overlap(first["box"], (10, 20, 40, 44)) == pytest.approx(first["iou"], abs=1e-3)
    assert first["score"] >= second["score"]
    with Image.open(folder / "out" / "located.png") as page:
        assert page.width == 112  # room for one thumbnail of 96 and its margins
        assert page.height > 60


def test_a_patch_is_as_large_as_the_model_was_trained_with_unless_another_size_is_given(
    model, folder, monkeypatch
):
    seen = []

    def noted(picture, size):
        seen.append(size)
        return as_patch(picture, size)

    monkeypatch.setattr(locating, "as_patch", noted)
    save_model(folder / "trained", model, {"options": "patch_size: 48\n"}, sizes=(64, 96))
    for name, words in (("trained", ()), ("trained", ("--patch-size", "32")), ("model", ())):
        done = call_cli(
            "updetr", "locate", folder / "image.png", "--model", folder / name, "--patch", "10,20,30,24",
            "--device", "cpu", *words,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert seen == [48, 32, 128]  # the last one does not say


def test_more_boxes_than_a_patch_has_are_said_to_be_too_many(folder):
    done = call_cli(
        "updetr", "locate", folder / "image.png", "--model", folder / "model", "--patch", "1,1,9,9", "--top",
        "50", "--patch-size", "32", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == f"top is 50, and {folder}/model has 4 boxes for each patch\n"
    assert len(done.stdout.splitlines()) == 4


def test_the_help_of_locate_tells_the_two_forms_of_boxes_apart():
    shown = " ".join(call_cli("updetr", "locate", "--help").stdout.split())
    assert "x,y,width,height in pixels" in shown
    assert "xyxy: left, top, right, bottom" in shown


def test_locate_ends_with_1_where_nothing_is_sure_enough_and_refuses_models_without_patches(folder):
    def called(name, *more):
        return call_cli(
            "updetr", "locate", folder / "image.png", "--model", folder / name, "--patch", "1,1,9,9", *more
        )

    done = called("model", "--score", "1", "--device", "cpu")
    assert (done.returncode, done.stdout) == (1, "1,1,9,9: not found with a score of 1 or more\n")
    done = called("detector", "--device", "cpu")
    assert done.returncode == 2
    assert "a detector that cannot be told a patch" in done.stderr
