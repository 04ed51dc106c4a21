"""Labelled images as batches: padding, broken files, what is kept in memory."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.errors import RunFailed
from updetr.box_transforms import Augmentation
from updetr.finetune_data import (
    EvaluationImages,
    TrainingImages,
    collate,
    crowded,
    images_of,
    targets_of,
)
from updetr.labelled_data import read_labelled

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import write_rectangles

PLAIN = Augmentation(scales=(48, 64), longest=128, crop=0, flip=0.5, flip_vertical=0.5)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return read_labelled(write_rectangles(tmp_path_factory.mktemp("few") / "pictures", 4))


def test_padding_is_zero_after_normalisation_and_boxes_come_in_the_order_of_images(labelled):
    data = TrainingImages(labelled, PLAIN, seed=0)
    drawn = [data[epoch, 0] for epoch in range(8)]
    heights = [item["pixels"].shape[1] for item in drawn]
    items = [drawn[heights.index(48)], drawn[heights.index(64)], data[0, 2]]
    batch = collate(items)
    images, targets = images_of(batch), targets_of(batch)
    assert images.pixels.shape == (3, 3, 64, 85)
    assert not images.mask.all()
    assert (images.pixels.abs().sum(1) == 0)[~images.mask].all()
    for row, item in enumerate(items):
        height, width = item["pixels"].shape[1:]
        assert images.mask[row].sum() == height * width
        red = item["pixels"][0, 0, 0].item() / 255
        assert images.pixels[row, 0, 0, 0].item() == pytest.approx((red - 0.485) / 0.229, abs=1e-5)
    assert targets.counts == [len(item["labels"]) for item in items]
    assert torch.equal(targets.boxes, torch.cat([item["boxes"] for item in items]))


def test_what_is_kept_in_memory_changes_no_bit(labelled):
    kept, fresh = TrainingImages(labelled, PLAIN, seed=3, keep=1), TrainingImages(labelled, PLAIN, seed=3)
    for epoch in range(4):
        for index in range(4):
            one, two = kept[epoch, index], fresh[epoch, index]
            assert torch.equal(one["pixels"], two["pixels"])
            assert torch.equal(one["boxes"], two["boxes"])
    assert len(kept._sizes) > 4
    assert not fresh._sizes


def test_draws_are_a_function_of_seed_epoch_and_index(labelled):
    first = [
        TrainingImages(labelled, PLAIN, seed=s)[e, 0]["boxes"] for s, e in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert torch.equal(first[0], first[1])
    sizes = {TrainingImages(labelled, PLAIN, seed=0)[e, 0]["pixels"].shape for e in range(12)}
    assert len(sizes) == 2


def test_evaluation_shows_each_image_once_at_one_size(labelled):
    item = EvaluationImages(labelled, scale=96, longest=200)[5, 1]
    image = labelled.images[1]
    assert item["pixels"].shape == (3, 96, 128)
    assert item["size"] == (image.width, image.height)
    wanted = (image.boxes[:, :2] + image.boxes[:, 2:]) / 2 / [64, 48]
    np.testing.assert_allclose(item["boxes"][:, :2], wanted, atol=1e-6)


def test_a_broken_file_is_left_out_and_named_and_only_broken_ones_are_an_error(labelled, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    other = tmp_path / "turned.png"
    Image.new("RGB", (48, 64)).save(other)
    images = [
        replace(labelled.images[0], path=bad),
        labelled.images[1],
        replace(labelled.images[2], path=other),
    ]
    data = EvaluationImages(replace(labelled, images=images), scale=48, longest=64)
    batch = collate([data[0, i] for i in range(3)])
    assert batch["ids"] == [labelled.images[1].id]
    assert [note.file for note in batch["notes"]] == [str(bad), str(other)]
    assert "48 x 64 pixels, but its boxes were drawn in 64 x 48" in batch["notes"][1].text
    with pytest.raises(RunFailed, match=r"no image of a batch of 1 can be read.*bad\.png"):
        collate([data[0, 0]])


def test_another_image_is_trained_on_in_the_place_of_one_that_cannot_be_read(labelled, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    images = [replace(labelled.images[0], path=bad), *labelled.images[1:]]
    data, again = (TrainingImages(replace(labelled, images=images), PLAIN, seed=7) for _ in range(2))
    taken = set()
    for epoch in range(12):
        batch = collate([data[epoch, 0]])  # alone in its batch
        assert {(note.file, note.skipped) for note in batch["notes"]} == {(str(bad), True)}
        other = collate([again[epoch, 0]])
        assert batch["ids"] == other["ids"]
        assert torch.equal(batch["pixels"], other["pixels"])
        number = batch["ids"][0] - 1
        assert batch["keys"][0][0] == number  # kept features are those of the image that is there
        assert len(batch["boxes"]) == len(images[number].labels)
        taken.add(number)
    assert taken == {1, 2, 3}
    assert collate([data[0, 1]])["notes"] == []
    none = replace(labelled, images=[replace(image, path=bad) for image in labelled.images])
    with pytest.raises(RunFailed, match=r"bad\.png and 32 other images cannot be used"):
        TrainingImages(none, PLAIN, seed=7)[0, 0]


def test_crowd_regions_are_not_learnt(labelled):
    image = labelled.images[0]
    crowd = np.arange(len(image.labels)) == 0
    data = EvaluationImages(replace(labelled, images=[replace(image, crowd=crowd)]), scale=48, longest=64)
    assert len(data[0, 0]["labels"]) == len(image.labels) - 1


def test_images_with_more_boxes_than_queries_are_counted(labelled):
    counts = [len(image.labels) for image in labelled.images]
    most = max(counts)
    assert crowded(labelled, most) is None
    text = crowded(labelled, 1)
    assert f"{sum(n > 1 for n in counts)} images" in text
    assert f"the most {most} ({labelled.images[counts.index(most)].path.name})" in text
    assert f"{sum(n - 1 for n in counts)} boxes" in text
