import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from small_detectors import batch, shake, small

from nonet.errors import UserError
from nonet.metrics.panoptic import PanopticQuality, SegmentMap
from nonet.testing import call_cli, normal
from updetr.finetune_data import images_of
from updetr.labelled_data import read_labelled
from updetr.loading import save_model
from updetr.mask_head import AttentionMaps, MaskHead, Segmenter
from updetr.mask_losses import dice_loss, focal_loss, mask_losses
from updetr.panoptic_data import SegmentedImages, collate, masks_of
from updetr.panoptic_files import boxes_of, read_ids, read_panoptic, write_ids
from updetr.panoptic_merge import Sure, merge, sure_queries

NAMES = ("sky", "cat", "grass", "dog")  # ids 3, 7, 8, 300; cats and dogs are things
IDS = (3, 7, 8, 300)
THINGS = (False, True, False, True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three pictures: sky above grass, a cat and a dog on it; the dog of the last one is a crowd."""
    folder = tmp_path_factory.mktemp("panoptic")
    record = {"images": [], "annotations": [], "categories": []}
    for number, name, thing in zip(IDS, NAMES, THINGS, strict=True):
        record["categories"].append({"id": number, "name": name, "isthing": int(thing)})
    for number in (1, 2, 3):
        ids = np.full((48, 64), 1000)
        ids[20:] = 70000 + number
        ids[10:34, 4 * number : 4 * number + 20] = 77
        ids[30:44, 40:60] = 5
        ids[:2] = 0  # of no segment
        write_ids(folder / "truth" / f"{number}.png", ids)
        colours = {
            0: (0, 0, 0),
            1000: (90, 150, 255),
            70000 + number: (40, 160, 40),
            77: (250, 120, 0),
            5: (90, 50, 20),
        }
        pixels = np.zeros((48, 64, 3), np.uint8)
        for segment, colour in colours.items():
            pixels[ids == segment] = colour
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
        kinds = {1000: 3, 70000 + number: 8, 77: 7, 5: 300}
        pieces = [
            {"id": segment, "category_id": kind, "iscrowd": int(number == 3 and kind == 300)}
            for segment, kind in kinds.items()
        ]
        record["annotations"].append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": pieces}
        )
        record["images"].append({"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48})
    (folder / "truth.json").write_text(json.dumps(record))
    return folder


def segmenter():
    """A small detector with a mask head, all away from their initial values."""
    return shake(Segmenter(small(width=32, heads=2, labels=NAMES)), 3).eval()


def test_the_head_is_that_of_transformers_with_the_same_weights():
    from transformers.models.detr.modeling_detr import DetrMaskHeadSmallConv, DetrMHAttentionMap

    torch.manual_seed(0)
    # a width and channels for three finer maps, as ResNets with four stages have
    ours = MaskHead(32, 8, (12, 16, 20, 24)).eval()
    head = DetrMaskHeadSmallConv(40, [20, 16, 12], 32).eval()
    attention = DetrMHAttentionMap(32, 8).eval()
    shake(ours)
    state = ours.state_dict()
    attention.load_state_dict({name: state[f"attention.{name}"] for name in attention.state_dict()})
    renamed = {}
    for name in head.state_dict():
        mine = name.replace("output_conv", "output")
        if mine.startswith("fpn_stages"):
            _, level, part, *rest = mine.split(".")
            where = "adapters" if part == "fpn_adapter" else "stages"
            mine = ".".join([where, level, *rest])
        renamed[name] = state[mine]
    head.load_state_dict(renamed)
    maps = tuple(normal(2, c, 32 // 2**i, 24 // 2**i, seed=i) for i, c in enumerate((12, 16, 20, 24)))
    source, memory, states = (
        normal(2, 32, 4, 3, seed=7),
        normal(2, 32, 4, 3, seed=8),
        normal(2, 5, 32, seed=9),
    )
    padding = torch.zeros(2, 4, 3, dtype=torch.bool)
    padding[1, 3:] = True
    with torch.no_grad():
        blocked = padding[:, None, None] * torch.finfo(torch.float32).min
        weights = attention(states, memory, attention_mask=blocked)
        theirs = head(source, weights, [maps[2], maps[1], maps[0]]).view(2, 5, 32, 24)
        images = torch.tensor([0] * 5 + [1] * 5)
        found = ours(states.flatten(0, 1), images, source, memory, padding, maps)
        torch.testing.assert_close(found.view_as(theirs), theirs, rtol=1e-4, atol=1e-5)
        some = torch.tensor([7, 2, 9])  # those that matter alone
        part = ours(states.flatten(0, 1)[some], images[some], source, memory, padding, maps)
        torch.testing.assert_close(part, found[some], rtol=1e-4, atol=1e-5)


def test_attention_maps_of_a_query_sum_to_one_and_leave_padding_out():
    maps = shake(AttentionMaps(16, 4))
    padding = torch.zeros(3, 5, 6, dtype=torch.bool)
    padding[:, 3:] = True
    found = maps(normal(3, 16), normal(3, 16, 5, 6, seed=1), padding)
    assert found.shape == (3, 4, 5, 6)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(3))
    assert not found[:, :, 3:].any()


def test_only_the_head_learns_and_the_detector_stays_as_in_evaluation():
    model = segmenter().train()
    assert not model.detector.training
    memory, outputs, states = model.detect(batch(64, 64))
    assert outputs.logits.shape == (1, 2, 12, 5)
    images = torch.tensor([0, 1, 1])
    masks = model.masks(memory, states[images, torch.tensor([3, 0, 5])], images)
    assert masks.shape == (3, 16, 16)  # a quarter of the pixels' sides
    masks.sum().backward()
    assert model.masks(memory, states[0, :0], images[:0]).shape == (0, 16, 16)
    assert all(weight.grad is not None for weight in model.head.parameters())
    assert all(weight.grad is None for weight in model.detector.parameters())


@pytest.mark.slow
def test_a_head_learns_the_masks_of_a_picture(files):
    torch.manual_seed(0)
    model = Segmenter(small(width=32, heads=2, labels=NAMES)).train()
    images = SegmentedImages(read_panoptic(files / "truth.json"), scales=(48,), longest=64, flip=0.0, seed=0)
    held = collate([images[(0, 0)]])
    memory, _, _ = model.detect(images_of(held))
    rows, truth = torch.zeros(4, dtype=torch.int64), masks_of(held, torch.arange(4))
    states = normal(4, 32, seed=2)  # four queries that tell the four segments apart
    optimizer = torch.optim.AdamW(model.head.parameters(), 3e-3)
    fall = torch.optim.lr_scheduler.LinearLR(
        optimizer, 1.0, 0.0, 260
    )  # at a constant rate a late step may fail
    seen = []
    for _ in range(261):
        result = mask_losses(model.masks(memory, states, rows), truth)
        seen.append((float(result.total.detach()), float(result.logged["iou"])))
        optimizer.zero_grad()
        result.total.backward()
        optimizer.step()
        fall.step()
    assert seen[-1][0] < seen[0][0] / 2
    assert seen[-1][1] > 0.55


def test_losses_are_those_of_transformers():
    from transformers.loss.loss_for_object_detection import dice_loss as their_dice
    from transformers.loss.loss_for_object_detection import sigmoid_focal_loss

    logits, wanted = normal(4, 30), (normal(4, 30, seed=1) > 0).float()
    torch.testing.assert_close(focal_loss(logits, wanted).sum() / 4, sigmoid_focal_loss(logits, wanted, 4))
    torch.testing.assert_close(dice_loss(logits, wanted).sum() / 4, their_dice(logits, wanted, 4))


def test_a_perfect_mask_costs_nothing_and_a_batch_without_segments_neither():
    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[0, :4], truth[1, :, 6:] = True, True
    perfect = mask_losses((truth.float() - 0.5) * 100, truth)
    assert float(perfect.total) == pytest.approx(0, abs=1e-5)
    assert float(perfect.logged["iou"]) == 1
    none = mask_losses(torch.zeros(0, 8, 8, requires_grad=True), truth[:0])
    assert float(none.total.detach()) == 0


def test_colours_are_numbers_of_segments_and_back(tmp_path):
    ids = np.array([[0, 255, 256], [65535, 65536, 2**24 - 1]])
    write_ids(tmp_path / "a.png", ids)
    assert read_ids(tmp_path / "a.png").tolist() == ids.tolist()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.getpixel((2, 0)) == (0, 1, 0)
    Image.new("L", (2, 2)).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match=r"mode L; segments are colours, R \+ 256 G \+ 65536 B"):
        read_ids(tmp_path / "grey.png")


def test_annotations_are_read_with_classes_from_0_and_by_the_model_s_names(files):
    data = read_panoptic(files / "truth.json", segments=files / "truth")
    assert (data.names, data.category_ids, data.things) == (NAMES, IDS, THINGS)
    assert data.images[2].labels == {1000: 0, 70003: 2, 77: 1, 5: 3}
    assert data.images[2].crowd == {5}
    segments = data.images[0].segments()
    assert boxes_of(segments)[77] == (4, 10, 24, 34)
    other = data.with_names(("dog", "cat", "sky", "grass"))
    assert other.images[2].labels == {1000: 2, 70003: 3, 77: 1, 5: 0}
    assert other.category_ids == (300, 7, 3, 8)
    with pytest.raises(UserError, match="segments of dog, which the model does not know"):
        data.with_names(("sky", "cat", "grass"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda record: record.pop("categories"), "not panoptic annotations in COCO's format"),
        (lambda record: record["annotations"][0].update(image_id=9), r"annotation 0 \(from 0\): lacks"),
        (lambda record: record["annotations"][1].update(file_name="no.png"), "no file .*no.png"),
        (lambda record: record["annotations"].clear(), "has no annotation"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(files, tmp_path, change, error):
    record = json.loads((files / "truth.json").read_text())
    change(record)
    (tmp_path / "bad.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=error):
        read_panoptic(tmp_path / "bad.json", files, files / "truth")


def test_a_segment_that_the_json_lacks_is_named(files):
    image = read_panoptic(files / "truth.json").images[0]
    with pytest.raises(UserError, match="segment 77 is not in the JSON file"):
        image._replace(labels={1000: 0, 70001: 2, 5: 3}).segments()
    with pytest.raises(UserError, match="64 x 48 pixels, and the image has 64 x 40"):
        image._replace(height=40).segments()


def test_items_have_the_masks_of_all_segments_but_crowds(files):
    data = read_panoptic(files / "truth.json")
    images = SegmentedImages(data, scales=(24,), longest=32, flip=0.0, seed=0)
    items = [images[(0, index)] for index in range(3)]
    assert [sorted(item["labels"].tolist()) for item in items] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2]]
    held = collate(items)
    assert held["counts"] == [4, 4, 3]
    masks = masks_of(held, torch.arange(11))
    for row, item in enumerate(items):
        truth = data.images[row].segments()
        for place, label in enumerate(item["labels"].tolist()):
            (number,) = (n for n, k in truth.categories.items() if k == label)
            found = masks[sum(held["counts"][:row]) + place].numpy()
            np.testing.assert_array_equal(found, (truth.ids == number)[::2, ::2] | found & False)
            left, top, right, bottom = boxes_of(SegmentMap(found.astype(int), {1: 0}))[1]
            wanted = [(left + right) / 64, (top + bottom) / 48, (right - left) / 32, (bottom - top) / 24]
            np.testing.assert_allclose(item["boxes"][place], wanted, atol=1e-6)
    mirrored = SegmentedImages(data, scales=(24,), longest=32, flip=1.0, seed=0)[(0, 0)]
    np.testing.assert_array_equal(mirrored["segments"].flip(1) > 0, items[0]["segments"] > 0)


def test_another_image_is_trained_on_in_the_place_of_one_whose_segments_cannot_be_read(files, tmp_path):
    data = read_panoptic(files / "truth.json")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    broken = data._replace(images=[data.images[0]._replace(path=bad), *data.images[1:]])
    images = SegmentedImages(broken, scales=(24,), longest=32, flip=0.0, seed=0)
    for epoch in range(6):
        held = collate([images[(epoch, 0)]])  # alone in its batch
        assert {(note.file, note.skipped) for note in held["notes"]} == {(str(bad), True)}
        assert held["ids"][0] in (2, 3)
        assert held["counts"] == [4 if held["ids"] == [2] else 3]
    assert collate([images[(0, 1)]])["notes"] == []


def test_queries_that_are_unsure_or_see_nothing_are_left_out():
    logits = torch.tensor([[9.0, 0, 0], [1.0, 0, 0], [0, 0, 9.0], [0, 9.0, 0]])
    sure = sure_queries(logits, 0.85)
    assert sure.queries.tolist() == [0, 3]
    assert sure.labels.tolist() == [0, 1]


def test_pixels_go_to_the_largest_mask_stuff_is_merged_and_small_segments_vanish():
    masks = torch.full((5, 6, 8), -9.0)
    masks[0, :, :4] = 1  # sky at the left
    masks[1, :, 4:] = 1  # sky at the right: the same segment
    masks[2, 1:4, 1:4] = 5  # a cat of 9 pixels
    masks[3, 4:6, 5:7] = 5  # a cat of 4 pixels: too small
    masks[4] = -5  # a dog that is nowhere the largest
    sure = Sure(torch.arange(5), torch.tensor([0, 0, 1, 1, 3]), torch.tensor([0.9, 0.95, 0.99, 0.9, 0.9]))
    found = merge(masks, sure, THINGS, (8, 6))
    assert found.segments.categories == {1: 0, 2: 1}
    wanted = np.ones((6, 8), int)
    wanted[1:4, 1:4] = 2
    np.testing.assert_array_equal(found.segments.ids, wanted)
    assert found.scores == {1: pytest.approx(0.9), 2: pytest.approx(0.99)}
    empty = merge(masks[:0], Sure(*(part[:0] for part in sure)), THINGS, (8, 6))
    assert not empty.segments.ids.any()
    assert empty.segments.categories == {}


def test_masks_of_the_truth_merge_into_the_truth(files):
    truth = read_panoptic(files / "truth.json").images[1].segments()
    covered = SegmentMap(np.where(truth.ids == 0, 1000, truth.ids), truth.categories)
    numbers = list(truth.categories)
    masks = torch.stack([torch.from_numpy(covered.ids == n).float() * 20 - 10 for n in numbers])
    labels = torch.tensor([truth.categories[n] for n in numbers])
    found = merge(masks, Sure(torch.arange(4), labels, torch.ones(4)), THINGS, (64, 48))
    quality = PanopticQuality(dict(enumerate(THINGS)))
    quality.add(covered, found.segments)
    assert quality.scores().all.pq == 1


def test_boxes_training_scores_and_pictures_on_the_command_line(files, tmp_path):
    truth = ["--data", files / "truth.json"]
    done = call_cli("updetr", "panoptic", "boxes", *truth, "--out", tmp_path / "boxes.json")
    assert done.returncode == 0, done.stderr
    labelled = read_labelled(f"coco:{tmp_path / 'boxes.json'},{files}")
    assert labelled.names == NAMES
    assert labelled.boxes_a_class().tolist() == [3, 3, 3, 2]
    save_model(tmp_path / "detector", small(width=32, heads=2, labels=NAMES), sizes=(48, 64))
    done = call_cli(
        "updetr", "panoptic", "train", *truth, "--model", tmp_path / "detector", "--scales", 48,
        "--longest", 64, "--epochs", 0, "--trainer.steps", 2, "--batch", 2, "--out", tmp_path / "run",
        "--trainer.accelerator", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 images of 2 things and 2 kinds of stuff; 2 steps" in done.stderr
    common = ["--model", tmp_path / "run", "--threshold", 0.05, "--device", "cpu"]
    done = call_cli("updetr", "panoptic", "evaluate", *truth, *common, "--out", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert set(scores["scores"]) == {"all", "things", "stuff"}
    written = json.loads((tmp_path / "scores" / "panoptic.json").read_text())
    # the written files are scored as the table says
    data, quality = read_panoptic(files / "truth.json"), PanopticQuality(dict(enumerate(THINGS)))
    place = {number: label for label, number in enumerate(IDS)}
    for image, entry in zip(data.images, written["annotations"], strict=True):
        ids = read_ids(tmp_path / "scores" / "panoptic" / entry["file_name"])
        kinds = {piece["id"]: place[piece["category_id"]] for piece in entry["segments_info"]}
        quality.add(image.segments(), SegmentMap(ids, kinds))
    assert scores["scores"]["all"]["PQ"] == pytest.approx(100 * quality.scores().all.pq, abs=1e-3)
    done = call_cli(
        "updetr", "panoptic", "predict", "--images", files, *common, "--out", tmp_path / "found", "--draw"
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "found" / "drawn").glob("*.jpg"))) == 6  # the truth's PNGs, too
    done = call_cli("updetr", "panoptic", "evaluate", *truth, "--model", tmp_path / "detector")
    assert done.returncode == 2
    assert "has no mask head" in done.stderr
