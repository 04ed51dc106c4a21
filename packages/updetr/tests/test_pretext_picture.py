"""The picture of the pretext: its boxes lie where the patches are, and what cannot be drawn is refused."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.testing import call_cli, one_thread
from updetr import pretext_picture
from updetr.batches import Images, Targets
from updetr.detector import Detector
from updetr.detector_config import DetectorConfig
from updetr.drawing import COLOURS, TITLE, titled
from updetr.image_rows import Note
from updetr.loading import save_model
from updetr.pretext_data import Pretext, PretextItem
from updetr.pretext_picture import GAP, THUMBNAIL, notes_of, pictures
from updetr.query_patches import PatchDetector
from updetr.training_facts import pretext_sizes

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import write_rectangles

WORDS = ("--num-patches", "4", "--patch-size", "32", "--scales", "48", "--longest", "64", "--count", "3")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture")
    write_rectangles(folder / "pictures", 5)
    torch.manual_seed(0)
    sizes = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "hidden": 16, "queries": 8}
    detector = Detector(DetectorConfig(backbone="resnet-tiny", patches=4, **sizes))
    save_model(folder / "detector", detector)
    save_model(folder / "model", PatchDetector(detector))
    facts = {"options": "num_patches: 4\npatch_size: 24\nscales: [40]\nlongest: 48\n"}
    save_model(folder / "trained", PatchDetector(detector), facts)
    return folder


def test_boxes_and_frames_have_the_colours_of_their_patches():
    pixels = torch.zeros(1, 3, 120, 200)
    mask = torch.zeros(1, 120, 200, dtype=torch.bool)
    mask[:, :100, :160] = True
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.4], [0.25, 0.2, 0.1, 0.2]])
    targets = Targets(torch.zeros(2, dtype=torch.int64), boxes, [2])
    patches = torch.stack([torch.full((3, 8, 8), -1.0), torch.full((3, 8, 8), 1.0)])[None]
    (page,) = pictures(
        Pretext(Images(pixels, mask), None, patches, targets), torch.tensor([[[0.9, 0.9, 0.1, 0.1]] * 2])
    )
    found = np.asarray(page)
    side = THUMBNAIL + 2 * GAP
    assert found.shape == (100 + GAP + side, 160, 3)
    assert found[50, 40].tolist() == list(COLOURS[0])  # the left edge: x 0.5 - 0.25 of 160 px
    assert found[50, 80].tolist() == [124, 116, 104]  # inside: ImageNet's mean
    assert found[20, 32].tolist() == list(COLOURS[1])
    assert found[85, 136].tolist() == list(COLOURS[0])  # the answer's corner, 0.85 of both sides
    assert found[100 + GAP, 0].tolist() == list(COLOURS[0])
    assert found[100 + GAP, side + GAP].tolist() == list(COLOURS[1])
    centre = 100 + GAP + side // 2
    assert found[centre, side // 2, 0] == round((0.485 - 0.229) * 255)
    assert found[centre, side + GAP + side // 2, 0] == round((0.485 + 0.229) * 255)


def test_the_command_writes_a_picture_and_says_what_is_on_it(work, tmp_path):
    words = ("updetr", "show-pretext", "--images", work / "pictures", *WORDS)
    ended = call_cli(*words, "--out", tmp_path / "a.png")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{tmp_path}/a.png: 3 images, each with 4 patches\n"
    first = np.asarray(Image.open(tmp_path / "a.png"))
    assert first[:48, :64].std() > 0
    call_cli(*words, "--out", tmp_path / "b.png")
    assert (np.asarray(Image.open(tmp_path / "b.png")) == first).all()
    call_cli(*words, "--out", tmp_path / "b.png", "--epoch", "1")
    assert (np.asarray(Image.open(tmp_path / "b.png")) != first).any()


def test_what_stands_in_the_place_of_a_broken_file_is_said(tmp_path):
    write_rectangles(tmp_path / "pictures", 3)
    broken = tmp_path / "pictures" / "001.png"
    broken.write_bytes(broken.read_bytes()[:-60])  # its header is there, its pixels are not
    words = ("updetr", "show-pretext", "--images", tmp_path / "pictures", *WORDS)
    ended = call_cli(*words, "--out", tmp_path / "a.png")
    assert ended.returncode == 0, ended.stderr
    note, last = ended.stdout.splitlines()
    assert note.startswith(f"{broken}: cannot be decoded")
    assert re.search(rf"\(left out: {tmp_path}/pictures/00[02]\.png is in its place\)$", note)
    assert last == f"{tmp_path}/a.png: 3 images, each with 4 patches"
    heard = PretextItem("b.png", *[None] * 8, (Note("b.png", "is turned", False),) * 2)
    assert notes_of([heard]) == ["b.png: is turned"]


def test_the_name_of_the_file_stands_below_its_picture():
    plain = Image.new("RGB", (90, 30), "grey")
    one, other = (np.asarray(titled(plain, name)) for name in ("000.png", "001.png"))
    assert one.shape == (30 + 2 * TITLE, 90, 3)
    assert (one[:30] == np.asarray(plain)).all()
    assert (one[30:] < 128).any()
    assert (one != other).any()


def test_a_model_s_answers_are_drawn_and_compared_with_a_constant_box(work, tmp_path):
    words = ("updetr", "show-pretext", "--images", work / "pictures", *WORDS)
    ended = call_cli(*words, "--model", work / "model", "--out", tmp_path / "a.png")
    assert ended.returncode == 0, ended.stderr
    assert "overlap of patches and answers 0." in ended.stdout
    assert "of a constant box 0." in ended.stdout


def test_what_is_not_given_is_as_the_model_was_trained(work, tmp_path, monkeypatch):
    drawn = []

    def noted(pretext, answers, names):
        drawn.append((pretext, answers))
        return pictures(pretext, answers, names)

    monkeypatch.setattr(pretext_picture, "pictures", noted)
    words = ("updetr", "show-pretext", "--images", work / "pictures", "--out", tmp_path / "a.png")
    ended = call_cli(*words, "--model", work / "trained")
    assert ended.returncode == 0, ended.stderr
    (pretext, answers), = drawn  # fmt: skip
    assert pretext.patches.shape == (5, 4, 3, 24, 24)  # the model's 4 patches of 24 px, not 10 of 128
    assert pretext.images.pixels.shape == (5, 3, 36, 48)  # stored as 48 x 64: 40 px fit 53, longest is 48
    assert answers.shape == (5, 4, 4)
    ended = call_cli(*words, "--model", work / "trained", *WORDS, "--num-patches", "2")
    assert ended.returncode == 0, ended.stderr
    assert drawn[1][0].patches.shape == (3, 2, 3, 32, 32)
    assert drawn[1][0].images.pixels.shape == (3, 3, 48, 64)


def test_a_converted_model_says_nothing_of_its_training(work):
    sizes = pretext_sizes(DetectorConfig(queries=8, patches=4), {"tensors": "9 read"})
    assert sizes == (4, 128, tuple(range(320, 481, 16)), 600)
    assert pretext_sizes(DetectorConfig(), {"options": ": no yaml ["})[:2] == (10, 128)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model", "{work}/detector"), "is told no patches"),
        (("--model", "{work}/model", "--num-patches", "5"), "takes 4 patches, and num_patches is 5"),
        (("--model", "{work}/nowhere"), "nowhere"),
        (("--count", "0"), "count and columns are at least 1"),
        (("--targets", "file"), "--targets file and --targets-file FILE come together"),
        (("--out", "{work}"), "is a folder"),
        (("--out", "{work}/new.jpg"), "new.jpg: the picture is a PNG file; let its name end in .png"),
    ],
)
def test_what_cannot_be_drawn_is_refused(work, tmp_path, words, text):
    given = [word.format(work=work) for word in words]
    usual = ("--images", work / "pictures", *WORDS, "--out", tmp_path / "a.png")
    ended = call_cli("updetr", "show-pretext", *usual, *given)
    assert ended.returncode == 2
    assert text in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "a.png").exists()
