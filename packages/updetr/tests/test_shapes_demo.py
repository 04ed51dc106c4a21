"""Made-up pictures, and the demo's parts at a fraction of their length."""

import json

import numpy as np
import pytest
from PIL import Image

from nonet.errors import UserError
from nonet.report.demos import read
from nonet.testing import one_thread
from updetr import demonstration, toy
from updetr.commands.demo import Options, run
from updetr.demonstration import PRETRAINED, SCRATCH, Plan
from updetr.labelled_data import read_labelled

SHORT = Plan(
    pool=12, train=4, test=4, backbone_steps=1, pretrain_steps=3, finetune_steps=2, every=1, rounds=1,
    width=16, queries=4, patches=2, batch=4,
)  # fmt: skip


# the pictures


def test_a_picture_follows_from_its_number_and_the_seed():
    first, again, other, seeded = (toy.picture(*at) for at in ((3,), (3,), (4,), (3, 1)))
    assert first[1:] == again[1:]
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], seeded[0])


def test_shapes_lie_inside_and_apart():
    for number in range(60):
        image, boxes, labels = toy.picture(number)
        assert image.size == toy.SIZE
        assert 1 <= len(boxes) == len(labels) <= toy.MOST
        taken = np.zeros(toy.SIZE[::-1], np.int64)
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= toy.SIZE[0]
            assert 0 <= top < bottom <= toy.SIZE[1]
            taken[top:bottom, left:right] += 1
        assert taken.max() == 1
    assert {label for number in range(60) for label in toy.picture(number)[2]} == {0, 1, 2}


def test_a_disc_fills_its_box_and_a_ring_does_not():
    """Around a shape the ground shows in the corners of its box; in the middle it shows for rings alone."""
    for number in range(40):
        image, boxes, labels = toy.picture(number)
        pixels = np.asarray(image, np.float64)
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            x, y = (left + right) // 2, (top + bottom) // 2
            colour = pixels[bottom - 3 : bottom - 1, x - 1 : x + 2].mean((0, 1))  # all shapes touch it there
            middle = pixels[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
            assert (np.abs(middle - colour).max() < 40) == (label != toy.NAMES.index("ring"))


def test_written_pictures_are_a_coco_data_set(tmp_path):
    source = toy.write_pictures(tmp_path / "few", 5, first=7)
    found = read_labelled(source)
    assert found.names == toy.NAMES
    for number, image in enumerate(found.images, 7):
        drawn, boxes, labels = toy.picture(number)
        with Image.open(image.path) as written:
            assert np.array_equal(np.asarray(written), np.asarray(drawn))
        assert image.boxes.tolist() == [list(map(float, box)) for box in boxes]
        assert image.labels.tolist() == labels


# the demo


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


def test_a_short_demo_writes_its_numbers_page_and_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demonstration, "Plan", lambda: SHORT)
    out = tmp_path / "demo"
    out.mkdir()
    (out / "demo.json").write_text("{}")  # what a demo left there before is replaced
    (out / "old").write_text("")
    assert run(Options(out=out)) == 0
    assert not (out / "old").exists()
    found = read(out, "updetr")
    assert (found.package, found.better) == ("updetr", "higher")
    for name in found.pictures:
        with Image.open(out / name) as picture:
            assert picture.width > toy.SIZE[0]
        assert f'src="{name}"' in (out / "report.html").read_text()
    located = json.loads((out / "demo.json").read_text())["located"]
    assert (found.before, found.after) == (located[SCRATCH], located[PRETRAINED])
    assert set(located) == {SCRATCH, PRETRAINED, "constant box"}
    assert all(0 <= value <= 1 for value in located.values())
    assert f"{SCRATCH}, " in capsys.readouterr().out


def test_a_demo_that_is_broken_off_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstration, "Plan", lambda: SHORT)
    monkeypatch.setattr(demonstration, "train_backbone", stop)
    with pytest.raises(KeyboardInterrupt):
        run(Options(out=tmp_path / "demo"))
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="something else than a demo"):
        run(Options(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
