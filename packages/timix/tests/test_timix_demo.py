import json
from functools import partial

import numpy as np
import pytest
import torch

from nonet.testing import call_cli
from timix import demonstration, scenes
from timix.demonstration import Arm, Plan, new_model, ranks, recall, rows_of, train

TINY = Plan(train=24, test=12, boxed=6, patch=8, width=16, depth=2, block=0, batch=8, steps=3)


def test_scenes_are_the_same_for_a_seed_and_others_for_another_part():
    first, again, other = (scenes.make_scenes(5, 3, part=part, wrong=0.4) for part in ("a", "a", "b"))
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(first.images, other.images)


def test_boxes_are_cells_of_their_own_with_a_shape_in_each():
    made = scenes.make_scenes(40, 0)
    light = scenes.as_pixels(made.images)[:, 0]
    for number, boxes in enumerate(made.boxes.astype(int)):
        assert len({tuple(box) for box in boxes}) == scenes.IN_SCENE
        for x, y, width, height in boxes:
            assert (width, height) == (scenes.CELL, scenes.CELL)
            assert light[number, y : y + height, x : x + width].max() > 120


def test_captions_name_the_shapes_in_another_order_and_a_share_names_others():
    made = scenes.make_scenes(100, 1, wrong=0.3)
    assert made.wrong.sum() == 30
    right = ~made.wrong
    assert np.array_equal(np.sort(made.told[right], 1), np.sort(made.kinds[right], 1))
    assert not np.array_equal(made.told[right], made.kinds[right])
    assert scenes.caption(np.array([0, 3, 9])) == "a ring and a bar and a wedge"


def test_every_caption_has_a_number_whatever_its_order():
    assert len(scenes.ALL) == 220  # 10 things, 3 at a time, with repetition: 12 over 3
    kinds = np.array([[9, 0, 4], [4, 9, 0], [0, 0, 0], [9, 9, 9]])
    assert scenes.numbers(kinds).tolist() == [scenes.ALL.index((0, 4, 9))] * 2 + [0, 219]


def test_written_scenes_are_read_as_pairs_and_regions(tmp_path):
    from nonet.data.image_text_pairs import read_pairs
    from nonet.vision_language.region_files import read_regions

    folder = scenes.write_scenes(tmp_path / "scenes", 4)
    pairs, regions = read_pairs([folder / "pairs.jsonl"]), read_regions([folder / "regions.jsonl"])
    assert (len(pairs), len(regions), pairs.open(0).size) == (4, 4, (48, 48))
    made = scenes.make_scenes(4, 0)
    assert pairs.captions_of(2) == [scenes.caption(made.told[2])]


def test_the_rank_counts_what_is_better_and_what_is_equal():
    model, _ = new_model(TINY, 0)
    made = scenes.make_scenes(6, 0)
    found = ranks(model, made)
    model.text_proj.weight.data.zero_()  # all captions are equal: the right one comes last
    assert (found < 219).any()
    assert ranks(model, made).tolist() == [219] * 6


@torch.no_grad()
def test_the_last_block_for_the_whole_image_alone_gives_the_same():
    vision = new_model(TINY, 0)[0].vision
    tokens = vision.blocks(vision.embed(torch.from_numpy(scenes.make_scenes(3, 0).images)), 0, 1)
    found = demonstration._whole(vision, tokens, TINY)
    torch.testing.assert_close(found, vision.finish(vision.blocks(tokens, 1))[:, :1])


def test_recall_counts_the_first_places():
    assert [recall(np.array([0, 1, 4, 7]), at) for at in (1, 5)] == [25.0, 75.0]


@pytest.mark.parametrize("arm", [
    Arm(), Arm("random"), Arm("maxmin", predictor=True), Arm("maxmin", labels="soft", predictor=True),
    Arm("maxmin", "itc"), Arm("mixgen"), Arm("mixup"), Arm("maxmin", told=True),
])  # fmt: skip
def test_a_way_of_training_gives_the_same_twice(arm):
    made, held_out = scenes.make_scenes(24, 0, wrong=0.5), scenes.make_scenes(12, 0, part="test")
    first, again = (train(arm, made, held_out, TINY, seed=1) for _ in range(2))
    assert first.losses == again.losses
    assert first.ranks.tolist() == again.ranks.tolist()
    plain = train(Arm(), made, held_out, TINY, seed=1)
    assert first.losses[0] == pytest.approx(plain.losses[0])  # the same weights and the same batch
    assert (first.losses[2] == plain.losses[2]) == (arm == Arm())


def test_rows_have_the_untrained_model_first():
    made, held_out = scenes.make_scenes(24, 0), scenes.make_scenes(12, 0, part="test")
    rows = rows_of({"way": train(Arm(), made, held_out, TINY, seed=0)}, np.array([0, 5]))
    assert [row["way"] for row in rows] == ["not trained", "way"]
    assert (rows[0]["R@1"], rows[0]["R@5"]) == (50.0, 50.0)


def test_differences_are_between_every_two_ways_scene_by_scene():
    found = {
        name: demonstration.Trained(np.array(ranks), [], 0.0, None, None)
        for name, ranks in {"a": [0, 5, 5, 5], "b": [0, 0, 5, 5], "c": [0, 0, 0, 0]}.items()
    }
    rows = demonstration.differences(found)
    assert [(row["first"], row["second"], row["R@1"]) for row in rows] == [
        ("b", "a", 25.0), ("c", "a", 75.0), ("c", "b", 50.0),
    ]  # fmt: skip
    assert all(row["low"] <= row["R@1"] <= row["high"] for row in rows)
    assert rows[0]["low"] == 0.0  # a third of the resamples draw none of the scene that differs


def test_true_boxes_say_where_to_cut_and_what_to_leave():
    made = scenes.make_scenes(8, 0)
    plan = TINY._replace(patch=16, r_min=0.34, r_max=0.34)  # one patch is one cell
    seen = []

    class Noted(demonstration.TextAwareMix):
        def plan(self, scores, generator):
            seen.append((scores, super().plan(scores, generator)))
            return seen[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstration, "TextAwareMix", Noted)
        train(Arm("maxmin", told=True), made, made, plan, seed=0, steps=1)
    ((scores, mix),) = seen
    assert scores.sum((1, 2)).tolist() == [scenes.IN_SCENE] * 8
    rows = torch.arange(8)
    assert scores[rows, *mix.paste_yx.T].tolist() == [0] * 8
    assert scores[mix.partner, *mix.cut_yx.T].tolist() == [1] * 8


def test_the_demo_writes_page_picture_and_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstration, "Plan", partial(Plan, **TINY._asdict()))
    done = call_cli("timix", "demo", "--out", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert told["package"] == "timix"
    assert told["after"] == told["ways"][-1]["R@1"]
    apart = told["differences"][-1]
    assert apart["R@1"] == pytest.approx(told["ways"][-1]["R@1"] - told["ways"][-2]["R@1"])
    assert done.stdout.count(" minus ") == 3
    assert [row["way"] for row in told["ways"]] == ["not trained", *demonstration.ARMS]
    assert (tmp_path / "demo" / told["pictures"][0]).stat().st_size > 1000
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/png;base64," in page


def test_the_demo_leaves_other_folders_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    done = call_cli("timix", "demo", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
