import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from nonet.data.coco_boxes import read_coco, write_coco, write_coco_results
from nonet.data.image_index import ImageIndex
from nonet.data.labelled_boxes import BoxRows, LabelledImages, not_empty
from nonet.data.voc_boxes import VOC_NAMES, read_voc, write_voc
from nonet.data.yolo_boxes import label_file, read_yolo, write_yolo, write_yolo_yaml
from nonet.errors import UserError
from nonet.testing import data_folder


def picture(path, width=40, height=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "grey").save(path)
    return path


def coco_file(folder, annotations, *, images=None, categories=None):
    images = images or [{"id": 7, "file_name": "a.jpg", "width": 40, "height": 30}]
    for entry in images:
        picture(folder / "images" / entry["file_name"])
    categories = categories or [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]
    annotations = [
        {"id": i, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], **entry}
        for i, entry in enumerate(annotations)
    ]
    value = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances_x.json").write_text(json.dumps(value))
    return folder / "instances_x.json"


def voc_xml(file, objects, *, filename="whatever.jpg", size=(40, 30)):
    things = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, (a, b, c, d), difficult in objects
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"</size>{things}</annotation>"
    )


def yolo_folder(folder, lines, names=("cat", "dog")):
    picture(folder / "images" / "train" / "a.jpg")
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "names": list(names)}))
    return folder / "data.yaml"


def test_bccd_has_the_published_counts_but_for_two_boxes_without_area():
    root = data_folder("bccd", "BCCD")
    data = read_voc(root)
    assert data.names == ("Platelets", "RBC", "WBC")
    assert data.boxes_a_class().tolist() == [361, 4155 - 2, 372]
    assert len(data) == 364
    assert [len(read_voc(root, split)) for split in ("train", "val", "test")] == [205, 87, 72]
    assert [defect.split("BloodImage_")[1][:5] for defect in data.defects] == ["00338", "00343"]
    assert all("has no area; dropped" in defect for defect in data.defects)
    assert data.most_boxes()[0] == 30


def test_the_same_pictures_in_coco_and_yolo_form_have_the_same_boxes(tmp_path):
    root = data_folder("coco128")
    coco = read_coco(root / "annotations" / "instances_train2017.json", root / "images" / "train2017")
    (tmp_path / "images").symlink_to(root / "images")
    (tmp_path / "labels").symlink_to(root / "object_detection" / "labels")
    (tmp_path / "data.yaml").write_text((root / "object_detection" / "config.yaml").read_text())
    yolo = read_yolo(tmp_path / "data.yaml", "train")
    assert len(coco) == len(yolo) == 128
    assert sum(int(image.crowd.sum()) for image in coco.images) == 10
    assert coco.boxes_a_class().sum() == yolo.boxes_a_class().sum() == 929
    assert [defect.rpartition("/")[2][:16] for defect in yolo.defects] == [
        "000000000656.txt",
        "000000000659.txt",
    ]
    assert "2 of 128 images have no label file" in yolo.remarks[0]
    others = {image.path.name: image for image in yolo.images}
    for image in coco.images:
        image, other = image.keep(~image.crowd), others[image.path.name]
        assert np.bincount(image.labels).tolist() == np.bincount(other.labels).tolist()
        for label, box in zip(image.labels, image.boxes, strict=True):
            assert np.abs(other.boxes[other.labels == label] - box).max(1).min() < 0.5


@pytest.mark.parametrize(
    ("box", "kept", "said"),
    [
        ((5, 5, 5, 9), None, "has no area; dropped"),
        ((9, 5, 5, 9), None, "has no area; dropped"),
        ((50, 5, 60, 9), None, "outside the image of 40 x 30; dropped"),
        ((float("nan"), 5, 6, 9), None, "is not finite; dropped"),
        ((5, 5, float("inf"), 9), None, "is not finite; dropped"),
        ((-3, 5, 6, 9), (0, 5, 6, 9), "leaves the image of 40 x 30; clipped"),
        ((-0.5, 5, 40.9, 9), (0, 5, 40, 9), None),
    ],
)  # fmt: skip
def test_a_bad_box_is_dropped_or_clipped_and_named(box, kept, said):
    rows, defects = BoxRows(), []
    rows.add((1, 1, 2, 2), 0, "file:1")
    rows.add(box, 0, "file:2")
    image = rows.image(Path("a.jpg"), 40, 30, 1, defects)
    assert image.boxes[1:].tolist() == ([list(kept)] if kept else [])
    assert len(defects) == (said is not None)
    assert all(defect.startswith("file:2: box ") and said in defect for defect in defects)


