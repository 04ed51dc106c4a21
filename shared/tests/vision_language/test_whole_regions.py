"""Whole images with their regions, and parts of a table of regions."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.region_files import read_regions
from nonet.vision_language.region_samples import RegionImages
from nonet.vision_language.whole_regions import WholeCollate, WholeRegions

HOW = RegionImages(height=32, width=48, patch=8, mean=(0, 0, 0), deviation=(1, 1, 1))


@pytest.fixture
def table(tmp_path):
    """Four images: a white box, two boxes, one box that lies outside, no picture."""
    boxes = [[(12, 8, 30, 20)], [(0, 0, 10, 10), (40, 30, 20, 10)], [(70, 50, 5, 5)], [(1, 1, 5, 5)]]
    records = []
    for number, own in enumerate(boxes):
        image = Image.new("RGB", (60, 40))
        for x, y, w, h in own:
            ImageDraw.Draw(image).rectangle((x, y, x + w - 1, y + h - 1), fill="white")
        if number < 3:
            image.save(tmp_path / f"{number}.png")
        elems = [
            {"bb": box, "caption": [f"box {place}", "other"], "attributes": ["big", "red"][: number * 2]}
            for place, box in enumerate(own)
        ]
        records.append({"image": f"{number}.png", "caption": "all of it", "elems": elems})
    path = tmp_path / "regions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_regions([path], folder=tmp_path)


def test_patches_are_those_that_a_drawn_box_whitens(table):
    item = WholeRegions(table, HOW)[(0, 0)]
    white = item.image.mean(0).unfold(0, 8, 8).unfold(1, 8, 8).amax((-1, -2)).flatten() > 0.5
    assert torch.equal(item.masks[0], white)
    assert item.texts == ["box 0"]
    assert tuple(item.image.shape) == (3, 32, 48)


def test_every_region_has_its_first_text_and_attribute_and_nothing_is_drawn(table):
    whole = WholeRegions(table, HOW)
    item, again = whole[(0, 1)], whole[(5, 1)]
    assert item.texts == again.texts == ["big box 0", "big box 1"]
    assert torch.equal(item.image, again.image)
    assert torch.equal(item.masks, again.masks)
    assert item.masks.sum(1).tolist() == [1, 2 * 1]  # 8 x 8 pixels; 32..48 x 24..32
    assert len(whole) == 4


def test_what_cannot_be_used_says_so_and_is_left_out_of_the_batch(table):
    whole = WholeRegions(table, HOW)
    outside, missing = whole[(0, 2)], whole[(0, 3)]
    assert "no region lies in 60 x 40 pixels" in outside
    assert "3.png" in missing
    collate = WholeCollate(train_tokenizer(["big box 0 1 other"] * 2, 64))
    batch = collate([whole[(0, 1)], outside, whole[(0, 0)]])
    assert batch["of_image"].tolist() == [0, 0, 1]
    assert batch["texts"] == ["big box 0", "big box 1", "box 0"]
    assert batch["masks"].shape == (3, 24)
    assert batch["unreadable"] == [outside]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert collate([outside, missing]) is None


def test_a_part_of_a_table_has_all_that_is_its_images_in_the_order_asked_for(table):
    part = table.take([3, 1, 1])
    assert len(part) == 3
    for row, old in enumerate((3, 1, 1)):
        assert part.regions(row) == table.regions(old)
        assert part.captions_of(row) == table.captions_of(old)
        assert part.files[row] == table.files[old]
        assert part.places[row] == table.places[old]
    assert np.array_equal(np.asarray(part.open(1)), np.asarray(table.open(1)))
    assert len(table.take([])) == 0
    assert part.take([1]).regions(0) == table.regions(1)
