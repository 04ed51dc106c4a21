"""The verbs `regions build` and `regions check`, and the count of patches that boxes cover."""

import json

import numpy as np
import pytest
from PIL import Image

from nonet.errors import UserError
from nonet.testing import call_cli, data_folder
from nonet.vision_language.caption_tokenizer import train_tokenizer
from pta_vlp.box_patches import BoxPatches


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def regions(*words):
    return call_cli("pta-vlp", "regions", *words)


@pytest.fixture
def coco(tmp_path):
    """Two photographs of 64 x 32 pixels: three boxes, a crowd, and one without area."""
    boxes = [(7, 3, [0, 0, 32, 16], 0), (7, 5, [40, 8, 8, 8], 0), (8, 3, [1, 1, 5, 5], 1),
             (8, 5, [0, 0, 64, 32], 0), (8, 5, [4, 4, 0, 5], 0)]  # fmt: skip
    for number in (7, 8):
        Image.new("RGB", (64, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in (7, 8)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": kind, "bbox": box, "iscrowd": crowd}
            for i, (image, kind, box, crowd) in enumerate(boxes)
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "wine glass"}],
    }
    write(tmp_path / "captions.json", {"annotations": [{"image_id": 8, "caption": "Dogs!"}]})
    return write(tmp_path / "instances.json", content)


@pytest.fixture
def own(tmp_path):
    """A file in the layout of the result, whose boxes are wrong in five ways."""
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    texts = ["dog", "on the right", "?!", "flat", "gone"]
    boxes = [[0, 0, 20, 10], [30, 10, 12, 5], [0, 0, 5, 5], [3, 3, 4, 0], [50, 2, 5, 5]]
    elems = [{"bb": box, "caption": text} for box, text in zip(boxes, texts, strict=True)]
    (tmp_path / "own.jsonl").write_text(
        "\n".join(json.dumps({"image": "a.png", "elems": part}) for part in (elems[:3], elems[3:])) + "\n"
    )
    return tmp_path / "own.jsonl"


# ------------------------------------------------------------------------------------------------------ build


def test_cocos_objects_and_captions_become_one_file(coco, tmp_path):
    out = tmp_path / "made" / "regions.jsonl"
    done = regions("build", "--coco", coco, "--captions", tmp_path / "captions.json", "--out", out)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert first["image"] == str(tmp_path / "7.png")
    assert first["elems"] == [
        {"bb": [0, 0, 32, 16], "caption": "dog"}, {"bb": [40, 8, 8, 8], "caption": "wine glass"}
    ]  # fmt: skip
    assert second["caption"] == "dogs"
    assert second["elems"] == [{"bb": [0, 0, 64, 32], "caption": "wine glass"}]
    for line in (
        f"{coco}: 2 images, 3 boxes", "left out: 1 crowd regions", "left out: 1 boxes without area",
        "annotation 4: box [4, 4, 0, 5]", f"{out}: regions of 2 images",
    ):  # fmt: skip
        assert line in done.stdout


