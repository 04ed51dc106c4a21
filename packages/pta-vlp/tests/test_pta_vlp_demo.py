"""Made-up scenes, ways of training on them, and the verb `demo`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.data.image_text_pairs import read_pairs
from nonet.testing import call_cli
from nonet.vision_language.drawn_shapes import CELL, SHAPES
from nonet.vision_language.patch_pictures import LINE
from nonet.vision_language.region_files import read_regions
from pta_vlp import demonstration, scenes
from pta_vlp.commands import demo
from pta_vlp.demonstration import Arm, Plan, Scenes, at_shares, measure, new_model, patches_of, train, words
from pta_vlp.heat_maps import GAP

TINY = Plan(boxed=6, patch=16, width=16, depth=2, heads=2, block=0, batch=8, regions=3, steps=3)


@pytest.fixture(scope="module")
def made():
    return scenes.make_scenes(24, 0), scenes.make_scenes(12, 0, part="test")


def test_scenes_are_the_same_for_a_seed_and_others_for_another_part():
    first, again, other = (scenes.make_scenes(5, 3, part=part) for part in ("a", "a", "b"))
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(first.images, other.images)


def test_a_box_holds_a_shape_of_the_colour_that_is_the_answer():
    drawn = scenes.make_scenes(60, 0)
    pixels = scenes.as_pixels(drawn.images).astype(float)
    strongest = {"red": 0, "green": 1, "blue": 2}
    names = list(scenes.COLOURS)
    for number, boxes in enumerate(drawn.boxes.astype(int)):
        assert len({tuple(box) for box in boxes}) == scenes.IN_SCENE
        assert len(set(drawn.kinds[number])) == scenes.IN_SCENE
        for (x, y, width, height), answer in zip(boxes, drawn.answers[number], strict=True):
            assert (width, height) == (CELL, CELL)
            part = pixels[number, :, y : y + height, x : x + width]
            assert part.mean((1, 2)).argmax() == strongest[names[answer]]
            assert part.max() > 100


def test_cells_without_a_shape_have_fragments_of_any_colour():
    drawn = scenes.make_scenes(40, 1)
    inside = patches_of(drawn, TINY).any(1).view(40, 4, 4)
    light = (
        torch.from_numpy(scenes.as_pixels(drawn.images)).amax(1).unfold(1, CELL, CELL).unfold(2, CELL, CELL)
    )
    clutter = light.flatten(3).amax(-1)[~inside]
    assert (clutter > 130).float().mean() > 0.9


def test_written_scenes_are_read_as_pairs_regions_and_questions(tmp_path):
    folder = scenes.write_scenes(tmp_path / "scenes", 4)
    drawn = scenes.make_scenes(4, 0)
    pairs, regions = read_pairs([folder / "pairs.jsonl"]), read_regions([folder / "regions.jsonl"])
    assert (len(pairs), len(regions), pairs.open(0).size) == (4, 4, (scenes.SIDE, scenes.SIDE))
    asked = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    names, colours = list(SHAPES), list(scenes.COLOURS)
    for number in range(4):
        for place, region in enumerate(regions.regions(number)):
            name = names[drawn.kinds[number, place]]
            colour = colours[drawn.answers[number, place]]
            assert region.texts == (f"a {colour} {name}", f"the {name}")
            assert region.boxes == (tuple(drawn.boxes[number, place].tolist()),)
            assert f"a {colour} {name}" in pairs.captions_of(number)[0]
            told = asked[3 * number + place]
            assert (told["question"], set(told["answer"])) == (f"what colour is the {name}", {colour})
    assert len({told["question_id"] for told in asked}) == 12


def test_first_weights_are_the_same_for_every_way():
    arms = (Arm(), Arm("random"), Arm("text", alignment=True))
    first, *others = (dict(new_model(arm, TINY, scenes.SIDE, 0).named_parameters()) for arm in arms)
    for other in others:
        assert all(torch.equal(weight, other[name]) for name, weight in first.items())


@pytest.mark.parametrize("arm", [
    Arm(), Arm(alignment=True), Arm("random"), Arm("attention"), Arm("text"), Arm("text", alignment=True),
])  # fmt: skip
def test_a_way_of_training_gives_the_same_twice(arm, made):
    first, again = (train(arm, *made, TINY, seed=1) for _ in range(2))
    assert first.losses == again.losses
    assert np.array_equal(first.right, again.right)
    assert first.recall == again.recall
    assert (first.recall is None) == (arm.selection == "off")
    assert len(train(arm._replace(longer=2), *made, TINY, seed=1).losses) == 6


def test_only_boxes_teach_the_detector(made):
    for arm in (Arm("text"), Arm("text", alignment=True), Arm()):
        start = new_model(arm, TINY, scenes.SIDE, 0).detector.joint.weight
        learned = train(arm, *made, TINY, seed=0).model.detector.joint.weight
        assert torch.equal(start, learned) == (not arm.alignment)


def test_measuring_counts_answers_and_the_patches_that_were_kept(made):
    _, held_out = made
    model = new_model(Arm("text"), TINY, scenes.SIDE, 0)
    right, recall = measure(model, held_out, TINY)
    hits, kept_of = np.zeros((12, 3), bool), []
    with torch.inference_mode():
        for number in range(12):
            for place in range(3):
                ids = torch.from_numpy(words(held_out.kinds[number : number + 1, place]))
                logits, kept = model(torch.from_numpy(held_out.images[number : number + 1]), ids)
                hits[number, place] = int(logits.argmax()) == held_out.answers[number, place]
                x, y = held_out.boxes[number, place, :2].astype(int) // 16
                kept_of.append(4 * y + x in kept[0].tolist())
    assert np.array_equal(right, hits)
    assert recall == pytest.approx(np.mean(kept_of))


def test_random_patches_keep_their_share_of_boxes():
    many = scenes.make_scenes(300, 5)
    torch.manual_seed(0)
    _, recall = measure(new_model(Arm("random"), TINY, scenes.SIDE, 0), many, TINY)
    assert recall == pytest.approx(0.25, abs=0.05)  # 900 questions, 3 deviations are 0.043


def test_other_shares_are_measured_with_the_same_model_which_is_left_as_it_was(made):
    _, held_out = made
    model = new_model(Arm("text"), TINY, scenes.SIDE, 0)
    usual = model.pruned.options
    rows = at_shares(model, held_out, TINY, (0.125, 0.25, 1.0))
    assert [row["tokens"] for row in rows] == [4, 6, 17]
    right, recall = measure(model, held_out, TINY)
    assert (rows[1]["right"], rows[1]["recall"]) == (100 * right.mean(), 100 * recall)
    assert rows[2]["recall"] is None
    assert rows[0]["MMAC"] < rows[1]["MMAC"]
    assert model.pruned.options == usual


def test_a_detector_of_boxes_learns_where_things_are():
    """Forty steps on scenes of four plain squares of one kind each, in a corner: recall above chance."""
    count, side = 64, 32
    places = np.arange(count) % 4
    images = np.zeros((count, 3, side, side), np.float32)
    boxes = np.zeros((count, 1, 4), np.float32)
    for number, place in enumerate(places):
        y, x = 16 * (place // 2), 16 * (place % 2)
        images[number, :, y : y + 16, x : x + 16] = 2
        boxes[number, 0] = (x, y, 16, 16)
    kinds = np.zeros((count, 1), np.int64)
    drawn = Scenes(images, kinds, places[:, None] % 3, boxes)
    plan = TINY._replace(boxed=64, batch=16, regions=16, steps=40, lr=5e-3)
    found = train(Arm("text", alignment=True), drawn, drawn, plan, seed=0)
    assert found.recall == 1.0  # 1 of 4 patches is kept
    assert found.losses[-1] < found.losses[0]


def test_the_demo_writes_page_picture_and_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstration, "DEMO", TINY)
    monkeypatch.setattr(demo, "TRAIN", 24)
    monkeypatch.setattr(demo, "TEST", 12)
    done = call_cli("pta-vlp", "demo", "--out", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert told["package"] == "pta-vlp"
    assert [row["way"] for row in told["ways"]] == list(demonstration.ARMS)
    assert (told["before"], told["after"]) == tuple(row["right"] for row in told["ways"])
    assert [row["keep"] for row in told["shares"]] == list(demo.SHARES)
    with Image.open(tmp_path / "demo" / told["pictures"][0]) as picture:
        assert picture.size == (GAP + 4 * (192 + GAP), 2 * (GAP + 3 * (192 + 2 * LINE + GAP)))
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/png;base64," in page


def test_the_demo_leaves_other_folders_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    done = call_cli("pta-vlp", "demo", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
