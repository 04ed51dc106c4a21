import json

import numpy as np
import pytest
from PIL import Image

from nonet.data.image_text_pairs import read_pairs, refuse_overlap, same_images
from nonet.errors import UserError
from nonet.testing import data_folder


def picture(path, colour=(10, 20, 30), size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    return tmp_path


def content(table):
    return [(table.path(i).name, table.captions_of(i), table.ids[i]) for i in range(len(table))]


def listed(path, records):
    path.write_text("\n".join(map(json.dumps, records)) if path.suffix == ".jsonl" else json.dumps(records))
    return path


RECORDS = [
    {"image": "a.png", "caption": "A dog.", "image_id": 7},
    {"image": "b.png", "caption": ["A cat!", "...", "Two cats"]},
    {"image": "a.png", "caption": "The dog", "image_id": 7},
]


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl"])
def test_json_gives_an_item_a_record(folder, name):
    table = read_pairs([listed(folder / name, RECORDS)])
    assert content(table) == [
        ("a.png", ["a dog"], f"{folder / name}:7"),
        ("b.png", ["a cat", "two cats"], str(folder / "b.png")),
        ("a.png", ["the dog"], f"{folder / name}:7"),
    ]
    assert table.numbers.tolist() == [0, 1, 0]
    assert table.places[2] == f"{folder / name}:" + ("record 3" if name.endswith("json") else "3")
    assert table.left_out == {"captions empty after clean-up": 1}
    assert table.open(1).size == (8, 6)


def test_tables_and_lists_of_flickr_give_an_item_an_image(folder):
    csv = folder / "captions.txt"
    csv.write_text('image,caption\na.png,"A dog, running ."\nb.png,A cat .\na.png,The dog .\n')
    token = folder / "Flickr8k.token.txt"
    token.write_text("a.png#0\tA dog, running .\na.png#1\tThe dog .\nb.png#0\tA cat .\n")
    bars = folder / "results.csv"
    bars.write_text(
        "image_name| comment_number| comment\na.png| 0| A dog, running .\na.png| 1 The dog .\n"
        "b.png| 0| A cat .\n"
    )
    for path in (csv, token, bars):
        table = read_pairs([path])
        assert content(table) == [
            ("a.png", ["a dog running", "the dog"], str(folder / "a.png")),
            ("b.png", ["a cat"], str(folder / "b.png")),
        ]
        assert table.places[0] == f"{path}:{1 if path is token else 2}"


def test_coco_and_karpathy_give_an_item_an_image(tmp_path):
    picture(tmp_path / "val2017/000001.png")
    picture(tmp_path / "val2017/000002.png")
    coco = {
        "images": [{"id": 2, "file_name": "000002.png"}, {"id": 1, "file_name": "000001.png"}],
        "annotations": [{"image_id": 1, "caption": "One"}, {"image_id": 2, "caption": "Two."},
                        {"image_id": 1, "caption": "Eins"}],
    }  # fmt: skip
    (tmp_path / "annotations").mkdir()
    table = read_pairs([listed(tmp_path / "annotations/captions_val2017.json", coco)])
    assert content(table) == [("000002.png", ["two"], "2"), ("000001.png", ["one", "eins"], "1")]
    karpathy = {
        "images": [
            {"filepath": "val2017", "filename": f"00000{n}.png", "cocoid": n, "split": split, "imgid": 0,
             "sentences": [{"raw": f"Number {n}."}]}
            for n, split in ((1, "train"), (2, "restval"), (1, "test"))
        ],
        "dataset": "coco",
    }  # fmt: skip
    path = listed(tmp_path / "dataset_coco.json", karpathy)
    assert content(read_pairs([path], split="train+restval")) == [
        ("000001.png", ["number 1"], "1"),
        ("000002.png", ["number 2"], "2"),
    ]
    assert len(read_pairs([path])) == 3
    with pytest.raises(UserError, match=r"no image of split val; it has restval, test, train"):
        read_pairs([path], split="val")


def test_images_are_looked_for_where_the_user_says(tmp_path):
    picture(tmp_path / "elsewhere/deep/a.png", size=(3, 4))
    path = listed(tmp_path / "pairs.json", [{"image": "deep/a.png", "caption": "a"}])
    with pytest.raises(
        UserError, match=r"its images are not beside it, such as deep/a.png: name their folder"
    ):
        read_pairs([path])
    assert read_pairs([path], folder=tmp_path / "elsewhere").open(0).size == (3, 4)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"caption": "a"}, r":2: no field 'image'; fields are caption"),
        ({"image": "a.png"}, r":2: no field 'caption'; fields are image"),
        ({"image": "a.png", "caption": 3}, r":2: caption is a int; it is a text or a list of them"),
        ({"image": None, "caption": "a"}, r":2: image is None; it is a path"),
    ],
)
def test_a_broken_record_is_named_by_file_and_line_or_left_out(folder, record, text):
    path = listed(folder / "pairs.jsonl", [RECORDS[0], record])
    with pytest.raises(UserError, match=text):
        read_pairs([path])
    said = []
    table = read_pairs([path], on_bad="skip", remark=said.append)
    assert len(table) == 1
    assert said == ["left out: 1 records that cannot be read"]


