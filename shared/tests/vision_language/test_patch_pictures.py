"""Pictures of patches: what is light, what is dark, what fits."""

import numpy as np
import torch
from PIL import Image, ImageFont

from nonet.vision_language.patch_pictures import (
    FADED,
    FONT,
    ORANGE,
    as_image,
    faded,
    framed,
    heat,
    heat_over,
    shortened,
    write,
)


def light(picture):
    return np.asarray(picture.convert("L")).astype(int)


def test_pixels_become_squares():
    pixels = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    shown = np.asarray(as_image(pixels, 3))
    assert shown.shape == (6, 6, 3)
    for row in range(6):
        for column in range(6):
            assert shown[row, column].tolist() == pixels[:, row // 3, column // 3].tolist()


def test_more_heat_is_lighter_at_every_step():
    shown = light(heat(torch.linspace(-2, 5, 50)[None], (50, 1)))[0]
    assert (np.diff(shown) > 0).all()


def test_equal_scores_are_drawn_without_a_warning():
    assert len(set(light(heat(torch.ones(2, 3), (6, 4))).flatten())) == 1


def test_a_span_keeps_colours_apart_from_an_image_s_own_range():
    half = heat(torch.tensor([[0.25, 0.5]]), (2, 1), (0.0, 1.0))
    whole = heat(torch.tensor([[0.25, 0.5, 1.0, 0.0]]), (4, 1))
    assert np.array_equal(np.asarray(half), np.asarray(whole)[:, :2])


def test_heat_lies_over_the_grey_picture_in_its_share():
    picture = Image.new("RGB", (8, 8), (200, 10, 90))
    scores = torch.tensor([[0.0, 1.0], [0.5, 0.2]])
    shown = np.asarray(heat_over(picture, scores, (0, 1), share=0.5)).astype(float)
    grey = light(picture)[..., None]
    expected = 0.5 * grey + 0.5 * np.asarray(heat(scores, (8, 8), (0, 1)))
    assert np.abs(shown - expected).max() <= 1


def test_only_dropped_patches_fade():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    kept = torch.tensor([[True, False, True], [False, True, False]])
    shown = np.asarray(faded(Image.fromarray(pixels), kept))
    for row in range(2):
        for column in range(3):
            place = (slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3))
            if kept[row, column]:
                assert np.array_equal(shown[place], pixels[place])
            else:
                grey = light(Image.fromarray(pixels[place]))
                assert np.abs(shown[place] - (FADED * grey)[..., None]).max() <= 1


def test_a_frame_is_drawn_around_its_square_and_none_for_a_side_of_0():
    plain = Image.new("RGB", (20, 20), "white")
    assert (np.asarray(framed(plain.copy(), (3, 5), 0, ORANGE)) == 255).all()
    shown = np.asarray(framed(plain, (3, 5), 10, ORANGE))
    drawn = (shown == ORANGE).all(-1)
    assert drawn[3:13, 5:15].sum() == drawn.sum() == 100 - 16
    assert not drawn[6:10, 8:12].any()


def test_a_text_that_is_too_wide_ends_with_dots_at_a_word():
    font, text = ImageFont.load_default(FONT), "the third dog from the left behind the fence"
    wide = int(font.getlength(text)) + 1
    assert shortened(text, wide) == text
    cut = shortened(text, wide // 2)
    assert cut.endswith(" ...")
    assert text.startswith(cut.removesuffix(" ..."))
    assert font.getlength(cut) <= wide // 2
    sheet = Image.new("RGB", (wide, 20), "white")
    write(sheet, 0, 0, cut, (0, 0, 0))
    assert (light(sheet)[:, wide // 2 + 2 :] == 255).all()
    assert (light(sheet) < 128).any()
