import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.data.labelled_boxes import LabelledImage, LabelledImages
from nonet.errors import UserError
from nonet.testing import call_cli
from updetr.batches import Outputs
from updetr.box_transforms import Augmentation
from updetr.detector import Memory
from updetr.oneshot_data import (
    Crop,
    Crops,
    OneShotImages,
    collate,
    crops_of,
    only_classes,
    seen_and_unseen,
)
from updetr.oneshot_scores import drawn, repeated, score_oneshot, summary

NAMES = ("red", "green", "blue")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
# Each image's objects: class, left, top, right, bottom.
OBJECTS = (
    (("red", 4, 4, 24, 24), ("blue", 40, 8, 70, 40)),
    (("red", 10, 20, 40, 50), ("green", 50, 4, 76, 30)),
    (("blue", 2, 30, 30, 58), ("green", 36, 10, 60, 34)),
    (("red", 30, 30, 66, 54),),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four pictures of coloured rectangles, and their boxes in COCO's format."""
    folder = tmp_path_factory.mktemp("oneshot")
    record = {"images": [], "annotations": [], "categories": []}
    record["categories"] = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    for number, objects in enumerate(OBJECTS, 1):
        picture = Image.new("RGB", (80, 60), (90, 90, 90))
        for name, left, top, right, bottom in objects:
            picture.paste(COLOURS[name], (left, top, right, bottom))
            box = [left, top, right - left, bottom - top]
            record["annotations"].append(
                {"id": len(record["annotations"]) + 1, "image_id": number, "bbox": box, "iscrowd": 0,
                 "category_id": NAMES.index(name) + 1, "area": box[2] * box[3]}
            )  # fmt: skip
        picture.save(folder / f"{number}.png")
        record["images"].append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
    (folder / "boxes.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def labelled(files):
    images = []
    for number, objects in enumerate(OBJECTS, 1):
        boxes = np.array([box for _, *box in objects], float)
        none = np.zeros(len(boxes), bool)
        images.append(
            LabelledImage(
                path=files / f"{number}.png", width=80, height=60, boxes=boxes, crowd=none, difficult=none,
                labels=np.array([NAMES.index(name) for name, *_ in objects]), id=number,
                areas=np.prod(boxes[:, 2:] - boxes[:, :2], 1),
            )
        )  # fmt: skip
    return LabelledImages(images=images, names=NAMES, category_ids=(1, 2, 3))


class Painter(torch.nn.Module):
    """A model that knows the answer: where the image has the colour of the crop."""

    def __init__(self):
        super().__init__()
        self.detector = SimpleNamespace(encode=self.encode, sigmoid=False, config=SimpleNamespace(queries=2))

    def encode(self, images):
        pixels = images.pixels
        return Memory(pixels, pixels, images.mask, (pixels,))

    def patch_features(self, patches):
        return patches.mean((-1, -2))

    def forward(self, memory, features, *, group):
        assert group == 2
        boxes = torch.zeros(len(features), 2, 4)
        logits = torch.zeros(len(features), 2, 2)
        for row, (pixels, colour) in enumerate(zip(memory.memory, features[:, 0], strict=True)):
            ys, xs = torch.nonzero((pixels - colour[:, None, None]).abs().amax(0) < 0.5, as_tuple=True)
            if not len(xs):
                continue  # the colour is not there
            left, right, top, bottom = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
            h, w = pixels.shape[1:]
            found = [(left + right) / 2 / w, (top + bottom) / 2 / h, (right - left) / w, (bottom - top) / h]
            boxes[row, 0] = torch.tensor(found)
            logits[row] = torch.tensor([[5.0, 0.0], [-5.0, 0.0]])
        return Outputs(logits[None], boxes[None])


def test_one_that_finds_the_colour_of_the_crop_has_a_perfect_score(labelled):
    crops = crops_of(labelled, 8, labelled)
    scores = score_oneshot(Painter(), labelled, crops, scale=60, longest=80, patch_size=16, queries=2)
    assert scores.ap50.shape == (2, 3)
    np.testing.assert_allclose(scores.ap50, 1)
    np.testing.assert_allclose(scores.voc, 1)
    assert set(scores.shown[1]) == {"red", "blue"}
    assert set(scores.shown[1]["red"]) == {"2/0", "4/0"}  # of the other images with red
    assert scores.shown[1]["blue"] == ["3/0", "3/0"]  # there is one only
    record = summary(scores, NAMES, ["red", "green"], ["blue"])
    assert record["means"]["unseen"]["AP50"] == pytest.approx(100)


def test_one_that_is_shown_another_colour_scores_nothing(labelled):
    swapped = Crops(labelled, least=8)
    swapped.of_class = [swapped.of_class[2], swapped.of_class[0], swapped.of_class[1]]
    scores = score_oneshot(
        Painter(), labelled.take([1]), swapped, scale=60, longest=80, patch_size=16, queries=1
    )
    assert scores.ap50[0][:2].tolist() == [0, 0]
    assert np.isnan(scores.ap50[0][2])  # the image has no blue, and was not asked for it


def test_an_item_has_all_boxes_of_one_class_and_a_crop_of_it_from_another_image(labelled):
    crops = crops_of(labelled, 8, labelled)
    augment = Augmentation(scales=(60,), longest=80, crop=0, flip=0)
    data = OneShotImages(labelled, augment, crops, patch_size=12, seed=3)
    seen = set()
    for epoch in range(8):
        for index, objects in enumerate(OBJECTS):
            item = data[(epoch, index)]
            image, box = (int(part) for part in item["name"].split("/"))
            shown = OBJECTS[image - 1][box][0]
            mean = item["patch"].float().mean((1, 2)).tolist()
            assert mean == pytest.approx(COLOURS[shown], abs=1)
            wanted = [
                [(left + right) / 160, (top + bottom) / 120, (right - left) / 80, (bottom - top) / 60]
                for name, left, top, right, bottom in objects if name == shown
            ]  # fmt: skip
            np.testing.assert_allclose(item["boxes"], wanted, atol=1e-6)
            assert item["labels"].tolist() == [0] * len(wanted)
            assert image != index + 1
            seen.add((index, shown))
    assert seen == {(index, name) for index, objects in enumerate(OBJECTS) for name, *_ in objects}
    again = OneShotImages(labelled, augment, crops, patch_size=12, seed=3)
    assert again[(5, 0)]["name"] == data[(5, 0)]["name"]
    assert collate([data[(0, 0)], data[(0, 1)]])["patches"].shape == (2, 3, 12, 12)


def test_another_crop_is_shown_in_the_place_of_one_that_cannot_be_read(labelled, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    images = [labelled.images[0], replace(labelled.images[1], path=bad), *labelled.images[2:]]
    broken = replace(labelled, images=images)
    augment = Augmentation(scales=(60,), longest=80, crop=0, flip=0)
    data = OneShotImages(broken, augment, crops_of(broken, 8, broken), patch_size=12, seed=3)
    noted = []
    for epoch in range(12):
        batch = collate([data[(epoch, 3)]])  # the last image has red alone, and is shown the first one's
        assert batch["patches"].float().mean((0, 2, 3)).tolist() == list(COLOURS["red"])
        noted.append([note.file for note in batch["notes"]])
    assert 0 < noted.count([str(bad)]) == 12 - noted.count([]) < 12
    one = collate([data[(0, 1)]])  # an image that cannot be read, alone in its batch
    assert one["notes"][0].file == str(bad)
    assert one["ids"] != [2]


def test_an_image_is_asked_with_crops_of_others_in_an_order_that_its_id_decides(labelled):
    crops = Crops(labelled, least=8)
    image = labelled.images[0]
    assert drawn(crops, 0, image, 0, 2) == drawn(crops, 0, image, 0, 2)
    assert set(drawn(crops, 0, image, 0, 2)) == {Crop(1, 0), Crop(3, 0)}
    assert len(set(drawn(crops, 0, image, -1, 3))) == 3  # of another data set none is left out
    assert [crop.image for crop in drawn(crops, 0, image, 0, 4)].count(1) == 2
    orders = {tuple(drawn(crops, 0, labelled.images[i], -1, 3)) for i in range(4)}
    assert len(orders) > 1


def test_small_crowded_and_difficult_objects_are_not_shown(labelled):
    assert [len(some) for some in Crops(labelled, least=25).of_class] == [1, 1, 2]
    image = labelled.images[0]
    marked = LabelledImages(
        images=[LabelledImage(**{**vars(image), "difficult": np.array([True, False])})],
        names=NAMES, category_ids=(1, 2, 3),
    )  # fmt: skip
    assert [len(some) for some in Crops(marked, least=8).of_class] == [0, 0, 1]
    with pytest.raises(UserError, match="no red can be shown"):
        crops_of(marked, 8, marked)


def test_classes_that_are_not_seen_have_no_box_in_training(labelled):
    seen, unseen = seen_and_unseen(NAMES, ("blue",))
    assert (seen, unseen) == (("red", "green"), ("blue",))
    kept = only_classes(labelled, ("blue",))
    assert [image.id for image in kept.images] == [1, 3]
    assert [image.labels.tolist() for image in kept.images] == [[2], [2]]
    with pytest.raises(UserError, match="the data has no class cow; it has red, green, blue"):
        seen_and_unseen(NAMES, ("cow",))
    with pytest.raises(UserError, match="are left out; leave some to train on"):
        seen_and_unseen(NAMES, NAMES)


def test_a_memory_is_repeated_as_it_is():
    memory = Memory(*(torch.rand(1, 5, 4) for _ in range(3)), maps=(torch.rand(1, 2, 2, 2),))
    many = repeated(memory, 3)
    assert many.memory.shape == (3, 5, 4)
    assert torch.equal(many.positions[2], memory.positions[0])
    assert many.maps == ()


def test_training_begins_with_what_has_learnt_to_ask(tmp_path):
    from updetr.commands.oneshot import Options
    from updetr.detector import Detector
    from updetr.detector_config import DetectorConfig
    from updetr.loading import save_model
    from updetr.oneshot_run import start_model
    from updetr.query_patches import PatchDetector
    from updetr.train_options import SizeOptions

    torch.manual_seed(0)
    sizes = {"backbone": "resnet-tiny", "width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 1}
    config = DetectorConfig(**sizes, hidden=32, queries=8, patches=2)
    pretrained = PatchDetector(Detector(config))
    save_model(tmp_path / "model", pretrained)
    said = []
    options = Options(action="train", data="coco:a.json", init=str(tmp_path / "model"))
    model = start_model(options, said.append)
    assert torch.equal(model.patch2query.weight, pretrained.patch2query.weight)
    assert torch.equal(model.detector.query_embed.weight, pretrained.detector.query_embed.weight)
    assert model.feature_align is None
    assert model.detector.config.labels == ("object",)
    assert not torch.equal(model.detector.class_embed.weight, pretrained.detector.class_embed.weight)
    assert any("heads of patches are taken, too, but for the one that reconstructs" in line for line in said)
    for change, text in (
        ({"arch": "detr"}, "arch is detr, but that of .*model is detr-prenorm: leave it out"),
        ({"size": SizeOptions(queries=12)}, "queries is 12, but that of .*model is 8: leave it out"),
    ):
        with pytest.raises(UserError, match=text):
            start_model(replace(options, **change), said.append)
    thinned = start_model(replace(options, size=SizeOptions(dropout=0.3)), said.append)
    assert thinned.detector.config.dropout == 0.3


def test_training_and_scoring_on_the_command_line(files):
    sizes = [
        "--backbone", "resnet-tiny", "--size.width", 32, "--size.heads", 4, "--size.encoder-layers", 1,
        "--size.decoder-layers", 1, "--size.hidden", 32, "--size.queries", 6,
    ]  # fmt: skip
    data = f"coco:{files / 'boxes.json'},{files}"
    done = call_cli(
        "updetr", "oneshot", "train", "--data", data, "--unseen", "blue", *sizes, "--scales", 60,
        "--longest", 80, "--patch-size", 32, "--epochs", 0, "--trainer.steps", 2, "--batch", 2,
        "--out", files / "run", "--trainer.accelerator", "cpu", "--min-crop", 8,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 images, 5 crops of 2 classes; never seen: blue; 2 steps" in done.stderr
    done = call_cli(
        "updetr", "oneshot", "evaluate", "--data", data, "--model", files / "run", "--patch-size", 32,
        "--queries-per-image", 2, "--min-crop", 8, "--out", files / "scores", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all unseen" in done.stdout
    record = json.loads((files / "scores" / "oneshot.json").read_text())
    assert record["shown"]["4"] == {"red": record["shown"]["4"]["red"]}
    assert len(record["runs_AP50"]) == 2
    assert [row["side"] for row in record["classes"]] == ["seen", "seen", "unseen"]
    again = call_cli("updetr", "oneshot", "train", "--data", data, "--model", files / "run")
    assert again.returncode == 2
    assert "model belongs to evaluate" in again.stderr
