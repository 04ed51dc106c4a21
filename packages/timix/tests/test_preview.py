"""The verb `preview`, and the picture it draws."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nonet.testing import call_cli, seeded
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_folders import save_pair_model
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.patch_pictures import LINE
from timix.mixed_picture import GAP, PARTNER, TARGET, draw_mixed
from timix.text_aware_mix import TextAwareMix

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from square_pairs import MODEL, write_squares

from nonet.vision_language.caption_tokenizer import train_tokenizer


def test_picture_has_the_windows_where_the_plan_says():
    images = torch.zeros(2, 3, 192, 192, dtype=torch.uint8)
    images[1] = 200
    scores = torch.zeros(2, 6, 6)
    scores[0, 4:, 4:], scores[1, :2, :2] = -1.0, 1.0
    mix = TextAwareMix(6, 2 / 6, 2 / 6)
    plan = mix.plan(scores, seeded())
    sheet = np.asarray(draw_mixed(images, mix.pixels(images, plan), plan, ["one", "two"]))
    top, size = GAP + LINE, 192
    first, second, third = (
        sheet[top : top + size, left : left + size] for left in (GAP + c * (size + GAP) for c in range(3))
    )
    assert tuple(first[128, 150]) == TARGET
    assert tuple(first[150, 128]) == TARGET
    assert tuple(second[0, 30]) == PARTNER
    assert tuple(second[63, 30]) == PARTNER
    assert (third[140:180, 140:180] == 200).all()
    assert (third[:120, :120] == 0).all()


def test_without_a_model_windows_are_anywhere_and_it_says_so(tmp_path):
    files = write_squares(tmp_path, 4)
    out = tmp_path / "mixed.png"
    words = ("preview", "--pairs", files["pairs"], "--image", 48, "--patch", 8, "--n", 4, "--out", out)
    found = call_cli("timix", *words)
    assert found.returncode == 0, found.stderr
    assert "windows are anywhere" in found.stdout
    assert "4 mixed images, random" in found.stdout
    once = out.read_bytes()
    call_cli("timix", *words)
    assert out.read_bytes() == once
    with Image.open(out) as picture:
        assert picture.width == 2 * GAP + 3 * (192 + GAP) - GAP


def test_a_model_says_where_and_its_scores_are_drawn(tmp_path):
    files = write_squares(tmp_path, 4)
    texts = train_tokenizer(["a red square number 0 1 2 3 not a green blue yellow one thing"] * 2, 200)
    torch.manual_seed(0)
    model = PairModel(PairConfig(**MODEL | {"vocabulary": len(texts)})).eval()  # type: ignore[arg-type]
    save_pair_model(model, texts, tmp_path / "bare", "bare")
    save_pair_model(model, texts, tmp_path / "model", "model", extras={"patch_detector": PatchDetector(32)})
    out = tmp_path / "mixed.png"
    words = ("preview", "--pairs", files["pairs"], "--n", 4, "--out", out)
    for score in ("tpp", "attn", "itc"):
        found = call_cli("timix", *words, "--model", tmp_path / "model", "--mix.score", score)
        assert found.returncode == 0, found.stderr
        assert "4 mixed images, maxmin" in found.stdout
    with Image.open(out) as picture:
        assert picture.width == 2 * GAP + 5 * (192 + GAP) - GAP
    found = call_cli("timix", *words, "--model", tmp_path / "bare")
    assert found.returncode == 2
    assert "has no patch predictor, which learns from regions: take score attn" in found.stderr


def test_one_pair_or_sizes_that_do_not_divide_are_refused(tmp_path):
    files = write_squares(tmp_path, 1)
    found = call_cli("timix", "preview", "--pairs", files["pairs"], "--out", tmp_path / "mixed.png")
    assert found.returncode == 2
    assert "mixing takes two at least" in found.stderr
    found = call_cli("timix", "preview", "--pairs", files["pairs"], "--image", 50)
    assert found.returncode == 2
    assert "do not divide into patches of 16" in found.stderr
    files = write_squares(tmp_path, 2)
    for words, text in (
        (("--mix.r-max", 1.0), "would paste a whole picture"),
        (("--mix.r-min", 0.01), "r_min 0.01 of 16 patches is less than one"),
    ):
        found = call_cli(
            "timix", "preview", "--pairs", files["pairs"], *words, "--out", tmp_path / "mixed.png"
        )
        assert found.returncode == 2
        assert text in found.stderr
    assert not (tmp_path / "mixed.png").exists()
