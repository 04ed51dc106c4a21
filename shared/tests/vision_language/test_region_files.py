"""Files of regions: what is read, what is left out, and how that is said."""

import base64
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from nonet.errors import UserError
from nonet.vision_language.region_files import read_regions
from nonet.vision_language.region_records import Region, RegionRecord, write_region_records

GOOD = {"bb": [1, 2, 3, 4], "caption": "A Dog!", "attributes": ["Big", "brown"]}


def picture(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8))


def png(seed=0):
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    return tmp_path


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_record_gives_its_image_boxes_cleaned_texts_and_attributes(folder):
    file = lines(
        folder / "r.jsonl", [{"image": "1.png", "caption": ["The park.", "Dogs"], "elems": [GOOD, GOOD]}]
    )
    table = read_regions([file])
    assert len(table) == 1
    assert table.regions(0) == [Region(((1, 2, 3, 4),), ("a dog",), ("big", "brown"))] * 2
    assert table.captions_of(0) == ["the park", "dogs"]
    assert table.places[0].endswith("r.jsonl:1")
    assert np.array_equal(np.asarray(table.open(0)), np.asarray(picture(1)))
    assert table.said() == ["1 images, 2 regions, 2 captions"]


def test_a_json_list_and_images_elsewhere_are_read(folder):
    (folder / "lists").mkdir()
    file = folder / "lists" / "r.json"
    file.write_text(json.dumps([{"image": "0.png", "elems": [GOOD]}, {"image": "2.png", "elems": [GOOD]}]))
    table = read_regions([file], folder=folder)
    assert [len(table.regions(row)) for row in range(2)] == [1, 1]
    with pytest.raises(UserError, match="its images are not below"):
        read_regions([file], folder=folder / "lists")


def test_what_is_written_is_read_again(folder):
    record = RegionRecord(
        "2.png", (Region(((1, 2.5, 3, 4), (5, 6, 7, 8)), ("a cat", "it"), ("old",)),), ("a room",), ""
    )
    assert write_region_records([record], folder / "w.jsonl") == 1
    table = read_regions([folder / "w.jsonl"])
    assert table.regions(0) == list(record.regions)
    assert table.captions_of(0) == ["a room"]


def test_images_in_base64_are_read_where_their_lines_lie(folder):
    records = [
        {"binary": base64.b64encode(png(number)).decode(), "elems": [GOOD], "image": "x"} for number in (5, 6)
    ]
    file = folder / "binary.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    table = read_regions([file])
    assert [np.array_equal(np.asarray(table.open(row)), np.asarray(picture(5 + row))) for row in (0, 1)] == [
        True,
        True,
    ]
    assert table.places[1].endswith("binary.jsonl:2")


def test_shards_hold_images_and_records_side_by_side(folder):
    shard = folder / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for name, data in (
            ("a.png", png(7)), ("a.json", json.dumps({"elems": [GOOD]}).encode()), ("b.png", png(8)),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    table = read_regions([shard])
    assert len(table) == 1
    assert np.array_equal(np.asarray(table.open(0)), np.asarray(picture(7)))
    assert table.defects.counts == {"samples without a record": 1}


@pytest.mark.parametrize(
    ("elem", "kind", "said"),
    [
        ({"bb": [1, 2, 0, 4], "caption": "x"}, "boxes without area", "elems[0]: box [1, 2, 0, 4]"),
        ({"bb": [1, 2, -3, 4], "caption": "x"}, "boxes without area", "it is [x, y, width, height]"),
        ({"bb": [1, 2, float("nan"), 4], "caption": "x"}, "boxes that are not finite", "nan"),
        ({"bb": [1, 2, 3], "caption": "x"}, "boxes that are not four numbers", "[1, 2, 3]"),
        ({"caption": "x"}, "boxes that are not four numbers", "None"),
        ({"bb": [1, 2, 3, 4]}, "regions without a text", "has no caption"),
        ({"bb": [1, 2, 3, 4], "caption": "!?"}, "regions whose text is empty after clean-up", "'!?'"),
        ("dog", "regions that are no objects", "'dog'"),
    ],
)
def test_a_bad_region_is_left_out_with_its_place_and_counted(folder, elem, kind, said):
    file = lines(
        folder / "r.jsonl", [{"image": "0.png", "elems": [GOOD]}, {"image": "1.png", "elems": [elem, GOOD]}]
    )
    table = read_regions([file])
    assert len(table.first_box) - 1 == len(table.boxes) == 2
    assert table.defects.counts[kind] == 1
    line = next(line for line in table.said() if said in line)
    assert "r.jsonl:2: elems[0]" in line
    assert f"left out: 1 {kind}" in table.said()


def test_boxes_of_corners_are_read_if_that_is_said(folder):
    file = lines(folder / "r.jsonl", [{"image": "0.png", "elems": [{"bb": [5, 6, 8, 10], "caption": "x"}]}])
    assert read_regions([file], boxes="xyxy").boxes.tolist() == [[5, 6, 3, 4]]


def test_files_without_a_usable_region_are_refused_with_the_reason(folder):
    file = lines(folder / "r.jsonl", [{"image": "0.png", "elems": [{"bb": [1, 1, 0, 0], "caption": "x"}]}])
    with pytest.raises(UserError, match=r"no image with a region \(.*elems\[0\]: box"):
        read_regions([file])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "0.png", "boxes": []}', "r.jsonl:1: no field 'elems'; fields are image, boxes"),
        ('{"elems": []}', "r.jsonl:1: image is None"),
        ('{"image": "0.png", "elems": 3}', "r.jsonl:1: elems is a int"),
        ("{", "r.jsonl:1"),
    ],
)
def test_another_layout_is_refused_with_file_and_line(folder, text, message):
    (folder / "r.jsonl").write_text(text + "\n")
    with pytest.raises(UserError) as error:
        read_regions([folder / "r.jsonl"])
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        read_regions([tmp_path / "none.jsonl"])


def test_images_stay_as_they_are_stored_whatever_exif_says(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(folder / "turned.jpg", exif=exif)
    table = read_regions([lines(folder / "r.jsonl", [{"image": "turned.jpg", "elems": [GOOD]}])])
    assert table.open(0).size == (30, 20)
