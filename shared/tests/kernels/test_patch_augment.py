"""Augmentations in plain numbers, pixel by pixel, with Python's colorsys for the hue; and Pillow's.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import colorsys
import math
import os

import numpy as np
import pytest
import torch

from nonet.data import images
from nonet.kernels import patch_augment as kernel
from nonet.kernels.patch_augment import Draws, draw_augmentations, patch_augment
from nonet.testing import needs, whole

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
PLAIN = {"mean": (0.0, 0.0, 0.0), "deviation": (1.0, 1.0, 1.0)}


def pictures(n=3, size=9, seed=0):
    """Bytes; with pixels that are grey, black, white and of one colour."""
    found = whole(256, n, 3, size, size, seed=seed).to(torch.uint8)
    found[:, :, 0, 0], found[:, :, 0, 1], found[:, :, 0, 2] = 77, 0, 255
    found[:, :, 0, 3] = torch.tensor([200, 10, 10], dtype=torch.uint8)
    return found


def draws(n=3, order=(0, 1, 2, 3), factors=(1.0, 1.0, 1.0, 0.0), jitter=True, grey=False, sigma=0.0):
    return Draws(
        torch.tensor([order] * n),
        torch.tensor([factors] * n, dtype=torch.float32),
        torch.full((n,), jitter),
        torch.full((n,), grey),
        torch.full((n,), sigma),
    )


def grey_of(pixel):
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def in_plain_numbers(picture, order, factors):
    """The jitter of one picture, (3, P, P), pixel by pixel."""
    pixels = [tuple(pixel) for pixel in (picture.double() / 255).flatten(1).T.tolist()]
    for operation in order:
        f = factors[operation]
        if operation == HUE:
            turned = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels]
            pixels = [colorsys.hsv_to_rgb((h + f) % 1, s, v) for h, s, v in turned]
            continue
        mean = sum(map(grey_of, pixels)) / len(pixels)
        other = {BRIGHTNESS: lambda pixel: 0, CONTRAST: lambda pixel, m=mean: m, SATURATION: grey_of}[
            operation
        ]
        pixels = [tuple(min(max(f * x + (1 - f) * other(p), 0), 1) for x in p) for p in pixels]
    return torch.tensor(pixels).T.view(picture.shape)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
@pytest.mark.parametrize("factors", [(1.3, 0.6, 1.4, 0.1), (0.7, 1.4, 0.6, -0.08), (1.0, 1.0, 1.0, 0.47)])
def test_the_jitter_is_what_the_formulas_say_in_the_order_that_was_drawn(order, factors):
    given = pictures()
    found = patch_augment(given, draws(order=order, factors=factors), **PLAIN)
    for mine, picture in zip(found, given, strict=True):
        torch.testing.assert_close(mine, in_plain_numbers(picture, order, factors), rtol=0, atol=1e-5)


def test_nothing_drawn_changes_nothing_but_mean_and_deviation():
    given = pictures()
    off = draws(factors=(0.3, 2.0, 3.0, 0.2), jitter=False)
    torch.testing.assert_close(patch_augment(given, off), images.normalise(given), rtol=0, atol=2e-6)
    as_floats = patch_augment(given.float(), off)
    assert torch.equal(as_floats, patch_augment(given, off))
    assert (kernel.MEAN, kernel.DEVIATION) == (images.IMAGENET_MEAN, images.IMAGENET_STD)


def test_grey_is_pillows_to_one_level():
    image = pytest.importorskip("PIL.Image")
    given = pictures()
    found = patch_augment(given, draws(jitter=False, grey=True), **PLAIN) * 255
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
    for mine, picture in zip(found, given, strict=True):
        wanted = np.asarray(image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L"))
        assert np.abs(mine[0].numpy() - wanted).max() < 1


def blurred(line, sigma):
    """A Gaussian over the last axis of numbers, in plain loops."""
    radius = min(math.ceil(3 * sigma), 6)
    weights = {t: math.exp(-0.5 * (t / sigma) ** 2) for t in range(-radius, radius + 1)}
    n, out = line.shape[-1], np.zeros_like(line)
    for i in range(n):
        for t, weight in weights.items():
            k = abs(i + t)
            out[..., i] += weight * line[..., k if k < n else 2 * (n - 1) - k]
    return out / sum(weights.values())


@pytest.mark.parametrize("sigma", [0.1, 0.34, 1.0, 1.7, 2.0])
def test_the_blur_is_a_gaussian_along_each_axis(sigma):
    given = pictures()
    found = patch_augment(given, draws(jitter=False, sigma=sigma), **PLAIN)
    wanted = blurred(blurred(given.double().numpy() / 255, sigma).swapaxes(2, 3), sigma).swapaxes(2, 3)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


@pytest.mark.skipif(OTHER_FORM, reason="large pictures")
def test_the_blur_is_near_pillows_three_boxes():
    image_filter = pytest.importorskip("PIL.ImageFilter")
    from PIL import Image

    smooth = np.kron(np.random.default_rng(0).integers(0, 256, (16, 16, 3)), np.ones((4, 4, 1))).astype(
        np.uint8
    )
    wanted = np.asarray(Image.fromarray(smooth).filter(image_filter.GaussianBlur(1.5))).astype(float)
    given = torch.from_numpy(smooth).permute(2, 0, 1)[None]
    found = patch_augment(given, draws(1, jitter=False, sigma=1.5), **PLAIN)[0].permute(1, 2, 0) * 255
    assert np.abs(found.numpy() - wanted).mean() < 2


def test_each_picture_gets_what_was_drawn_for_it():
    given = pictures(12)
    drawn = draw_augmentations(np.random.default_rng(3), 12)
    together = patch_augment(given, drawn)
    for i in range(12):
        alone = patch_augment(given[i : i + 1], Draws(*(part[i : i + 1] for part in drawn)))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-6)


@pytest.mark.skipif(OTHER_FORM, reason="is of the reference")
def test_pictures_in_groups_give_what_one_by_one_gives():
    x = pictures(20).float() / 255
    drawn = draw_augmentations(np.random.default_rng(4), 20)
    groups = x.clone()
    kernel._in_groups(groups, drawn)
    kernel._one_by_one(x, drawn)
    torch.testing.assert_close(groups, x, rtol=0, atol=1e-6)


def test_shares_and_ranges_of_what_is_drawn():
    drawn = draw_augmentations(np.random.default_rng(0), 20000)
    for part, share in ((drawn.jitter, 0.8), (drawn.grey, 0.2), (drawn.sigma > 0, 0.5)):
        assert part.float().mean().item() == pytest.approx(share, abs=0.015)
    low, high = drawn.factors.amin(0).tolist(), drawn.factors.amax(0).tolist()
    assert low == pytest.approx([0.6, 0.6, 0.6, -0.1], abs=1e-3)
    assert high == pytest.approx([1.4, 1.4, 1.4, 0.1], abs=1e-3)
    some = drawn.sigma[drawn.sigma > 0]
    assert (some.amin().item(), some.amax().item()) == pytest.approx((0.1, 2), abs=1e-3)
    assert torch.equal(drawn.order.sort(1).values, torch.arange(4).expand(20000, 4))
    firsts = drawn.order.flatten().add(torch.arange(4).repeat(20000) * 4).bincount()
    assert (firsts / 20000).tolist() == pytest.approx([0.25] * 16, abs=0.015)


def test_the_same_generator_draws_the_same():
    first, second = (draw_augmentations(np.random.default_rng(7), 5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_pictures_give_none():
    drawn = draw_augmentations(np.random.default_rng(0), 0)
    assert patch_augment(torch.zeros(0, 3, 8, 8), drawn).shape == (0, 3, 8, 8)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"pictures are \(1, 3, 6, 6\); \(n, 3, P, P\) with P above 6"):
        patch_augment(torch.zeros(1, 3, 6, 6), draws(1))
    with pytest.raises(ValueError, match="draws for 2 pictures, and there are 3"):
        patch_augment(pictures(), draws(2))


@needs("triton")
@pytest.mark.slow
@pytest.mark.skipif(OTHER_FORM, reason="this is the second run")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
@pytest.mark.parametrize("which", [0, 1])
def test_triton_form_compiles_for_a_gpu(which):
    from nonet.kernels.patch_augment_triton import _kernels

    wanted = _kernels()[which]
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    constants = [{"BLOCK": 1024}, {"LAST": True, "RADIUS": 6, "BLOCK": 1024}][which]
    kinds = {"pictures": "*u8", "order": "*i64", "jitter": "*i8", "grey": "*i8", "pixels": "i32", "P": "i32"}
    kinds |= dict.fromkeys(["factors", "sigma", "work", "found", "source"], "*fp32")
    kinds |= dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "fp32") for name in wanted.arg_names}
    source = ASTSource(wanted, signature=signature, constexprs=constants)
    assembly = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert "st.global" in assembly