def test_a_repeated_box_is_dropped_once_and_boxes_as_written_are_kept_for_evaluation():
    for mend, count in ((True, 1), (False, 3)):
        rows, defects = BoxRows(), []
        for box in ((1, 1, 20, 20), (1, 1, 20, 20), (90, 1, 95, 20)):
            rows.add(box, 0, "file", area=5.0)
        image = rows.image(Path("a.jpg"), 40, 30, 1, defects, mend=mend)
        assert (len(image.boxes), len(defects)) == (count, 2)
        assert image.boxes[-1].tolist() == ([1, 1, 20, 20] if mend else [90, 1, 95, 20])
        assert image.areas.tolist() == [5.0] * count


def test_coco_ids_need_not_be_contiguous_and_crowds_and_masks_areas_are_kept(tmp_path):
    file = coco_file(tmp_path, [{"category_id": 90, "area": 12.5}, {"iscrowd": 1}])
    data = read_coco(file)  # finds `images` beside it
    (image,) = data.images
    assert (data.names, data.category_ids) == (("cat", "dog"), (3, 90))
    assert image.boxes.tolist() == [[1, 2, 11, 22]] * 2
    assert (image.labels.tolist(), image.crowd.tolist()) == ([1, 0], [False, True])
    assert image.areas.tolist() == [12.5, 200]
    assert image.id == 7


