"""Pairs and regions checked, thinned and packed, by the options of a command line."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from nonet.cli.options import parse
from nonet.data.image_text_pairs import read_pairs
from nonet.errors import UserError
from nonet.testing import data_folder
from nonet.vision_language.caption_tokenizer import named_tokenizer
from nonet.vision_language.prepare_options import PrepareOptions
from nonet.vision_language.preparing import prepare_data


@pytest.fixture
def pairs(tmp_path):
    random = np.random.default_rng(0)
    words = ["dog", "cat", "runs", "sleeps", "red", "blue", "house", "street"]
    records = []
    for number in range(20):
        Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        captions = [" ".join(random.choice(words, 5)).title() + "." for _ in range(2)]
        records.append({"image": f"{number}.png", "caption": captions})
    return write(tmp_path / "pairs.json", records)


def write(path, records):
    path.write_text(json.dumps(records))
    return path


def prepare(*arguments):
    """What the verb of a package prints."""
    said = []
    prepare_data(
        parse(PrepareOptions, [str(word) for word in arguments], command="prepare").options, said.append
    )
    return "\n".join(said)


def refusal(*arguments):
    """What the verb is refused with, in one line."""
    with pytest.raises(UserError) as raised:
        prepare(*arguments)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


def test_pairs_are_cleaned_and_can_be_read_again(pairs, tmp_path):
    said = prepare("--pairs", pairs, "--out", tmp_path / "out", "--vocabulary", 200)
    before, after = read_pairs([pairs]), read_pairs([tmp_path / "out/pairs.jsonl"])
    assert [after.captions_of(i) for i in range(20)] == [before.captions_of(i) for i in range(20)]
    assert [after.path(i) for i in range(20)] == [before.path(i) for i in range(20)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "pairs.jsonl",
        "prepare.json",
        "tokenizer",
    ]
    tokenizer = named_tokenizer(tmp_path / "out/tokenizer")
    assert tokenizer.tokenize("red dog") == ["red", "dog"]
    account = json.loads((tmp_path / "out/prepare.json").read_text())
    assert account["word_pieces"]["mean"] == 5
    assert account["word_pieces"]["cut_off"] == 0
    assert f"{tmp_path / 'out/pairs.jsonl'}: 20 items of 20 images, 40 captions" in said
    assert "a caption has 5.0 on average, 5 at most; 0 captions are longer than max_length 20" in said


def test_long_captions_are_counted(pairs, tmp_path):
    said = prepare("--pairs", pairs, "--out", tmp_path / "out", "--vocabulary", 200, "--max-length", 6)
    assert "40 captions are longer than max_length 6" in said


def test_what_cannot_be_used_is_left_out_and_listed(pairs, tmp_path):
    records = json.loads(pairs.read_text())
    records[2]["image"] = "absent.png"
    (tmp_path / "cut.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    records[3]["image"] = "cut.png"
    records[4]["caption"] = ["?!"]
    (tmp_path / "copy.png").write_bytes((tmp_path / "5.png").read_bytes())
    records[6]["image"] = "copy.png"
    said = prepare("--pairs", write(pairs, records), "--out", tmp_path / "out")
    assert "17 items of 16 images, 34 captions" in said
    for line in (
        "left out: 1 captions empty after clean-up",
        "left out: 1 images whose captions are all empty",
        "left out: 2 images that cannot be read",
        "1 images have the same bytes as another",
    ):
        assert line in said
    problems = (tmp_path / "out/problems.txt").read_text().splitlines()
    assert problems[0] == f"{pairs}:record 3: {tmp_path / 'absent.png'}: no such file or directory"
    assert problems[1].startswith(f"{pairs}:record 4: {tmp_path / 'cut.png'}: ")
    table = read_pairs([tmp_path / "out/pairs.jsonl"])
    assert Counter(table.numbers.tolist()).most_common(1)[0][1] == 2


def test_wrong_captions_are_logged_and_the_tokenizer_learns_the_true_ones(pairs, tmp_path):
    out = tmp_path / "out"
    said = prepare(
        "--pairs", pairs, "--out", out, "--corrupt-captions", 0.5, "--seed", 3, "--vocabulary", 200
    )
    assert "wrong on purpose: 20 captions" in said
    log = [json.loads(line) for line in (out / "wrong_captions.jsonl").read_text().splitlines()]
    before, after = read_pairs([pairs]), read_pairs([out / "pairs.jsonl"])
    places = list(before.places)
    assert len(log) == 20
    for entry in log:
        item = places.index(entry["place"])
        assert before.captions_of(item)[entry["caption"]] == entry["was"]
        assert after.captions_of(item)[entry["caption"]] == entry["now"] != entry["was"]
    prepare("--pairs", pairs, "--out", tmp_path / "clean", "--vocabulary", 200)
    clean = named_tokenizer(tmp_path / "clean/tokenizer")
    assert clean.get_vocab() == named_tokenizer(out / "tokenizer").get_vocab()


def test_shards_hold_the_same_files_and_captions(pairs, tmp_path):
    prepare("--pairs", pairs, "--out", tmp_path / "out", "--shard-size", 8)
    before, after = read_pairs([pairs]), read_pairs([tmp_path / "out/shards"])
    assert len(list((tmp_path / "out/shards").glob("*.tar"))) == 3
    for item in range(20):
        assert after.captions_of(item) == before.captions_of(item)
        assert after.data(item) == before.data(item)
        assert after.ids[item] == before.ids[item]
    refused = refusal("--pairs", tmp_path / "out/shards", "--out", tmp_path / "again")
    assert "pairs in shards are written as shards: give shard_size" in refused


def test_a_smaller_share_is_part_of_a_larger_one(pairs, tmp_path):
    kept = {}
    for share in (0.25, 0.5):
        prepare("--pairs", pairs, "--out", tmp_path / str(share), "--share", share)
        kept[share] = set(read_pairs([tmp_path / str(share) / "pairs.jsonl"]).ids)
    assert (len(kept[0.25]), len(kept[0.5])) == (5, 10)
    assert kept[0.25] < kept[0.5]


def test_images_that_are_also_measured_on_are_refused(pairs, tmp_path):
    records = json.loads(pairs.read_text())
    val = write(tmp_path / "val.json", records[7:9])
    refused = refusal("--pairs", pairs, "--val", val, "--out", tmp_path / "out")
    assert "2 images of the validation data are in the training data too" in refused
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--share", "0"], "share is 0; it is above 0 and at most 1"),
        (["--corrupt-captions", "2"], "corrupt_captions is 2; it lies in 0..1"),
        (["--vocabulary", "100", "--tokenizer", "x"], "give one of the two"),
        (["--vocabulary", "10"], "10 word pieces are too few"),
        (["--max-length", "2"], "max_length is 2"),
        (["--images", "nowhere"], "its images are not below nowhere"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(pairs, tmp_path, arguments, text):
    refused = refusal("--pairs", pairs, "--out", tmp_path / "out", *arguments)
    assert text in refused
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_replaced_only_when_asked(pairs, tmp_path):
    out = tmp_path / "out"
    prepare("--pairs", pairs, "--out", out, "--corrupt-captions", 0.5)
    refused = refusal("--pairs", pairs, "--out", out)
    assert "holds pairs.jsonl, prepare.json, wrong_captions.jsonl; name another folder" in refused
    prepare("--pairs", pairs, "--out", out, "--overwrite")
    assert not (out / "wrong_captions.jsonl").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("x")
    refused = refusal("--pairs", pairs, "--out", tmp_path / "mine", "--overwrite")
    assert "was not written by prepare" in refused
    assert (tmp_path / "mine/notes").exists()


def test_two_processes_find_what_one_finds(pairs, tmp_path):
    for workers in (0, 2):
        prepare("--pairs", pairs, "--out", tmp_path / str(workers), "--workers", workers)
    one, two = ((tmp_path / str(workers) / "pairs.jsonl").read_bytes() for workers in (0, 2))
    assert one == two


def regions(tmp_path):
    elems = [
        {"bb": [1, 1, 4, 3], "caption": "Red dog", "attributes": "big"},
        {"bb": [50, 50, 4, 3], "caption": "outside"},
        {"bb": [1, 1, 0, 3], "caption": "flat"},
    ]
    return write(tmp_path / "regions.json", [{"image": f"{n}.png", "elems": elems} for n in range(3)])


def test_regions_are_checked_and_written(pairs, tmp_path):
    out = tmp_path / "out"
    said = prepare("--regions", regions(tmp_path), "--out", out)
    assert "3 images, 6 boxes" in said
    assert "left out: 3 boxes outside of their image" in said
    assert len((out / "problems.txt").read_text().splitlines()) == 6
    first = json.loads((out / "regions.jsonl").read_text().splitlines()[0])
    assert first["image"] == str(tmp_path / "0.png")
    assert first["elems"][0] == {"bb": [1.0, 1.0, 4.0, 3.0], "caption": "red dog", "attributes": "big"}
    prepare("--regions", out / "regions.jsonl", "--out", tmp_path / "again")
    assert (tmp_path / "again/regions.jsonl").read_bytes() == (out / "regions.jsonl").read_bytes()


def test_regions_on_images_that_are_measured_on_are_refused(pairs, tmp_path):
    val = write(tmp_path / "val.json", json.loads(pairs.read_text())[1:3])
    refused = refusal("--regions", regions(tmp_path), "--val", val, "--out", tmp_path / "out")
    assert "2 images of the regions are in the validation data too" in refused
    assert not (tmp_path / "out").exists()


def test_cocos_objects_become_regions(tmp_path):
    coco = data_folder("coco-mini", "annotations")
    files = ",".join(str(coco / f"{kind}_val2017.json") for kind in ("instances", "captions"))
    prepare("--regions", f"coco:{files}", "--out", tmp_path / "out")
    found = [json.loads(line) for line in (tmp_path / "out/regions.jsonl").read_text().splitlines()]
    truth = json.loads((coco / "instances_val2017.json").read_text())
    wanted = [entry for entry in truth["annotations"] if not entry["iscrowd"]]
    assert sum(len(record["elems"]) for record in found) == len(wanted)
    assert all(len(record["caption"]) >= 5 for record in found)


def test_sources_of_regions_that_are_not_there_are_named(tmp_path):
    (tmp_path / "genome").mkdir()
    for source, text in (
        ("coco:absent.json", "absent.json"),
        (f"genome:{tmp_path / 'genome'}", "none of region_descriptions.json, objects.json, attributes.json"),
        ("entities:absent", "absent: no such folder"),
        ("absent.json", "absent.json"),
    ):
        refused = refusal("--regions", source, "--out", tmp_path / "out")
        assert text in refused
    assert "neither pairs nor regions" in refusal("--out", tmp_path / "out")
