"""The check of region files against their images."""

import json

from PIL import Image

from nonet.vision_language.region_check import check_regions
from nonet.vision_language.region_files import read_regions


def table_of(folder, boxes, size=(100, 50)):
    Image.new("RGB", size).save(folder / "a.png")
    record = {"image": "a.png", "elems": [{"bb": box, "caption": "x"} for box in boxes]}
    (folder / "r.jsonl").write_text(json.dumps(record) + "\n")
    return read_regions([folder / "r.jsonl"])


def test_boxes_are_sorted_by_what_training_does_with_them(tmp_path):
    boxes = [
        [0, 0, 10, 5], [0, 0, 50, 50], [0, 0, 100, 50], [95.5, 0, 5, 5],  # inside, the last one nearly
        [90, 0, 15, 10], [90, 0, 30, 10], [100, 0, 5, 5], [0, 0, 0, 3],
    ]  # fmt: skip
    report = check_regions(table_of(tmp_path, boxes))
    assert report.images == 1
    assert report.boxes == 7
    assert report.defects.counts == {
        "boxes without area": 1,
        "boxes that are clipped at their image's edge": 1,
        "boxes of which no more than half is in their image": 1,
        "boxes outside of their image": 1,
    }
    assert dict(report.covered) == {0.01: 2, 0.05: 1, 0.5: 1, 1.0: 1}
    said = report.said()
    assert any(
        line.endswith("r.jsonl:1: box (90, 0, 30, 10) in an image of 100 x 50 has 33% inside")
        for line in said
    )
    assert "cover   0% to   1% of their image: 2" in said
    assert not any("xyxy" in line for line in said)


def test_corners_in_place_of_sizes_are_guessed(tmp_path):
    report = check_regions(table_of(tmp_path, [[60, 20, 90, 45], [50, 10, 100, 40], [0, 0, 10, 10]]))
    assert report.corners == 2
    assert any("read the file with boxes xyxy" in line for line in report.said())


def test_an_image_that_cannot_be_read_is_a_defect_and_ends_nothing(tmp_path):
    table = table_of(tmp_path, [[0, 0, 10, 5]])
    (tmp_path / "a.png").write_bytes(b"none")
    report = check_regions(table)
    assert report.images == 0
    assert report.defects.counts == {"images that cannot be read": 1}
    assert "a.png" in report.said()[0]
