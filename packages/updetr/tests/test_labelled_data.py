"""Labelled data as options name them, what `data` does with them, and parts of them with few labels."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nonet.data.coco_boxes import write_coco
from nonet.data.labelled_boxes import BoxRows, LabelledImages
from nonet.errors import UserError
from nonet.testing import call_cli, data_folder
from updetr.data_convert import convert, split
from updetr.data_stats import counts
from updetr.drawing import COLOURS, Marks, beside, draw
from updetr.label_faults import label_faults
from updetr.labelled_data import overlap, read_labelled
from updetr.low_data import fraction_of, shots_of, subset


def made_up(folder, count=6, *, first=0, crowd=False):
    """A data set of grey pictures of 60 x 40, image i with i % 4 boxes of three classes."""
    images = []
    for number in range(count):
        path = folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (first + number, 0, 0)).save(path)
        rows = BoxRows()
        for box in range(number % 4):
            rows.add((box, 1, box + 20, 21), box, "", crowd=crowd and box == 1, difficult=box == 2)
        images.append(rows.image(path, 60, 40, number + 1, []))
    return LabelledImages(images=images, names=("a", "b", "c"), category_ids=(1, 2, 3))


def written(folder, to, out):
    """train.json in another layout, in a folder beside it."""
    words = ("--data", f"{folder}/train.json", "--to", to, "--out", folder / out)
    assert call_cli("updetr", "data", "convert", *words).returncode == 0


@pytest.fixture
def made(tmp_path):
    data = made_up(tmp_path / "images", crowd=True)
    write_coco(data, tmp_path / "train.json")
    return data


def test_a_source_is_known_by_its_word_or_by_its_looks(made, tmp_path):
    for source in ("coco:{0}/train.json,{0}/images", "coco:{0}/train.json", "{0}/train.json,{0}/images"):
        assert len(read_labelled(source.format(tmp_path))) == 6
    written(tmp_path, "voc", "v")
    written(tmp_path, "yolo", "y")
    for source in (
        "voc:{0}/v:train",
        "voc:{0}/v",
        "{0}/v:train",
        "yolo:{0}/y/data.yaml",
        "{0}/y/data.yaml:train",
    ):
        data = read_labelled(source.format(tmp_path))
        assert data.names == made.names
        assert data.boxes_a_class().tolist() == made.boxes_a_class().tolist()
    for source in ("none.json", "coco:", "voc:none:train", "neither", "yolo:none.yaml", "pascal:x"):
        with pytest.raises(UserError):
            read_labelled(source)
    with pytest.raises(UserError, match=r"voc_offset is given, but .* is not in VOC's format"):
        read_labelled(f"{tmp_path}/train.json", voc_offset=1)
    assert sum(image.difficult.sum() for image in read_labelled(f"{tmp_path}/train.json").images) == 1
    assert (
        sum(
            image.difficult.sum()
            for image in read_labelled(f"{tmp_path}/train.json", drop_difficult=True).images
        )
        == 0
    )


def test_data_without_a_box_are_refused_unless_they_are_only_looked_at(tmp_path):
    data = made_up(tmp_path / "images", 1)
    write_coco(data, tmp_path / "train.json")
    with pytest.raises(UserError, match="1 images, but no box"):
        read_labelled(f"{tmp_path}/train.json")
    assert len(read_labelled(f"{tmp_path}/train.json", empty=True)) == 1


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("placing", ["link", "copy"])
def test_converted_data_hold_the_same_boxes_and_images(made, tmp_path, form, placing):
    words = ["--data", f"{tmp_path}/train.json", "--to", form, "--out", tmp_path / form, "--images", placing]
    done = call_cli("updetr", "data", "convert", *words, "--split-name", "mine")
    assert done.returncode == 0, done.stderr
    back = read_labelled(done.stdout.strip())
    assert ("crowd regions are left out" in done.stderr) == (form != "coco")
    assert ("the new files count pixels from 0; " in done.stderr) == (form == "voc")
    for before, after in zip(made.images, back.images, strict=True):
        before = before if form == "coco" else before.keep(~before.crowd)
        np.testing.assert_allclose(after.boxes, before.boxes, atol=0.01)
        assert after.labels.tolist() == before.labels.tolist()
        assert after.path.read_bytes() == before.path.read_bytes()
        assert after.path.is_symlink() == (placing == "link")
    again = call_cli("updetr", "data", "convert", *words, "--split-name", "mine")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    other = call_cli("updetr", "data", "convert", *words, "--split-name", "other")
    assert other.returncode == (2 if form == "voc" else 0)  # VOC has one folder for the images of all splits


def test_images_of_one_name_get_that_of_their_folder_before_it(tmp_path):
    data = [made_up(tmp_path / name, 2, first=first) for name, first in (("one", 0), ("two", 10))]
    write_coco(
        LabelledImages(
            images=[*data[0].images, *(replace(image, id=image.id + 9) for image in data[1].images)],
            names=data[0].names, category_ids=(1, 2, 3),
        ),
        tmp_path / "both.json", folder=tmp_path,
    )  # fmt: skip
    words = ("--data", f"coco:{tmp_path}/both.json,{tmp_path}", "--to", "yolo", "--out", tmp_path / "y")
    done = call_cli("updetr", "data", "convert", *words)
    assert "4 images share a name with others" in done.stderr
    back = read_labelled(done.stdout.strip())
    assert [image.path.name for image in back.images] == ["one_0.png", "one_1.png", "two_0.png", "two_1.png"]


def test_check_says_nothing_of_good_data_and_ends_with_one_of_bad_ones(made, tmp_path):
    done = call_cli("updetr", "data", "check", "--data", f"{tmp_path}/train.json")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "6 images, 0 defects, 3 remarks"
    broken = json.loads((tmp_path / "train.json").read_text())
    broken["annotations"][0]["bbox"] = [1, 1, 0, 5]
    broken["images"][1]["width"], broken["images"][1]["height"] = 40, 60
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    whole = (tmp_path / "images" / "2.png").read_bytes()
    (tmp_path / "images" / "2.png").write_bytes(whole[:-30])
    done = call_cli("updetr", "data", "check", "--data", f"{tmp_path}/broken.json", f"{tmp_path}/train.json")
    assert done.returncode == 1
    for words in (
        "annotation 1 of 1.png: box 1 1 1 6 (xyxy) has no area; dropped",
        "1.png: 60 x 40 pixels, but its annotation says 40 x 60 (turned?)",
        "2.png: cannot be decoded",
        "4.png = ",
    ):
        assert words in done.stdout


def test_check_counts_what_two_splits_share_and_names_five(tmp_path):
    for count, name in ((7, "many"), (5, "few")):
        for part in ("one", "two"):
            write_coco(made_up(tmp_path / name / part, count), tmp_path / name / f"{part}.json")
    for name, words in (("many", "7 images are in both, by their bytes, such as "),
                        ("few", "5 images are in both, by their bytes: ")):  # fmt: skip
        folder = tmp_path / name
        done = call_cli("updetr", "data", "check", "--data", f"{folder}/one.json", f"{folder}/two.json")
        (line,) = (line for line in done.stdout.splitlines() if "in both" in line)
        pairs = [f"{folder}/two/{i}.png = {folder}/one/{i}.png" for i in range(5)]
        assert line == f"{folder}/one.json and {folder}/two.json: {words}{', '.join(pairs)}"
        assert done.stdout.splitlines()[-1].split(", ")[1] == "1 defects"


@pytest.mark.parametrize("form", ["coco", "voc"])
def test_boxes_beyond_a_size_that_is_wrong_itself_are_counted_in_its_line(tmp_path, form):
    data = made_up(tmp_path / "images", 4)
    images = [replace(image, width=9, height=15) if image.id == 4 else image for image in data.images]
    rows = BoxRows()
    rows.add((1, 1, 70, 20), 0, "")
    images[1] = replace(rows.image(images[1].path, 90, 40, 2, []), width=60)
    data = replace(data, images=images)
    source = f"coco:{tmp_path}/a.json,{tmp_path}/images"
    if form == "coco":
        write_coco(data, tmp_path / "a.json")
    else:
        source, _ = convert(data, "voc", tmp_path / "v", "train")
    done = call_cli("updetr", "data", "check", "--data", source)
    defects = [line for line in done.stdout.splitlines() if "pixels, but" in line or ": box " in line]
    assert len(defects) == 2
    assert defects[0].endswith(
        "3.png: 60 x 40 pixels, but its annotation says 9 x 15; 3 of its boxes go beyond that"
    )
    assert defects[1].endswith(": box 1 1 70 20 (xyxy) leaves the image of 60 x 40; clipped")
    assert done.stdout.splitlines()[-1].split(", ")[1] == "2 defects"


def test_check_lists_every_label_for_which_a_file_is_refused(made, tmp_path):
    written(tmp_path, "yolo", "y")
    labels = tmp_path / "y" / "labels" / "train"
    good = "1 0.5 0.5 0.2 0.2\n"
    (labels / "1.txt").write_text(good + "7 0.5 0.5 0.2 0.2\n\n0.5 0.5 0.5 0.2 0.2\n")
    (labels / "2.txt").write_text("0 30 20 10 10\n0 one 0.5 0.2 0.2\n" + good)
    (labels / "3.txt").write_text("0 0.5 0.5 0.2\n-1 0.5 0.5 0.2 0.2\n")
    (labels / "5.txt").write_bytes(b"\xff\xfe")
    done = call_cli("updetr", "data", "check", "--data", f"{tmp_path}/y/data.yaml", f"{tmp_path}/train.json")
    assert done.returncode == 1
    assert done.stderr == ""
    said = done.stdout.splitlines()
    for number, text in (
        ("1.txt:2", "class 7, but data.yaml has 3 names, 0 to 2"),
        ("1.txt:4", "the class is 0.5; it is a whole number, and comes first"),
        ("2.txt:1", "30 is beyond 1; YOLO's numbers are shares of the image"),
        ("2.txt:2", "'0 one 0.5 0.2 0.2' is not a row of numbers"),
        ("3.txt:1", "4 numbers are neither a box nor a polygon"),
        ("3.txt:2", "class -1, but data.yaml has 3 names, 0 to 2"),
    ):
        assert f"{labels}/{number}: {text}" in said
    assert sum(line.startswith(f"{labels}/5.txt: cannot be read") for line in said) == 1
    assert said[-1] == f"6 images, 7 defects, 3 remarks; not read: {tmp_path}/y/data.yaml"

    broken = json.loads((tmp_path / "train.json").read_text())
    first = broken["annotations"][0]
    broken["annotations"] += [first | {"id": 100 + i, "category_id": 40 + i} for i in range(25)]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    done = call_cli("updetr", "data", "check", "--data", f"coco:{tmp_path}/broken.json,{tmp_path}/images")
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert said[0].startswith(f"{tmp_path}/broken.json: 25 annotations have a category_id")
    where = f"{tmp_path}/broken.json: annotation 118 of 1.png: "
    assert said[19] == f"{where}category_id is 58; there are 1, 2, 3"
    assert said[21:] == [
        "... and 5 more like these",
        f"0 images, 25 defects, 0 remarks; not read: coco:{tmp_path}/broken.json,{tmp_path}/images",
    ]
    broken["images"].append({"id": [1], "file_name": "odd.png"})  # of which the reader complains
    broken["annotations"].append(first | {"id": 200, "image_id": {}})
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    assert len(label_faults(f"coco:{tmp_path}/broken.json")) == 25
    (tmp_path / "broken.json").write_text("[]")  # what is no list of labels is refused as ever
    done = call_cli("updetr", "data", "check", "--data", f"{tmp_path}/broken.json")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_check_finds_the_two_bad_boxes_of_bccd_and_no_overlap_of_its_splits():
    root = data_folder("bccd", "BCCD")
    data = {part: read_labelled(f"voc:{root}:{part}") for part in ("val", "test")}
    assert [defect.rpartition("/")[2][:20] for defect in data["val"].defects] == ["BloodImage_00338.xml"]
    assert overlap(*([image.path for image in part.images] for part in data.values())) == []


def test_stats_count_boxes_and_draw_a_page(made, tmp_path):
    found = counts(made)
    assert (found["images"], found["images without a box"], found["boxes"]) == (6, 2, 5)
    assert (found["crowd regions"], found["difficult boxes"], found["most boxes of an image"]) == (2, 1, 2)
    assert (found["small boxes (below 32 x 32 pixels)"], found["large boxes (from 96 x 96 pixels)"]) == (5, 0)
    assert found["median share of the image"] == round(400 / 2400, 4)
    done = call_cli(
        "updetr", "data", "stats", "--data", f"{tmp_path}/train.json", "--out", tmp_path / "s.html"
    )
    assert "  a: 4 boxes in 4 images" in done.stdout.splitlines()
    page = (tmp_path / "s.html").read_text()
    assert page.count("<img src=") == 6
    empty = LabelledImages(images=[], names=("a",), category_ids=(1,))
    assert counts(empty)["boxes"] == 0


def test_a_split_deals_every_image_once_keeps_copies_together_and_is_the_same_each_time(made, tmp_path):
    (tmp_path / "images" / "5.png").write_bytes((tmp_path / "images" / "4.png").read_bytes())
    parts = split(made, (0.5, 0.3, 0.2), seed=3)
    assert sorted(image.id for part in parts for image in part.images) == [1, 2, 3, 4, 5, 6]
    assert all(len(part) for part in parts)
    homes = {image.id: place for place, part in enumerate(parts) for image in part.images}
    assert homes[5] == homes[6]
    turned = split(made.take([5, 4, 3, 2, 1, 0]), (0.5, 0.3, 0.2), seed=3)
    assert {image.id: place for place, part in enumerate(turned) for image in part.images} == homes
    with pytest.raises(UserError, match="they are positive and add up to 1"):
        split(made, (0.5, 0.4), seed=0)
    with pytest.raises(UserError, match="5 different images cannot be split into 6 parts"):
        split(made, (0.5, 0.1, 0.1, 0.1, 0.1, 0.1), seed=0)
    done = call_cli("updetr", "data", "split", "--data", f"{tmp_path}/train.json", "--out", tmp_path / "s")
    lines = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert [len(read_labelled(line)) for line in lines] == [
        len(part) for part in split(made, (0.8, 0.2), seed=0)
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["convert", "--data", "a.json", "--to", "coco"], "convert needs out"),
        (["check", "--data", "a.json", "--to", "coco"], "convert and to come together"),
        (["stats", "--data", "a.json", "b.json"], "stats takes one data set, not 2"),
        (["split", "--data", "a.json", "--out", "x", "--names", "a"], "1 names for 2 shares"),
        (["split", "--data", "a.json", "--out", "x", "--names", "a", "a"], "each is another"),
        (["check", "--data", "a.json"], "a.json: no file or folder a.json"),
    ],
)
def test_options_of_data_that_do_not_fit_are_refused(tmp_path, words, said):
    done = call_cli("updetr", "data", *words, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines()), said in done.stderr) == (2, 1, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fraction_is_a_part_of_a_larger_one_whatever_the_order(made):
    for seed in range(3):
        small, large = (set(ids(fraction_of(made, share, seed))) for share in (0.34, 0.67))
        assert (len(small), len(large), small < large) == (2, 4, True)
        assert small == set(ids(fraction_of(made.take([3, 2, 5, 4, 0, 1]), 0.34, seed)))
    assert len({tuple(ids(fraction_of(made, 0.34, seed))) for seed in range(20)}) > 5
    assert len(fraction_of(made, 0.001, 0)) == 1
    with pytest.raises(UserError, match=r"it lies in \(0, 1\]"):
        fraction_of(made, 0, 0)
    with pytest.raises(UserError, match="a fraction or shots, not both"):
        subset(made, fraction=0.5, shots=1)
    assert subset(made) is made


def ids(data):
    return [image.id for image in data.images]


@pytest.mark.parametrize("seed", range(4))
def test_shots_are_at_least_or_exactly_so_many_boxes_of_each_class(tmp_path, seed):
    data = made_up(tmp_path / "images", 24)  # 18 boxes of a, 12 of b, 6 of c
    whole, exact = shots_of(data, 3, seed), shots_of(data, 3, seed, exact=True)
    assert whole.boxes_a_class().min() == 3
    assert all(len(image.boxes) == len(data.images[image.id - 1].boxes) for image in whole.images)
    assert exact.boxes_a_class().tolist() == [3, 3, 3]
    assert all(len(image.boxes) == len(data.images[image.id - 1].boxes) for image in data.images)  # untouched
    assert ids(shots_of(data, 3, seed)) == ids(whole)
    with pytest.raises(UserError, match=r"7 shots, but fewer boxes of c \(6\)"):
        shots_of(data, 7, seed)
    with pytest.raises(UserError, match="shots is 0"):
        shots_of(data, 0, seed)


def test_exact_shots_take_some_boxes_of_an_image_and_leave_the_rest(tmp_path):
    rows = BoxRows()
    for left in range(5):
        rows.add((left, 1, left + 9, 9), 0, "", crowd=left == 0)
    data = LabelledImages(images=[rows.image(tmp_path, 60, 40, 1, [])], names=("a",), category_ids=(1,))
    exact = shots_of(data, 2, 0, exact=True)
    assert exact.images[0].boxes[:, 0].tolist() == [1, 2]
    assert len(shots_of(data, 2, 0).images[0].boxes) == 5


def test_a_box_is_drawn_on_its_edges_and_nowhere_inside():
    plain = Image.new("RGB", (100, 80), "black")
    drawn = np.array(draw(plain, Marks([(10, 20, 60, 70), (-5, -5, 300, 300)], ["", ""], [0, 1])))
    assert tuple(drawn[20, 30]) == tuple(drawn[50, 60]) == COLOURS[0]
    assert tuple(drawn[0, 50]) == tuple(drawn[40, 99]) == COLOURS[1]  # clipped to the image
    assert drawn[40:50, 30:40].sum() == 0
    assert np.array(plain).sum() == 0
    dashed = np.array(draw(plain, Marks([(10, 20, 60, 70)], [""], [0]), dashed=True))[20, 10:60]
    assert {tuple(pixel) for pixel in dashed} == {COLOURS[0], (0, 0, 0)}
    named = np.array(draw(plain, Marks([(90, 2, 99, 70)], ["a long name"], [4])))
    assert (named.sum(2) > 0)[:, :85].any()  # a text that would leave the image is moved into it
    assert beside([plain, plain, plain], columns=2, gap=4).size == (204, 164)


def test_pictures_need_no_boxes():
    plain = Image.new("RGB", (40, 30), "white")
    assert draw(plain, Marks(np.zeros((0, 4)), [], [])).tobytes() == plain.tobytes()