def test_several_sources_go_into_one_file_which_is_not_replaced_unasked(coco, own, tmp_path):
    words = ("build", "--coco", coco, "--regions", own, "--out", tmp_path / "all.jsonl")
    assert regions(*words).returncode == 0
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"].rpartition("/")[2] for line in lines] == [
        "7.png", "8.png", "a.png", "a.png"
    ]  # fmt: skip
    refused = regions(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "all.jsonl: exists; name another file, or say --overwrite" in refused.stderr
    assert (tmp_path / "all.jsonl").read_text().splitlines() == lines
    assert regions(*words, "--overwrite").returncode == 0


def test_images_that_are_measured_on_are_refused(coco, tmp_path):
    val = write(tmp_path / "val.json", [{"image": "8.png", "caption": "a dog"}])
    refused = regions("build", "--coco", coco, "--val", val, "--out", tmp_path / "r.jsonl")
    assert refused.returncode == 2
    assert "1 images of the regions are in the validation data too" in refused.stderr
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "nothing to read: name --coco, --genome, --entities, --refcoco or --regions"),
        (["--coco", "absent.json"], "absent.json: no such file"),
        (["--genome", "absent"], "absent: no such folder"),
        (["--refcoco", "absent.p"], "instances.json: no such file"),
        (["--captions", "c.json", "--genome", "x"], "captions belongs to coco, which is not given"),
        (["--coco", "x", "--images", "nowhere"], "nowhere: no such folder of images"),
        (["--coco", "x", "--split", "train"], "split belongs to refcoco, which is not given"),
        (["--coco", "x", "--min-visible", "1"], "min_visible is 1; it is 0 or more, and below 1"),
    ],
)
def test_mistakes_are_one_line_and_no_file_is_made(words, text, tmp_path):
    refused = call_cli("pta-vlp", "regions", "build", *words, "--out", "r.jsonl", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert text in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_boxes_of_cocos_photographs_all_come_through(tmp_path):
    folder = data_folder("coco-mini", "annotations")
    instances = folder / "instances_val2017.json"
    done = regions("build", "--coco", instances, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    truth = [row for row in json.loads(instances.read_text())["annotations"] if not row["iscrowd"]]
    assert sum(len(record["elems"]) for record in found) == len(truth)
    done = regions("check", tmp_path / "r.jsonl", "--json")
    facts = json.loads(done.stdout)[str(tmp_path / "r.jsonl")]
    assert facts["boxes"] == len(truth) == sum(facts["covered"].values())
    assert facts["larger_than_keep"]["0.3"] >= facts["larger_than_keep"]["0.7"] > 0


# ------------------------------------------------------------------------------------------------------ check


def test_what_is_wrong_is_listed_with_file_and_line_and_counted(own):
    done = regions("check", own, "--image", "32", "--patch", "8", "--keep", "0.2", "0.5")
    assert done.returncode == 0, done.stderr
    for line in (
        f"{own}:1: elems[2]: '?!'",
        f"{own}:2: elems[0]: box [3, 3, 4, 0]; it is [x, y, width, height]",
        f"{own}:1: box (30, 10, 12, 5) in an image of 40 x 20 leaves it; clipped",
        f"{own}:2: box (50, 2, 5, 5) in an image of 40 x 20 lies outside",
        "left out: 1 boxes outside of their image",
        "left out: 1 boxes without area",
        "left out: 1 regions whose text is empty after clean-up",
        "2 images, 3 boxes",
        # 20 x 10 of 40 x 20 pixels is 2 x 2 of 4 x 4 patches; 10 x 5 from (30, 10) is 1 x 1
        "at 32 pixels in 16 patches of 8: a box covers 2.5 on average",
        "keep 0.2 leaves 3: 1 of 2 boxes (50.0%) cover more",
        "keep 0.5 leaves 8: 0 of 2 boxes (0.0%) cover more",
        "3 texts",
    ):
        assert line in done.stdout
    assert regions("check", own, "--strict").returncode == 1


def test_a_file_without_faults_passes_strictly(coco, tmp_path):
    regions("build", "--coco", coco, "--out", tmp_path / "r.jsonl")
    done = regions("check", tmp_path / "r.jsonl", "--strict", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)[str(tmp_path / "r.jsonl")]
    assert (facts["images"], facts["boxes"], facts["left_out"], facts["looks_like_xyxy"]) == (2, 3, {}, 0)
    assert facts["covered"] == {"0.05": 1, "0.25": 1, "1": 1}


def test_corners_in_place_of_sizes_are_noticed_and_read(own, tmp_path):
    record = {
        "image": "a.png",
        "elems": [{"bb": [20, 10, 38, 18], "caption": "x"}, {"bb": [30, 2, 40, 8], "caption": "y"}],
    }
    (tmp_path / "corners.jsonl").write_text(json.dumps(record) + "\n")
    hint = "2 of 2 boxes that leave their image would fit as left, top, right, bottom"
    assert hint in regions("check", tmp_path / "corners.jsonl").stdout
    assert (
        hint
        in regions("build", "--regions", tmp_path / "corners.jsonl", "--out", tmp_path / "x.jsonl").stdout
    )
    assert regions("check", tmp_path / "corners.jsonl", "--boxes", "xyxy", "--strict").returncode == 0


def test_texts_that_are_too_long_are_counted(own, tmp_path):
    train_tokenizer(["dog on the right gone"] * 2, 200).save_pretrained(tmp_path / "words")
    words = ("check", own, "--tokenizer", tmp_path / "words", "--max-length")
    # "on the right" is three words, behind one that begins it
    for length, count in ((4, 0), (3, 1)):
        assert f"{count} are longer than max_length {length} and are cut" in regions(*words, length).stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["absent.jsonl"], "absent.jsonl"),
        (["own.jsonl", "--images", "nowhere"], "nowhere: no such folder of images"),
        (
            ["own.jsonl", "--patch", "24"],
            "image is 256, which is not whole patches of 24; the nearest sizes are 240 and 264",
        ),
        (["own.jsonl", "--images", "words"], "its images are not below words, such as a.png"),
        (["own.jsonl", "--keep", "0"], "keep is 0; it is above 0 and at most 1"),
        (["own.jsonl", "--max-length", "1"], "max_length is 1; a text begins with a token of its own"),
        (["own.jsonl", "--tokenizer", "."], "no tokenizer in it"),
    ],
)
def test_mistakes_of_a_check_are_one_line(words, text, own, tmp_path):
    (tmp_path / "words").mkdir()
    refused = call_cli("pta-vlp", "regions", "check", *words, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert text in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


# ------------------------------------------------------------------------------------------ patches of boxes


def test_patches_are_those_with_a_pixel_of_the_box():
    """Against a drawing: whole pixels of an image that keeps its size."""
    random, covered = np.random.default_rng(0), BoxPatches(32, 8)
    wanted = np.zeros(17, int)
    for _ in range(50):
        left, top = random.integers(0, 31, 2)
        width, height = random.integers(1, 33 - np.array([left, top]))
        drawn = np.zeros((32, 32), bool)
        drawn[top : top + height, left : left + width] = True
        wanted[drawn.reshape(4, 8, 4, 8).any((1, 3)).sum()] += 1
        covered.add(np.array([[left, top, width, height]], float), (32, 32))
    assert covered.counts.tolist() == wanted.tolist()
    assert covered.mean() == pytest.approx((wanted * np.arange(17)).sum() / 50)
    assert covered.larger_than(0.5) == wanted[9:].sum()


def test_boxes_are_stretched_with_their_image():
    covered = BoxPatches(32, 8)
    covered.add(np.array([[0.0, 0, 100, 25]]), (200, 100))  # half and a quarter: 2 x 1 of 4 x 4
    assert covered.counts.nonzero()[0].tolist() == [2]
    covered.add(np.zeros((0, 4)), (5, 5))
    assert covered.counts.sum() == 1


def test_no_share_keeps_less_than_a_patch():
    assert BoxPatches(32, 8).kept(0.01) == 1
    assert BoxPatches(32, 8).kept(0.5) == 8
    with pytest.raises(UserError, match="the nearest sizes are 16 and 32"):
        BoxPatches(20, 16)
