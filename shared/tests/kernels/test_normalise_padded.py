"""Batches of images against the formula, number by number."""

import pytest
import torch

from nonet.kernels import dispatch
from nonet.kernels.normalise_padded import normalise_padded
from nonet.testing import needs, threads, whole

SIZES = [(5, 9), (130, 3), (1, 1), (64, 40)]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(sizes=SIZES):
    """Bytes, some with their channels side by side in memory."""
    found = [whole(256, 3, h, w, seed=h).to(torch.uint8) for h, w in sizes]
    found[1::2] = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in found[1::2]]
    return found


@pytest.fixture(params=["torch", pytest.param("numba", marks=needs("numba"))])
def form(request, monkeypatch):
    """Each of both forms."""
    monkeypatch.delenv("NONET_KERNELS", raising=False)
    monkeypatch.setattr(dispatch, "_numba_is_installed", lambda: request.param == "numba")


@pytest.mark.usefixtures("form")
def test_images_are_normalised_where_they_are_and_zeros_beside_them():
    given = images()
    pixels, mask = normalise_padded(given)
    assert (pixels.dtype, mask.dtype) == (torch.float32, torch.bool)
    assert pixels.shape == (4, 3, 130, 40)
    for place, image in enumerate(given):
        h, w = image.shape[1:]
        wanted = torch.zeros(3, 130, 40, dtype=torch.float64)
        for channel in range(3):
            wanted[channel, :h, :w] = (image[channel].double() / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(pixels[place].double(), wanted, rtol=0, atol=1e-6)
        assert mask[place, :h, :w].all()
        assert mask[place].sum() == h * w


@needs("numba")
def test_both_forms_give_the_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.delenv("NONET_KERNELS", raising=False)
    given = images([(200, 301), (300, 200), (65, 7)])
    with threads(1):
        alone = normalise_padded(given)[0]
    with threads(2):
        assert torch.equal(normalise_padded(given)[0].view(torch.int32), alone.view(torch.int32))
    monkeypatch.setenv("NONET_KERNELS", "reference")
    assert torch.equal(normalise_padded(given)[0].view(torch.int32), alone.view(torch.int32))


def test_no_image_and_one_of_another_form_are_refused():
    with pytest.raises(ValueError, match="no images to make a batch of"):
        normalise_padded([])
    with pytest.raises(ValueError, match=r"an image of \(4, 5, 3\) torch.uint8; \(3, h, w\) uint8 is needed"):
        normalise_padded([torch.zeros(4, 5, 3, dtype=torch.uint8)])
    with pytest.raises(ValueError, match=r"torch\.float32"):
        normalise_padded([torch.zeros(3, 4, 5)])
