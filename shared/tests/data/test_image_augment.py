import numpy as np
import pytest
import torch
from PIL import Image

from nonet.data.image_augment import (
    CLIP_MEAN,
    CLIP_STD,
    COLOUR_OPERATIONS,
    OPERATIONS,
    PlainImages,
    TrainImages,
    as_picture,
    crop_box,
    mirrored,
    rand_augment,
)
from nonet.errors import UserError


def noise(width=60, height=40, seed=0):
    smooth = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_evaluation_resizes_as_torchvision_does():
    from torchvision.transforms import InterpolationMode, v2

    theirs = v2.Compose([
        v2.Resize((32, 48), InterpolationMode.BICUBIC), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(CLIP_MEAN, CLIP_STD),
    ])  # fmt: skip
    ours = PlainImages(height=32, width=48)(noise())
    assert ours.shape == (3, 32, 48)
    assert torch.allclose(ours, theirs(noise()), atol=1e-5)


def test_crops_lie_in_the_image_and_keep_area_and_aspect():
    boxes = np.array([crop_box(200, 100, (0.2, 1.0), rng(seed)) for seed in range(2000)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 200
    assert bottom.max() <= 100
    widths, heights = right - left, bottom - top
    share = widths * heights / (200 * 100)
    assert share.min() >= 0.2 * 0.98
    assert (widths / heights).min() >= 0.74
    assert (widths / heights).max() <= 1.35
    assert left.mean() == pytest.approx(((200 - widths) / 2).mean(), rel=0.05)


def test_crops_follow_torchvisions_distribution():
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    blank = torch.zeros(3, 90, 120)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    ours = np.array([crop_box(120, 90, (0.2, 1.0), rng(seed)) for seed in range(4000)])
    areas = (ours[:, 2] - ours[:, 0]) * (ours[:, 3] - ours[:, 1]), theirs[:, 2] * theirs[:, 3]
    quantiles = np.linspace(0.1, 0.9, 9)
    assert np.allclose(*(np.quantile(own, quantiles) for own in areas), rtol=0.08)


def test_an_image_too_long_for_any_crop_gives_its_middle():
    assert crop_box(1000, 10, (0.9, 1.0), rng()) == (493, 0, 506, 10)
    assert crop_box(1, 1, (0.2, 1.0), rng()) == (0, 0, 1, 1)


def test_a_whole_crop_without_chance_is_the_evaluations_image():
    square = noise(50, 50)
    plain = TrainImages(height=32, width=32, scale=(1.0, 1.0), flip=0, operations=0)
    found = {tuple(crop_box(50, 50, (1.0, 1.0), rng(seed))) for seed in range(20)}
    assert (0, 0, 50, 50) in found
    expected = PlainImages(height=32, width=32)(square)
    assert any(torch.equal(plain(square, rng(seed)), expected) for seed in range(20))


def test_flips_are_half_of_all_and_can_be_forbidden():
    train = TrainImages(height=8, width=8, operations=0)
    flipped = 0
    for seed in range(300):
        free, forbidden = train(noise(), rng(seed)), train(noise(), rng(seed), may_flip=False)
        same = torch.equal(free, forbidden)
        assert same or torch.equal(free, forbidden.flip(-1))
        flipped += not same
    assert 120 < flipped < 180


def test_the_same_generator_gives_the_same_image():
    train = TrainImages(height=24, width=32)
    assert torch.equal(train(noise(), rng(5)), train(noise(), rng(5)))
    assert not torch.equal(train(noise(), rng(5)), train(noise(), rng(6)))


def test_operations_match_torchvisions_at_full_magnitude():
    from torchvision.transforms import v2
    from torchvision.transforms import v2 as functions

    image = noise(40, 30)
    fill = [128, 128, 128]
    bilinear = v2.InterpolationMode.BILINEAR
    theirs = {
        "Identity": image,
        "AutoContrast": functions.functional.autocontrast(image),
        "Equalize": functions.functional.equalize(image),
        "Brightness": functions.functional.adjust_brightness(image, 1.9),
        "Sharpness": functions.functional.adjust_sharpness(image, 1.9),
        "Rotate": functions.functional.rotate(image, 30, interpolation=bilinear, fill=fill),
    }
    for name, expected in theirs.items():
        assert np.array_equal(np.asarray(OPERATIONS[name](image, 1.0)), np.asarray(expected)), name


def test_shifts_and_shears_move_pixels_by_hand():
    pixels = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3).astype(np.uint8)
    image = Image.fromarray(pixels)
    right = np.asarray(OPERATIONS["TranslateX"](image, -0.7))  # by 7 pixels to the right
    assert np.array_equal(right[:, 7:], pixels[:, :-7])
    assert (right[:, :7] == 128).all()
    up = np.asarray(OPERATIONS["TranslateY"](image, 0.3))
    assert np.array_equal(up[:-3], pixels[3:])
    line = Image.new("RGB", (40, 20))
    line.paste((255, 255, 255), (10, 0, 11, 20))  # a column: sheared, row y lies 0.3 y further to the left
    sheared = np.asarray(OPERATIONS["ShearX"](line, 1.0))[:, :, 0].astype(float)
    places = [(np.arange(40) * np.where(row == 128, 0, row)).sum() / np.where(row == 128, 0, row).sum()
              for row in sheared]  # fmt: skip
    assert places[19] - places[0] == pytest.approx(-0.3 * 19, abs=0.3)


def test_colour_operations_leave_a_flat_image_flat():
    flat = Image.new("RGB", (16, 16), (30, 90, 200))
    for seed in range(50):
        pixels = np.asarray(rand_augment(flat, rng(seed), 4, 10, colour_only=True))
        assert (pixels == pixels[0, 0]).all()
    assert set(OPERATIONS) - set(COLOUR_OPERATIONS) == {
        "ShearX",
        "ShearY",
        "TranslateX",
        "TranslateY",
        "Rotate",
    }


def test_an_operation_is_applied_half_of_the_time():
    image = noise()
    changed = sum(
        not np.array_equal(np.asarray(rand_augment(image, rng(seed), 1, 7)), np.asarray(image))
        for seed in range(400)
    )
    assert 400 * 0.5 * 0.9 * 0.8 < changed < 400 * 0.5 * 0.9 * 1.2  # one of the ten is the identity


def test_pixels_come_back_from_normalised_images():
    image = noise(16, 16)
    back = as_picture(PlainImages(height=16, width=16)(image))
    assert np.array_equal(back.permute(1, 2, 0).numpy(), np.asarray(image))
    assert np.array_equal(np.asarray(mirrored(image)), np.asarray(image)[:, ::-1])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"scale": (0.0, 1.0)}, "scale is"),
        ({"scale": (0.5, 0.2)}, "scale is"),
        ({"flip": 2}, "flip is 2; a probability"),
        ({"magnitude": 11}, "2 operations of magnitude 11"),
    ],
)
def test_impossible_settings_are_refused(wrong, text):
    with pytest.raises(UserError, match=text):
        TrainImages(height=8, width=8, **wrong)
