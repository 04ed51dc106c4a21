"""Samples and batches of regions."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from nonet.errors import RunFailed, UserError
from nonet.testing import data_folder
from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.region_data import RegionBatches, RegionImages, region_texts
from nonet.vision_language.region_files import read_regions
from nonet.vision_language.region_records import Region, write_region_records
from nonet.vision_language.region_samples import (
    crop_around,
    moved_boxes,
    region_item,
    region_text,
    visible,
)
from nonet.vision_language.region_sources import coco_regions

PLAIN = {"mean": (0, 0, 0), "deviation": (1, 1, 1), "operations": 0}


def saved(folder, records, size=(60, 40)):
    for record in records:
        Image.new("RGB", size).save(folder / record["image"])
    (folder / "r.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_regions([folder / "r.jsonl"])


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a dog and a cat on the left of a big brown box number one"] * 3, 64)


@pytest.fixture
def table(tmp_path):
    texts = ["a dog", "a cat", "a box", "one", "number one", "brown box", "the dog"]
    elems = [
        {"bb": [4 * i, 2 * i, 10 + i, 8 + 2 * i], "caption": text, "attributes": ["big"] * (i % 2)}
        for i, text in enumerate(texts)
    ]
    return saved(
        tmp_path,
        [
            {"image": f"{number}.png", "elems": elems[: 1 + number]}
            | ({"caption": "a dog and a cat"} if number % 3 == 0 else {})
            for number in range(7)
        ],
    )


def test_the_patches_of_a_drawn_box_are_those_of_its_mask(tmp_path):
    """A white box on black goes through crop, mirror and resize; its bright pixels say where it is."""
    random = np.random.default_rng(0)
    images = RegionImages(height=48, width=64, patch=8, **PLAIN)
    for number in range(40):
        x, y = (int(value) for value in random.integers(0, [100, 60]))
        w, h = (int(value) for value in random.integers(12, 40, 2))
        table = saved(tmp_path, [{"image": "a.png", "elems": [{"bb": [x, y, w, h], "caption": "box"}]}])
        canvas = Image.new("RGB", (160, 110))
        ImageDraw.Draw(canvas).rectangle((x, y, x + w - 1, y + h - 1), fill=(255, 255, 255))
        canvas.save(tmp_path / "a.png")
        item = region_item(table, 0, images, np.random.default_rng(number))
        most = item.image[0].reshape(6, 8, 8, 8).amax((1, 3)).flatten()
        mask = item.masks[0]
        assert (most[~mask] < 0.5).all()  # an edge that is interpolated reaches over a border of patches
        assert (most[mask] > 0.02).all()


def test_boxes_move_as_corners_of_the_picture_do():
    boxes = np.array([[10.0, 5, 20, 10]])
    assert moved_boxes(boxes, (10, 5, 50, 25), (40, 80), False).tolist() == [[0, 0, 40, 20]]
    assert moved_boxes(boxes, (10, 5, 50, 25), (40, 80), True).tolist() == [[40, 0, 40, 20]]


def test_crops_leave_the_box_whole_and_reach_every_place():
    random = np.random.default_rng(0)
    crops = np.array([crop_around([(2.5, 1.0, 3.2, 2.0)], 8, 5, random) for _ in range(500)])
    for side, allowed in enumerate(([0, 1, 2], [0, 1], [6, 7, 8], [3, 4, 5])):
        assert sorted(set(crops[:, side].tolist())) == allowed


def test_boxes_count_if_more_than_the_share_of_them_is_seen():
    assert visible([(0, 0, 10, 10)], (5, 0, 20, 20), 0.5) == ()
    assert visible([(0, 0, 10, 10)], (4, 0, 20, 20), 0.5) == ((4, 0, 6, 10),)
    assert visible([(0, 0, 10, 10)], (30, 0, 20, 20), 0.0) == ()
    assert visible([(0, 0, 10, 10), (20, 0, 10, 10)], (15, 0, 20, 20), 0.4) == ((20, 0, 10, 10),)
    assert visible([(0, 0, 10, 10), (20, 0, 10, 10)], (15, 0, 20, 20), 0.5) == ()


def test_a_region_of_several_boxes_has_the_patches_of_all_of_them(tmp_path):
    elem = {"bb": [[0, 0, 10, 10], [50, 30, 10, 10]], "caption": "two dogs"}
    table = saved(tmp_path, [{"image": "a.png", "elems": [elem]}])
    images = RegionImages(height=40, width=60, patch=10, flip=0, **PLAIN)
    item = region_item(table, 0, images, np.random.default_rng(0))  # a crop that has both is the image
    assert item.masks.nonzero().tolist() == [[0, 0], [0, 23]]


def test_a_text_stands_behind_one_of_the_attributes():
    region = Region(((0, 0, 1, 1),), ("dog", "hound"), ("big", "old"))
    found = {region_text(region, np.random.default_rng(seed)) for seed in range(40)}
    assert found == {"big dog", "big hound", "old dog", "old hound"}
    assert region_text(Region(((0, 0, 1, 1),), ("dog",)), np.random.default_rng(0)) == "dog"


def test_a_caption_has_all_patches_and_counts_as_one_of_the_regions(table):
    images = RegionImages(height=48, width=48, patch=8, max_regions=3, **PLAIN)
    for seed in range(10):
        item = region_item(table, 6, images, np.random.default_rng(seed))
        assert item.texts[0] == "a dog and a cat"
        assert item.masks[0].all()
        assert 1 <= len(item.texts) <= 3


def test_no_mirror_where_a_text_says_left(tmp_path):
    table = saved(tmp_path, [{"image": "a.png", "elems": [{"bb": [0, 0, 30, 40], "caption": "left dog"}]}])
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = RegionImages(height=48, width=48, patch=8, flip=1, **PLAIN)
    for seed in range(5):
        assert region_item(table, 0, images, np.random.default_rng(seed)).image[0, 20, 0] > 0.9


def test_regions_outside_of_the_image_are_left_out_and_counted(tmp_path):
    elems = [
        {"bb": [100, 0, 10, 10], "caption": "far"},
        {"bb": [55, 0, 20, 10], "caption": "a quarter"},
        {"bb": [50, 30, 12, 12], "caption": "most of it"},
    ]
    table = saved(tmp_path, [{"image": "a.png", "elems": elems}, {"image": "b.png", "elems": elems[:1]}])
    images = RegionImages(height=48, width=48, patch=8, **PLAIN)
    item = region_item(table, 0, images, np.random.default_rng(0))
    assert item.texts == ["most of it"]
    assert item.outside == 2
    with pytest.raises(UserError, match=r"r\.jsonl:2: all regions lie outside of 60 x 40 pixels"):
        region_item(table, 1, images, np.random.default_rng(0))


def test_texts_begin_with_cls_and_do_not_end_with_sep(tokenizer):
    ids, mask, long = region_texts(tokenizer, ["a dog", "a dog and a cat"], 5)
    words = tokenizer("a dog and a", add_special_tokens=False)["input_ids"]
    assert ids.tolist() == [[2, *words[:2], 0, 0], [2, *words]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert long == 1


@pytest.mark.parametrize("size", [1, 16, 40])
def test_a_batch_has_exactly_so_many_texts_and_no_image_without_one(table, tokenizer, size):
    images = RegionImages(height=48, width=64, patch=8, **PLAIN)
    batches = RegionBatches(table, images, tokenizer, size=size, seed=1)
    for step in range(3):
        batch = batches[step]
        assert batch["masks"].shape == (size, 48)
        assert batch["input_ids"].shape[0] == len(batch["texts"]) == size
        assert sorted(set(batch["of_image"].tolist())) == list(range(len(batch["images"])))
        assert batch["masks"].any(1).all()


def test_batches_depend_on_seed_step_and_rank_alone(table, tokenizer):
    images = RegionImages(height=48, width=48, patch=8)
    first = RegionBatches(table, images, tokenizer, size=8, seed=3)
    second = RegionBatches(table, images, tokenizer, size=8, seed=3)
    later = second[2]
    assert torch.equal(first[2]["images"], later["images"])
    assert first[2]["texts"] == later["texts"]
    assert first[1]["texts"] != later["texts"]
    ranks = [RegionBatches(table, images, tokenizer, size=9, seed=3, rank=r, world=2) for r in (0, 1)]
    assert [len(batches[0]["texts"]) for batches in ranks] == [5, 4]
    assert ranks[0][0]["ids"] != ranks[1][0]["ids"]


def test_an_epoch_names_each_image_once(table, tokenizer):
    images = RegionImages(height=48, width=48, patch=8)
    for world in (1, 2):
        found = []
        for rank in range(world):
            batches = RegionBatches(table, images, tokenizer, size=6, seed=3, rank=rank, world=world)
            found += [int(i) for step in range(batches.epoch_steps) for i in batches._part(step)]
        assert sorted(found) == list(range(7))


def test_an_unreadable_image_is_replaced_and_named_and_many_end_the_run(table, tokenizer, tmp_path):
    (tmp_path / "3.png").write_bytes(b"no image")
    images = RegionImages(height=48, width=48, patch=8)
    batches = RegionBatches(table, images, tokenizer, size=12, seed=0)
    named = [text for step in range(4) for text in batches[step]["unreadable"]]
    assert named
    assert all("3.png" in text for text in named)
    for number in range(7):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(RunFailed, match="20 images in a row cannot be used"):
        batches[0]


def test_sizes_that_do_not_fit_are_refused(table, tokenizer):
    with pytest.raises(UserError, match="50 x 48 pixels are not whole patches of 8"):
        RegionImages(height=50, width=48, patch=8)
    with pytest.raises(UserError, match="a batch of 1 regions for 2 processes"):
        RegionBatches(table, RegionImages(height=48, width=48, patch=8), tokenizer, size=1, world=2)


def test_coco_photographs_give_batches(tokenizer, tmp_path):
    coco = data_folder("coco-mini")
    records, _ = coco_regions(coco / "annotations" / "instances_train2017.json")
    write_region_records(records, tmp_path / "r.jsonl")
    table = read_regions([tmp_path / "r.jsonl"], folder=coco / "train2017")
    images = RegionImages(height=64, width=64, patch=16)
    batch = RegionBatches(table, images, tokenizer, size=16)[0]
    assert batch["images"].shape[1:] == (3, 64, 64)
    assert not batch["unreadable"]
    share = batch["masks"].float().mean().item()
    assert 0.02 < share < 0.98
