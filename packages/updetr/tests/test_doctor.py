"""`doctor`: each thing that keeps a detector from learning is named, and good ones pass."""

import dataclasses

import pytest
import torch
from PIL import Image, ImageDraw

from nonet.data.coco_boxes import write_coco
from nonet.data.labelled_boxes import BoxRows, LabelledImages
from nonet.runs import Run
from nonet.testing import call_cli, data_folder, one_thread
from updetr.batches import Outputs
from updetr.commands.finetune import Options
from updetr.detector_config import DetectorConfig
from updetr.doctor import _easiest
from updetr.doctor_answers import _labels, answer_findings
from updetr.doctor_data import data_findings
from updetr.doctor_training import metric_findings, option_findings
from updetr.finetune_run import read_sides
from updetr.labelled_data import read_labelled
from updetr.loading import new_detector, save_model
from updetr.overfitting import ENOUGH, overfit
from updetr.query_patches import PatchDetector

CONFIG = DetectorConfig(
    backbone="resnet-tiny", width=32, heads=4, encoder_layers=0, decoder_layers=2, hidden=64, queries=6,
    patches=1, labels=("dark", "light"),
)  # fmt: skip


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Grey pictures of 96 x 64 with a dark square, a light one, or both."""
    folder = tmp_path_factory.mktemp("squares")
    images = []
    for number in range(6):
        picture, rows = Image.new("RGB", (96, 64), "grey"), BoxRows()
        for label, colour in enumerate(("black", "white")):
            if number % 3 != 1 - label:
                left, top = 12 * (number % 4) + 24 * label, 6 * number
                ImageDraw.Draw(picture).rectangle((left, top, left + 24, top + 24), fill=colour)
                rows.add((left, top, left + 25, top + 25), label, "")
        picture.save(folder / f"{number}.png")
        images.append(rows.image(folder / f"{number}.png", 96, 64, number + 1, []))
    data = LabelledImages(images=images, names=("dark", "light"), category_ids=(1, 2))
    write_coco(data, folder / "train.json")
    return data


def looked(found):
    return {one.about: (one.level, one.says) for one in found}


def data_looked(data, names=("dark", "light"), queries=6, stride=16, scale=64):
    return looked(data_findings(data, names, queries=queries, stride=stride, scale=scale, longest=96))


def test_good_labels_pass(squares):
    many = dataclasses.replace(squares, images=squares.images * 3)
    found = data_looked(many)
    assert {level for level, _ in found.values()} == {"fine"}, found
    assert found["sizes"][1] == "the median box is 25 pixels across where the model sees it"
    assert found["queries"][1] == "6; an image has 2 boxes (2.png), 1.3 on average"


def test_each_fault_of_the_labels_is_named(squares):
    few = data_looked(squares)["boxes"]
    assert few == ("look", "few of dark (4), light (4): scores of these classes say little")
    dark = dataclasses.replace(squares, images=[image.keep(image.labels == 0) for image in squares.images])
    assert data_looked(dark)["boxes"] == ("look", "none of light: that class cannot be found")
    assert data_looked(squares, names=("dark",))["classes"][0] == "wrong"
    assert data_looked(squares, names=("light", "dark"))["classes"][0] == "look"
    assert data_looked(squares, names=("dark", "light", "red"))["classes"] == (
        "look", "the model has 3, the data 2 of them",
    )  # fmt: skip
    assert data_looked(squares, queries=1)["queries"][1].startswith(
        "1, but an image has 2 boxes (2.png); 2 boxes"
    )
    assert data_looked(squares, queries=2)["queries"][0] == "look"
    assert "lower loss.no_object" in data_looked(squares, queries=100)["queries"][1]
    none = dataclasses.replace(
        squares, images=[squares.images[0], *(image.keep([]) for image in squares.images[1:])]
    )
    assert data_looked(none)["images"][0] == "look"
    assert data_looked(squares, stride=64)["sizes"][0] == "look"
    assert data_looked(dataclasses.replace(squares, defects=["bad"]))["labels"][0] == "look"
    turned = dataclasses.replace(squares.images[0], width=64, height=96)
    level, says = data_looked(dataclasses.replace(squares, images=[turned]))["cxcywh"]
    assert (level, "boxes were drawn in 64 x 96" in says) == ("wrong", True)


@pytest.mark.parametrize(
    ("options", "about", "level", "says"),
    [
        ({"epochs": 1, "batch": 16}, "length", "wrong", "7 steps of 16, 1 passes over 100 images"),
        ({"epochs": 0, "batch": 16, "trainer": {"steps": 1000, "clip": 0.1}}, "length", "look", "143 passes"),
        ({"epochs": 300, "batch": 16}, "length", "fine", "2100 steps of 16, 300 passes"),
        (
            {"epochs": 300, "batch": 16, "trainer": {"accumulate": 4}},
            "length",
            "look",
            "525 steps of 4 x 16, 300 ",
        ),
        ({"trainer": {"steps": 700, "accumulate": 2}, "batch": 20}, "length", "look", "280 passes"),
        ({"rates": {"lr": 1e-2}}, "rates.lr", "look", "0.01, outside 1e-05..0.001"),
        ({"rates": {"backbone_lr": 5e-4}}, "rates.backbone_lr", "wrong", "0.0005 wrecks the backbone"),
        ({"trainer": {"clip": None}}, "trainer.clip", "look", "DETR is trained with 0.1"),
        ({"trainer": {"clip": 0.1}}, "rates", "fine", "0.0001, of the backbone 0, gradients clipped to 0.1"),
        ({}, "start", "wrong", "random weights"),
        ({"backbone_weights": "swav.pth"}, "start", "fine", "a new transformer on swav.pth"),
        ({"init": "pre"}, "start", "fine", "from pre"),
        ({"backbone": "resnet50"}, "start", "wrong", "random weights"),
        ({"backbone": "dinov2"}, "start", "fine", "a new transformer on dinov2, which brings its weights"),
    ],
)
def test_options_that_wreck_or_end_a_training_are_named(options, about, level, says):
    found = looked(option_findings(options, 100))[about]
    assert (found[0], says in found[1]) == (level, True), found


@pytest.mark.parametrize(
    ("losses", "scores", "expected"),
    [
        ([9, 5, 4], [0.0, 10.0, 12.0], {"loss": "fine", "AP50": "fine"}),
        ([9, 9, 9], [0.0, 0.0], {"loss": "wrong", "AP50": "wrong"}),
        ([9, float("nan"), 4], [float("nan"), 20.0, 5.0], {"loss": "wrong", "AP50": "look"}),
        ([9], [], {"loss": "look"}),  # one number is no trend
        ([], [], {"loss": "look"}),
    ],
)
def test_numbers_of_a_run_are_read(losses, scores, expected):
    lines = [{"step": i, "train/loss": loss} for i, loss in enumerate(losses)]
    lines += [{"step": i, "val/AP50": score} for i, score in enumerate(scores)]
    assert {about: level for about, (level, _) in looked(metric_findings(lines)).items()} == expected


def told(boxes, labels, probability=6.0):
    """A detector that answers these boxes (B, N, 4) cxcywh and labels, whatever it sees."""
    detector = new_detector(CONFIG)

    def forward(images):
        nonlocal boxes, labels
        count = len(images.pixels)
        mine, boxes = boxes[:count], boxes[count:]
        said, labels = labels[:count], labels[count:]
        logits = torch.nn.functional.one_hot(said, 3).float() * probability
        return Outputs(logits[None], mine[None])

    detector.forward = forward
    return detector


def truth(squares):
    """Boxes (6, 6, 4) and labels (6, 6) of the pictures, the rest small and no object."""
    boxes, labels = torch.full((6, 6, 4), 0.01), torch.full((6, 6), 2)
    for place, image in enumerate(squares.images):
        left, top, right, bottom = (torch.from_numpy(image.boxes) / torch.tensor([96, 64, 96, 64])).T
        count = len(image.labels)
        boxes[place, :count] = torch.stack(
            [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1
        ).float()
        labels[place, :count] = torch.from_numpy(image.labels)
    return boxes, labels


def answers(squares, boxes, labels):
    return looked(answer_findings(told(boxes, labels), squares, scale=64, longest=96))


def test_answers_are_told_apart(squares):
    boxes, labels = truth(squares)
    good = answers(squares, boxes, labels)
    assert {level for level, _ in good.values()} == {"fine"}, good
    assert good["AP50 here"][1] == "AP50 of these 6 images: 100.0"
    assert good["no object"][1].startswith("22.2 % of the queries")  # 8 of 36
    swapped = answers(squares, boxes, torch.tensor([1, 0, 2])[labels])
    assert swapped["labels of boxes"] == (
        "wrong",
        "0 % of the well placed boxes have the right class; dark as light, light as dark: "
        "is the order of the classes another?",
    )
    alike = answers(squares, boxes, torch.tensor([1, 1, 2])[labels])
    assert alike["labels of boxes"][0] == "fine"  # half are right
    nothing = answers(squares, boxes, torch.full_like(labels, 2))
    assert (nothing["no object"][0], nothing["overlap"][0]) == ("look", "fine")
    fixed = answers(squares, boxes[:1].expand(6, -1, -1) * 0.2, labels)
    assert (fixed["boxes differ"][0], fixed["overlap"][0]) == ("wrong", "wrong")
    broken = answers(squares, boxes * float("nan"), labels)
    assert broken["answers"][0] == "wrong"


def test_one_class_taken_for_another_is_no_other_order(squares):
    three = dataclasses.replace(squares, names=("dark", "light", "red"))
    said = [(0, 0)] * 2 + [(1, 2)] * 6 + [(2, 2)]
    assert _labels(three, said).level == "look"
    assert _labels(three, [(0, 1), (1, 2), (2, 0)] * 3).level == "wrong"


def test_a_few_images_are_learnt_by_heart_and_wrong_pictures_are_not(squares):
    torch.manual_seed(0)
    detector = new_detector(CONFIG)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    with one_thread():
        done = overfit(detector, squares.take([0, 1]), scale=64, longest=96, steps=120, lr=5e-3, every=20)
        same = dataclasses.replace(squares.images[0], path=squares.images[1].path)  # one picture, other boxes
        odd = dataclasses.replace(squares, images=[squares.images[1], dataclasses.replace(same, id=9)])
        worse = overfit(detector, odd, scale=64, longest=96, steps=40, lr=5e-3, every=40)
    assert done.ap50 > ENOUGH
    assert worse.ap50 < ENOUGH  # it cannot tell which of the two boxes is asked for
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())


def test_doctor_reads_a_run_and_says_what_is_wrong_with_it(squares, tmp_path):
    torch.manual_seed(0)
    folder = squares.images[0].path.parent
    options = Options(data=f"{folder}/train.json", batch=2, epochs=2.0, init="pre")
    with Run.create("updetr", "finetune", options, folder=tmp_path / "run", seed=0) as run:
        run.log(1, **{"train/loss": 9.0})
    words = ("doctor", "--run", run.folder, "--overfit-steps", "4", "--overfit-images", "2")
    early = call_cli("updetr", *words)
    assert (early.returncode, "look  model: the run has none yet" in early.stdout) == (1, True), early.stderr
    save_model(run.model, new_detector(CONFIG), sizes=(64, 96))
    done = call_cli("updetr", *words)
    assert done.returncode == 1
    abouts = [line[6:].partition(":")[0] for line in done.stdout.splitlines()[:-1]]
    assert abouts == [
        "classes", "boxes", "images", "queries", "cxcywh", "sizes", "labels", "length", "rates", "start",
        "loss", "no object", "boxes differ", "overlap", "AP50 here", "by heart",
    ]  # fmt: skip
    assert "wrong length: 6 steps of 2, 2 passes over 6 images" in done.stdout
    assert "by heart: step 4, loss" in done.stderr


@pytest.mark.parametrize(("exact", "boxes"), [(False, "dark (4), light (3)"), (True, "dark (3), light (3)")])
def test_doctor_looks_at_the_shots_that_the_run_was_trained_on(squares, tmp_path, exact, boxes):
    data = f"{squares.images[0].path.parent}/train.json"
    options = Options(data=data, shots=3, shots_exact=exact, subset_seed=7)
    train, _ = read_sides(options, list[str]().append)
    with Run.create("updetr", "finetune", options, folder=tmp_path / "run", seed=0) as run:
        run.log(1, **{"train/loss": 9.0})
    done = call_cli("updetr", "doctor", "--run", run.folder)
    assert f"few of {boxes}:" in done.stdout, done.stderr
    told = ", ".join(
        f"{name} ({count})" for name, count in zip(train.names, train.boxes_a_class(), strict=True)
    )
    assert told == boxes  # of what `finetune` reads


def test_doctor_refuses_what_it_cannot_look_at(squares, tmp_path):
    folder = squares.images[0].path.parent
    torch.manual_seed(0)
    save_model(tmp_path / "pre", PatchDetector(new_detector(CONFIG)), sizes=(64, 96))
    for words, said in (
        ((), "name a run, or a model and data"),
        (("--run", tmp_path / "none"), "not the folder of a run"),
        (("--model", tmp_path / "pre", "--data", f"{folder}/train.json"), "knows no class"),
        (("--model", tmp_path / "pre", "--data", "none.json"), "none.json: no file or folder none.json"),
    ):
        done = call_cli("updetr", "doctor", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_eight_images_of_bccd_are_learnt_by_heart():
    data = _easiest(read_labelled(f"voc:{data_folder('bccd', 'BCCD')}:train"), 8)
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, width=64, hidden=256, queries=20, labels=data.names)
    done = overfit(new_detector(config), data, scale=120, longest=160, steps=1500, every=100)
    assert done.ap50 > ENOUGH