def test_pairs_without_words_are_left_out_and_counted(folder):
    path = listed(folder / "pairs.json", [RECORDS[0], {"image": "b.png", "caption": "!!!"},
                                          {"image": "c.png", "caption": []}])  # fmt: skip
    said = []
    assert len(read_pairs([path], remark=said.append)) == 1
    assert said == [
        "left out: 1 captions empty after clean-up",
        "left out: 1 images whose captions are all empty",
        "left out: 1 images without a caption",
    ]
    with pytest.raises(UserError, match="no image with a caption"):
        read_pairs([listed(folder / "pairs.json", [{"image": "b.png", "caption": "!!!"}])])


def test_files_that_are_something_else_are_refused(folder):
    (folder / "notes.txt").write_text("nothing of that kind\n")
    with pytest.raises(UserError, match=r"notes.txt:1: neither a header such as image,caption"):
        read_pairs([folder / "notes.txt"])
    with pytest.raises(UserError, match="no such file"):
        read_pairs([folder / "absent.json"])
    boxes = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
    }
    with pytest.raises(UserError, match=r"annotations\[0\] has no caption; boxes are read as regions"):
        read_pairs([listed(folder / "instances.json", boxes)])
    with pytest.raises(UserError, match=r"has no splits; leave out the split 'train'"):
        read_pairs([listed(folder / "pairs.json", RECORDS)], split="train")


def test_some_of_the_images_keep_all_that_belongs_to_them(folder):
    table = read_pairs([listed(folder / "pairs.json", RECORDS)])
    some = table.take([2, 1])
    assert content(some) == [content(table)[2], content(table)[1]]
    assert some.numbers.tolist() == [0, 1]
    assert some.places[1] == table.places[1]
    assert len(table.take([])) == 0


def test_an_image_in_two_sets_is_found_by_id_or_by_file(folder):
    for name in ("000042.png", "val/COCO_val_000042.png", "val/a.png"):
        picture(folder / name)
    (folder / "link.png").symlink_to(folder / "b.png")
    coco = {"image": "000042.png", "caption": "x", "image_id": 42}
    train = read_pairs([listed(folder / "train.json", [*RECORDS, coco])])

    def other(image, **more):
        return read_pairs([listed(folder / "val.json", [{"image": image, "caption": "x", **more}])])

    for apart in (other("c.png"), other("c.png", image_id=7), other("val/a.png")):
        assert same_images(apart, train) == []
        refuse_overlap(train, apart, "validation")
    for shared, name in (
        (other("./b.png"), "b.png"),
        (other("link.png"), "link.png"),
        (other("val/COCO_val_000042.png", image_id=42), "COCO_val_000042.png"),
    ):
        assert [path.rpartition("/")[2] for path in same_images(shared, train)] == [name]
        with pytest.raises(UserError, match="1 images of the validation data are in the training data too"):
            refuse_overlap(train, shared, "validation")


def test_all_of_flickr8k_and_coco_is_read():
    flickr = read_pairs([data_folder("flickr8k-mini", "captions.txt")])
    assert (len(flickr), len(flickr.captions)) == (1000, 5000)
    assert (
        flickr.captions_of(0)[0] == "a child in a pink dress is climbing up a set of stairs in an entry way"
    )
    train, val = (
        read_pairs([data_folder("coco-mini", "annotations", f"captions_{split}2017.json")])
        for split in ("train", "val")
    )
    assert (len(train), len(val)) == (80, 79)
    assert min(len(train.captions_of(i)) for i in range(80)) >= 5
    assert np.asarray(train.open(0)).shape[2] == 3
    refuse_overlap(train, val, "validation")
