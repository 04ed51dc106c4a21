"""Regions from COCO, Visual Genome, Flickr30k Entities and RefCOCO."""

import collections
import json
import pickle

import pytest
from PIL import Image

from nonet.errors import UserError
from nonet.testing import data_folder
from nonet.vision_language.plain_pickle import load_plain
from nonet.vision_language.region_records import Region
from nonet.vision_language.region_sources import (
    coco_regions,
    entities_regions,
    genome_regions,
    referring_regions,
)


def as_json(path, value):
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def instances(tmp_path):
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 20, "height": 20} for number in (7, 8, 9)]
    boxes = [
        (1, 7, 3, [1, 2, 3, 4], 0), (2, 7, 5, [0, 0, 9, 9], 0), (3, 8, 3, [1, 1, 5, 5], 1),
        (4, 9, 3, [1, 1, 0, 5], 0), (5, 9, 99, [1, 1, 2, 5], 0),
    ]  # fmt: skip
    rows = [
        {"id": i, "image_id": image, "category_id": kind, "bbox": box, "iscrowd": crowd}
        for i, image, kind, box, crowd in boxes
    ]
    categories = [{"id": 3, "name": "dog"}, {"id": 5, "name": "wine glass"}]
    return as_json(
        tmp_path / "instances.json", {"images": images, "annotations": rows, "categories": categories}
    )


def test_coco_objects_are_called_by_their_category_and_crowds_are_left_out(instances):
    records, defects = coco_regions(instances)
    assert [record.image for record in records] == ["7.jpg"]
    assert records[0].regions == (
        Region(((1, 2, 3, 4),), ("dog",)), Region(((0, 0, 9, 9),), ("wine glass",)),
    )  # fmt: skip
    assert defects.counts == {"crowd regions": 1, "boxes without area": 1, "unknown categories": 1}
    assert any("annotation 4: box [1, 1, 0, 5]" in line for line in defects.lines)


def test_coco_captions_are_those_of_the_whole_image(instances, tmp_path):
    captions = as_json(tmp_path / "captions.json", {"annotations": [{"image_id": 8, "caption": "Dogs."}]})
    records, _ = coco_regions(instances, captions)
    assert [(record.image, record.captions) for record in records] == [("7.jpg", ()), ("8.jpg", ("Dogs.",))]


def test_another_json_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no list 'images' of objects"):
        coco_regions(as_json(tmp_path / "a.json", {"annotations": []}))
    (tmp_path / "b.json").write_text("{\n")
    with pytest.raises(UserError, match=r"b\.json:2: not valid JSON"):
        coco_regions(tmp_path / "b.json")


def test_coco_photographs_have_as_many_regions_as_boxes_that_are_no_crowds():
    folder = data_folder("coco-mini") / "annotations"
    content = json.loads((folder / "instances_train2017.json").read_text())
    wanted = sum(not row["iscrowd"] for row in content["annotations"])
    records, defects = coco_regions(folder / "instances_train2017.json", folder / "captions_train2017.json")
    assert sum(len(record.regions) for record in records) == wanted
    assert sum(defects.counts.values()) == len(content["annotations"]) - wanted
    assert all(len(record.captions) >= 5 for record in records)


def test_visual_genome_gives_phrases_and_objects_with_attributes(tmp_path):
    for folder, number in (("VG_100K", 2), ("VG_100K_2", 1)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / folder / f"{number}.jpg")
    phrase = {"phrase": "a red car", "x": 1, "y": 2, "width": 3, "height": 4, "region_id": 1}
    regions = [{"id": 1, "regions": [phrase, phrase | {"width": 0}]}, {"id": 3, "regions": [phrase]}]
    descriptions = as_json(tmp_path / "d.json", regions)
    thing = {"names": ["car", "auto"], "x": 5, "y": 6, "w": 7, "h": 8}
    objects = as_json(tmp_path / "o.json", [{"image_id": 2, "objects": [thing]}])
    attributes = as_json(
        tmp_path / "a.json", [{"image_id": 2, "attributes": [thing | {"attributes": ["red"]}]}]
    )
    records, defects = genome_regions(
        tmp_path, descriptions=descriptions, objects=objects, attributes=attributes
    )
    assert [(record.image, record.regions) for record in records] == [
        ("VG_100K_2/1.jpg", (Region(((1, 2, 3, 4),), ("a red car",)),)),
        ("VG_100K/2.jpg", (Region(((5, 6, 7, 8),), ("car", "auto"), ("red",)),)),
    ]
    assert defects.counts == {"boxes without area": 1, "images that are missing": 1}
    plain, _ = genome_regions(tmp_path, objects=objects)
    assert plain[0].regions == (Region(((5, 6, 7, 8),), ("car", "auto")),)
    with pytest.raises(UserError, match="name region_descriptions"):
        genome_regions(tmp_path)