@pytest.mark.parametrize(
    ("annotations", "more", "said"),
    [
        ([{"category_id": 4}], {}, "category_id that `categories` lacks: 4; there are 3, 90"),
        (
            [],
            {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "two categories have the id 1",
        ),
        (
            [],
            {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
            "two categories have the name a",
        ),
        (
            [],
            {"images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4}] * 2},
            "its id 1 comes twice",
        ),
        ([], {"images": [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 4}]}, "width is 0"),
    ],
)
def test_a_coco_file_that_cannot_be_meant_is_refused(tmp_path, annotations, more, said):
    with pytest.raises(UserError, match=said):
        read_coco(coco_file(tmp_path, annotations, **more))


def test_coco_defects_are_listed_with_their_annotation(tmp_path):
    file = coco_file(tmp_path, [{}, {"image_id": 1}, {"bbox": [1, 2, None, 3]}, {"bbox": [1, 2, 0, 3]}])
    data = read_coco(file)
    assert len(data.images[0].boxes) == 1
    assert "annotation 1: no image has the id 1" in data.defects[0]
    assert "annotation 2 of a.jpg: bbox is [1, 2, None, 3]" in data.defects[1]
    assert "annotation 3 of a.jpg: box 1 2 1 5 (xyxy) has no area" in data.defects[2]


def test_missing_images_are_listed_and_most_of_them_are_an_error(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in range(3)]
    file = coco_file(tmp_path, [], images=images)
    (tmp_path / "images" / "1.jpg").unlink()
    assert "image 1.jpg is not below" in read_coco(file).defects[0]
    (tmp_path / "images" / "2.jpg").unlink()
    with pytest.raises(UserError, match=r"2 of 3 images are not below .*, such as 1\.jpg"):
        read_coco(file)
    with pytest.raises(UserError, match="no file"):
        read_coco(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"images": [\n{]}')
    with pytest.raises(UserError, match=r"broken\.json:2: not valid JSON"):
        read_coco(tmp_path / "broken.json")


def test_images_are_found_in_another_case_folder_or_ending(tmp_path):
    picture(tmp_path / "deep" / "Photo.JPG")
    index = ImageIndex(tmp_path)
    for name in ("deep/Photo.JPG", "photo.jpg", "C:\\\\old\\photo.png", "/srv/pi/photo"):
        assert index.find(name) == tmp_path / "deep" / "Photo.JPG"
    assert index.find("other.jpg") is None
    assert ImageIndex(tmp_path, deep=False).find("photo.jpg") is None
    (tmp_path / "loop").symlink_to(tmp_path)
    assert ImageIndex(tmp_path).paths() == [tmp_path / "deep" / "Photo.JPG"]


def test_vocs_own_pixels_are_counted_from_one_and_other_tools_write_edges(tmp_path):
    for name, expected in (("VOCdevkit/VOC2007", [0, 0, 40, 30]), ("mine", [1, 1, 40, 30])):
        root = tmp_path / name
        picture(root / "JPEGImages" / "000001.jpg")
        voc_xml(root / "Annotations" / "000001.xml", [("dog", (1, 1, 40, 30), 0)])
        assert read_voc(root).images[0].boxes.tolist() == [expected]
        assert read_voc(root, offset=1).images[0].boxes.tolist() == [[0, 0, 40, 30]]
        assert read_voc(root).names == (("dog",) if name == "mine" else VOC_NAMES)


def test_voc_lists_name_files_with_or_without_flags_and_what_is_missing_is_said(tmp_path):
    for stem in ("a", "b"):
        picture(tmp_path / "JPEGImages" / f"{stem.upper()}.JPG")
        voc_xml(tmp_path / "Annotations" / f"{stem}.xml", [(f"thing {stem}", (1, 1, 9, 9), int(stem == "b"))])
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a  1\nlost -1\n\n")
    data = read_voc(tmp_path, "train")
    assert [image.path.name for image in data.images] == ["A.JPG"]
    assert data.names == ("thing a", "thing b")  # of all splits
    assert "the list train names lost, which has no XML file" in data.defects[0]
    assert "1 files name another image than the one beside them" in data.remarks[0]
    with pytest.raises(UserError, match=r"no list .*val.txt and no folder val; there are train"):
        read_voc(tmp_path, "val")
    whole = read_voc(tmp_path)
    assert whole.images[1].difficult.tolist() == [True]
    dropped = read_voc(tmp_path, drop_difficult=True)
    assert len(dropped.images[1].boxes) == 0
    assert any("1 boxes are difficult and left out" in remark for remark in dropped.remarks)


def test_images_and_xml_side_by_side_are_a_voc_folder_with_folders_as_splits(tmp_path):
    for split, size in (("train", (40, 30)), ("test", (0, 0))):
        for name in ("one", "alone"):
            picture(tmp_path / split / f"{name}.jpg")
        voc_xml(tmp_path / split / "one.xml", [(f"a {split} thing", (1, 1, 9, 9), 0)], size=size)
    train, test = (read_voc(tmp_path, split) for split in ("train", "test"))
    assert train.names == test.names == ("a test thing", "a train thing")
    assert [image.path for image in test.images] == [tmp_path / "test" / "one.jpg"]
    assert (test.images[0].width, test.images[0].height) == (40, 30)
    assert "1 files do not say the image's size, which is read from the image" in test.remarks
    assert any("1 images have no XML file" in remark for remark in read_voc(tmp_path / "train").remarks)


def test_a_list_of_classes_orders_them_and_lacks_none(tmp_path):
    picture(tmp_path / "a.jpg")
    voc_xml(tmp_path / "a.xml", [("dog", (1, 1, 9, 9), 0)])
    (tmp_path / "classes.txt").write_text("zebra\ndog\n")
    data = read_voc(tmp_path)
    assert (data.names, data.images[0].labels.tolist()) == (("zebra", "dog"), [1])
    (tmp_path / "classes.txt").write_text("zebra\n")
    with pytest.raises(UserError, match=r"classes\.txt: lacks dog, which boxes are called"):
        read_voc(tmp_path)


def test_broken_xml_and_objects_without_a_box_are_listed(tmp_path):
    for stem in "abc":
        picture(tmp_path / f"{stem}.jpg")
        voc_xml(
            tmp_path / f"{stem}.xml",
            [("dog", (1, 1, 9, 9), 0), ("dog", ("", 1, 9, 9), 0), ("", (1, 1, 9, 9), 0)],
        )
    (tmp_path / "b.xml").write_text("<annotation>\n<object>")
    data = read_voc(tmp_path)
    assert [len(image.boxes) for image in data.images] == [1, 1]
    text = "\n".join(data.defects)
    assert "b.xml:2: not valid XML" in text
    assert "object 1 (from 0) has no bndbox of four numbers; dropped" in text
    assert "object 2 (from 0) has no name; dropped" in text
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match="2 of 3 images are unusable"):
        read_voc(tmp_path)


def test_yolo_lines_are_boxes_or_polygons_and_other_lines_are_named(tmp_path):
    file = yolo_folder(
        tmp_path, ["1 0.5 0.5 0.5 0.5", "0 0.1 0.1 0.5 0.1 0.5 0.9", "0 .5 .5 .1 .1 .9", "cat 1 2 3 4", ""]
    )
    data = read_yolo(file)
    (image,) = data.images
    np.testing.assert_allclose(image.boxes, [[10, 7.5, 30, 22.5], [4, 3, 20, 27]])
    assert image.labels.tolist() == [1, 0]
    assert "a.txt:3: 6 numbers are neither a box nor a polygon (six are predictions" in data.defects[0]
    assert "a.txt:4: 'cat 1 2 3 4' is not a row of numbers" in data.defects[1]
    assert label_file(Path("x/images/images/train/a.b.jpg")) == Path("x/images/labels/train/a.b.txt")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["1 .5 .5 .5 .5", "2 .5 .5 .5 .5"],
            r"a.txt:2: class 2, but data.yaml has 2 names, 0 to 1; no box has class 0: are",
        ),
        (["0 .5 .5 .5 .5", "5 .5 .5 .5 .5"], r"class 5, .* 0 to 1; add the names, or mend the labels"),
        (["0 320 200 40 40"], r"a.txt:1: 320 is beyond 1; YOLO's numbers are shares"),
        (["0.5 .5 .5 .5 .5"], r"a.txt:1: the class is 0.5; it is a whole number"),
    ],
)
def test_yolo_ids_and_numbers_out_of_range_are_refused_with_the_line(tmp_path, lines, said):
    with pytest.raises(UserError, match=said):
        read_yolo(yolo_folder(tmp_path, lines))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"train": "images/train"}, "neither names nor nc"),
        (
            {"train": "images/train", "names": {0: "a", 2: "b"}},
            "the ids of its names are 0, 2; they run from 0",
        ),
        ({"train": "images/train", "names": ["a"], "nc": 2}, "nc is 2, but there are 1 names"),
        ({"val": "images/train", "names": ["a"]}, "no split train; there are val"),
        ({"train": "images/none", "names": ["a"]}, "no folder or list"),
        ("just text", "it has no keys"),
    ],
)
def test_a_data_yaml_that_says_too_little_is_refused(tmp_path, value, said):
    file = yolo_folder(tmp_path, ["0 .5 .5 .5 .5"])
    file.write_text(yaml.safe_dump(value))
    with pytest.raises(UserError, match=said):
        read_yolo(file)


