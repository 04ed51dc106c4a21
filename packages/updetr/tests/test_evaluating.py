"""Scores of detectors: a perfect one has full marks, what cannot be read counts as not found."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from nonet.errors import UserError
from nonet.testing import call_cli
from updetr.batches import Outputs, Targets
from updetr.data_convert import convert
from updetr.evaluating import evaluate, write_evaluation
from updetr.labelled_data import read_labelled
from updetr.loading import save_model
from updetr.pretrain_module import floor_overlap, found_overlap

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import write_rectangles
from small_detectors import small


class Oracle(nn.Module):
    """Says the true boxes of the images as they come, its queries beyond them no object."""

    sigmoid = False

    def __init__(self, labelled, readable=None):
        super().__init__()
        self.config = SimpleNamespace(labels=labelled.names)
        self.images = [image for i, image in enumerate(labelled.images) if readable is None or i in readable]

    def forward(self, images):
        mine, self.images = self.images[: len(images.pixels)], self.images[len(images.pixels) :]
        logits, boxes = torch.zeros(1, len(mine), 6, 3), torch.zeros(1, len(mine), 6, 4)
        logits[..., 2] = 20.0
        for row, image in enumerate(mine):
            scale = torch.tensor([image.width, image.height] * 2)
            xyxy = torch.from_numpy(image.boxes) / scale
            count = len(image.labels)
            boxes[0, row, :count] = torch.cat(
                [(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1
            ).float()
            logits[0, row, range(count), torch.from_numpy(image.labels)] = 40.0
        return Outputs(logits, boxes)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return read_labelled(write_rectangles(tmp_path_factory.mktemp("eval") / "pictures", 5), mend=False)


def test_a_perfect_detector_has_full_marks_and_absent_sizes_have_none(labelled, tmp_path):
    done = evaluate(Oracle(labelled), labelled, scale=48, longest=64, batch=2)
    scores = done.scores()
    assert scores["AP"] == scores["AP50"] == scores["VOC07"] == scores["VOC"] == pytest.approx(100)
    assert scores["APl"] is None  # no picture is large enough
    assert [row["class"] for row in done.classes()] == ["red", "blue"]
    assert {row["AP"] for row in done.classes()} == {"100.0"}
    assert "n/a" in done.text()
    write_evaluation(tmp_path / "out", done, labelled, "a test")
    kept = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert kept["scores"] == scores
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {entry["image_id"] for entry in results} == {1, 2, 3, 4, 5}
    assert {entry["category_id"] for entry in results if entry["score"] > 0.5} == {1, 2}


def test_the_boxes_of_an_unreadable_image_count_as_not_found(labelled, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    images = [replace(labelled.images[0], path=bad), *labelled.images[1:]]
    data = replace(labelled, images=images)
    done = evaluate(Oracle(data, readable={1, 2, 3, 4}), data, scale=48, longest=64, batch=1)
    assert len(done.detections) == 4
    assert done.unreadable[0].startswith(f"{bad}: ")
    total = sum(len(image.labels) for image in images)
    assert done.scores()["AR100"] < 100
    counts = torch.tensor([[int((image.labels == k).sum()) for k in (0, 1)] for image in images])
    shares = counts[1:].sum(0) / counts.sum(0)
    assert done.scores()["AR100"] == pytest.approx(100 * float(shares.mean()), abs=0.01)
    assert sum(done.boxes) == total
    assert (
        done.said()[-1] == f"{len(images[0].labels)} boxes of 1 images that cannot be read count as not found"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of a small detector of the rectangles' two classes."""
    return save_model(
        tmp_path_factory.mktemp("model") / "model", small(labels=("red", "blue")), sizes=(48, 64)
    )


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_a_missing_image_cannot_raise_the_scores_as_its_labels_are_refused(form, model, tmp_path):
    source = write_rectangles(tmp_path / "pictures", 5)
    file = tmp_path / "pictures" / "002.png"
    if form != "coco":
        source, _ = convert(read_labelled(source), form, tmp_path / form, "mine", placing="copy")
        file = next(path for path in (tmp_path / form).rglob("002.png"))
    if form == "yolo":  # of a folder the images are those that are there; a list may name others
        data = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
        (tmp_path / "yolo" / "mine.txt").write_text("".join(f"images/mine/{i:03}.png\n" for i in range(5)))
        (tmp_path / "yolo" / "data.yaml").write_text(yaml.safe_dump(data | {"val": "mine.txt"}))
        source = source.removesuffix("mine") + "val"
    words = ("updetr", "evaluate", "--model", model, "--data", source, "--device", "cpu")
    whole = file.read_bytes()
    file.write_bytes(whole[:-60])  # its header is there, its pixels are not
    done = call_cli(*words)
    assert done.returncode == 0, done.stderr
    boxes = len(read_labelled(source).images[2].labels)
    assert f"{boxes} boxes of 1 images that cannot be read count as not found\n" in done.stdout
    file.unlink()
    done = call_cli(*words, "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, "")
    assert f"{source}: 1 of 5 images cannot be scored (" in done.stderr
    assert "002" in done.stderr
    assert not (tmp_path / "out").exists()


def test_other_classes_are_refused(labelled):
    with pytest.raises(UserError, match="classes are red, blue, the data's x, y"):
        evaluate(Oracle(labelled), replace(labelled, names=("x", "y")), scale=48, longest=64)


def test_a_patch_is_found_by_the_surest_query_of_its_own_group():
    boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]])
    targets = Targets(torch.zeros(2, dtype=torch.int64), boxes, [2])
    said = torch.stack([boxes[1], boxes[0], boxes[1], boxes[0]])[None, None]  # two queries a patch
    sure = torch.tensor([0.0, 1.0, 3.0, 0.0])
    logits = torch.stack([sure, -sure], -1)[None, None]
    assert found_overlap(Outputs(logits, said), targets).tolist() == [1.0, 1.0]
    assert found_overlap(Outputs(-logits, said), targets).tolist() == [0.0, 0.0]
    floor = floor_overlap(targets)  # 0.4 x 0.8 of the middle box lies in each half
    assert floor.tolist() == pytest.approx([0.32 / (0.5 + 0.64 - 0.32)] * 2)


def test_the_floor_of_random_patches_is_what_the_readme_says():
    from updetr.patch_sampling import patches_of, relative_boxes

    drawn = [relative_boxes(patches_of(0, 0, i, 500, 400, 10, least=8), 500, 400) for i in range(300)]
    boxes = torch.cat([torch.from_numpy(part) for part in drawn])
    targets = Targets(torch.zeros(len(boxes), dtype=torch.int64), boxes, [10] * 300)
    assert float(floor_overlap(targets).mean()) == pytest.approx(0.31, abs=0.015)