ENTITIES = """<annotation><filename>12.jpg</filename>
<object><name>20</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>8</ymax></bndbox></object>
<object><name>20</name><name>21</name>
  <bndbox><xmin>10</xmin><ymin>2</ymin><xmax>15</xmax><ymax>8</ymax></bndbox></object>
<object><name>22</name><scene>1</scene><nobox>0</nobox></object>
</annotation>"""


def test_entities_give_phrases_with_all_of_their_boxes(tmp_path):
    for name in ("Sentences", "Annotations"):
        (tmp_path / name).mkdir()
    (tmp_path / "Annotations" / "12.xml").write_text(ENTITIES)
    (tmp_path / "Sentences" / "12.txt").write_text(
        "[/EN#20/people Two young guys] and [/EN#21/people/other one] in [/EN#22/scene the park] .\n"
        "[/EN#20/people Two guys] stand .\n"
    )
    records, defects = entities_regions(tmp_path)
    assert records[0].image == "12.jpg"
    assert records[0].regions == (
        Region(((1, 2, 4, 6), (10, 2, 5, 6)), ("Two young guys", "Two guys")),
        Region(((10, 2, 5, 6),), ("one",)),
    )
    assert records[0].captions == ("Two young guys and one in the park .", "Two guys stand .")
    assert not defects.counts
    records, defects = entities_regions(tmp_path, ["13"])
    assert records == []
    assert defects.counts == {"images without sentences": 1}
    with pytest.raises(UserError, match="has no folder Sentences"):
        entities_regions(tmp_path / "Sentences")


def refs_of():
    return [
        {"ref_id": 1, "ann_id": 1, "image_id": 7, "split": "train", "sentences": [{"sent": "left dog"}]},
        {"ref_id": 2, "ann_id": 2, "image_id": 7, "split": "val",
         "sentences": [{"sent": "glass"}, {"raw": "Cup"}]},
        {"ref_id": 3, "ann_id": 4, "image_id": 9, "split": "val", "sentences": [{"sent": "flat"}]},
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["p", "json"])
def test_expressions_have_the_box_of_what_they_refer_to(instances, tmp_path, ending):
    path = tmp_path / f"refs(unc).{ending}"
    path.write_bytes(pickle.dumps(refs_of(), 2) if ending == "p" else json.dumps(refs_of()).encode())
    records, defects = referring_regions(path)
    assert [(record.image, record.regions) for record in records] == [
        (
            "7.jpg",
            (Region(((1, 2, 3, 4),), ("left dog",)), Region(((0, 0, 9, 9),), ("glass", "Cup"))),
        )
    ]
    assert defects.counts == {"boxes without area": 1}
    assert len(referring_regions(path, split="train")[0][0].regions) == 1
    with pytest.raises(UserError, match="no split test; it has train, val"):
        referring_regions(path, split="test")


def test_a_pickle_that_names_code_is_refused_and_not_run(tmp_path):
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps(collections.OrderedDict(a=1)))
    with pytest.raises(UserError, match=r"names collections\.OrderedDict"):
        load_plain(path)
    path.write_bytes(b"no pickle")
    with pytest.raises(UserError, match="not a pickle of plain data"):
        load_plain(path)
    with pytest.raises(UserError, match="no such file"):
        load_plain(tmp_path / "none.p")