def test_a_data_yaml_elsewhere_or_with_a_list_or_without_names_is_understood(tmp_path):
    file = yolo_folder(tmp_path, ["1 .5 .5 .5 .5"])
    (tmp_path / "list.txt").write_text("./images/train/a.jpg\n")
    file.write_text(yaml.safe_dump({"path": "/nowhere/at/all", "train": ["list.txt"], "nc": 2}))
    data = read_yolo(file)
    assert data.names == ("class0", "class1")
    assert data.images[0].path == tmp_path / "images" / "train" / "a.jpg"
    assert any("is no folder here" in remark for remark in data.remarks)


def test_boxes_survive_every_format_within_a_hundredth_of_a_pixel(tmp_path):
    random = np.random.default_rng(0)
    images = []
    for number in range(1, 6):
        path = picture(tmp_path / "images" / "train" / f"{number}.jpg", 97, 63)
        rows = BoxRows()
        for _ in range(number - 1):
            left, top = random.uniform(0, 40, 2)
            width, height = random.uniform(1, 23, 2)
            rows.add(
                (left, top, left + width, top + height), int(random.integers(2)), "", difficult=number == 5
            )
        images.append(rows.image(path, 97, 63, number, []))
    data = LabelledImages(images=images, names=("a", "b c"), category_ids=(1, 2))
    write_coco(data, tmp_path / "coco.json", folder=tmp_path)
    for image in images:
        write_voc(image, data.names, tmp_path / "Annotations" / f"{image.path.stem}.xml")
        write_yolo(image, label_file(image.path))
    write_yolo_yaml(tmp_path / "data.yaml", data.names, "train")
    write_yolo_yaml(tmp_path / "data.yaml", data.names, "val")
    with pytest.raises(UserError, match="is there with other classes"):
        write_yolo_yaml(tmp_path / "data.yaml", ("a",), "val")
    again = [
        read_coco(tmp_path / "coco.json", tmp_path),
        read_voc(tmp_path, offset=1),
        read_yolo(tmp_path / "data.yaml"),
    ]
    for back in again:
        assert back.names == data.names
        assert back.defects == []
        for before, after in zip(images, back.images, strict=True):
            np.testing.assert_allclose(after.boxes, before.boxes, atol=0.01)
            assert after.labels.tolist() == before.labels.tolist()
            assert (after.path, after.width, after.height) == (before.path, 97, 63)
    assert all(back.images[4].difficult.all() for back in again[:2])
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["val"] == "images/val"


def test_a_voc_file_whose_writing_breaks_off_is_as_it_was(tmp_path, monkeypatch):
    rows = BoxRows()
    rows.add((1, 2, 11, 22), 0, "")
    image, file = rows.image(picture(tmp_path / "a.png"), 40, 30, 1, []), tmp_path / "new" / "a.xml"
    write_voc(image, ("cat",), file)
    before = file.read_bytes()
    assert before.endswith(b"</annotation>\n")

    def write_half(self, text, **_):
        with open(self, "w") as stream:
            stream.write(text[: len(text) // 2])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="no space left"):
        write_voc(image, ("dog",), file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["a.xml"]


def test_results_are_a_coco_list_of_boxes_with_category_ids(tmp_path):
    found = [
        (7, np.array([[1, 2, 11, 22]], np.float32), np.array([0.25], np.float32), np.array([1])),
        (8, [], [], []),
    ]
    write_coco_results(found, (3, 90), tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == [
        {"image_id": 7, "category_id": 90, "bbox": [1.0, 2.0, 10.0, 20.0], "score": 0.25}
    ]
    write_coco_results([], (3, 90), tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_labels_follow_a_models_names_and_unknown_classes_are_refused(tmp_path):
    data = read_coco(coco_file(tmp_path, [{}, {"category_id": 90, "bbox": [0, 0, 5, 5]}]))
    turned = data.with_names(("bird", "dog", "cat"))
    assert turned.images[0].labels.tolist() == [2, 1]
    assert turned.category_ids[1:] == (90, 3)
    assert len(set(turned.category_ids)) == 3
    with pytest.raises(UserError, match="has boxes of dog, but the classes are cat"):
        data.with_names(("cat",))


def test_data_without_images_or_boxes_are_refused_and_what_is_said_is_kept_short(tmp_path):
    data = read_coco(coco_file(tmp_path, []))
    with pytest.raises(UserError, match="1 images, but no box"):
        not_empty(data, "coco:x")
    with pytest.raises(UserError, match="coco:x: no usable labelled image; the first defect: bad"):
        not_empty(LabelledImages(images=[], names=("a",), category_ids=(1,), defects=["bad"]), "coco:x")
    many = LabelledImages(images=[], names=(), category_ids=(), defects=[f"{i}" for i in range(9)])
    assert many.said(2) == ["0", "1", "... and 7 more defects"]
