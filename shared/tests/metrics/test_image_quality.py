import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.image_quality import mean_psnr, perceptual_distance, psnr, ssim


def pictures(*shape, seed=0, noise=0.1):
    """A smooth picture and a noisy copy, in 0..1."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = 0.5 + 0.3 * np.sin(x / 5) * np.cos(y / 7)
    if len(shape) == 3:
        picture = np.stack([picture * (1 - 0.2 * c) for c in range(shape[2])], -1)
    return (picture + random.normal(0, noise, shape)).clip(0, 1), picture


def test_a_tenth_everywhere_is_20_decibels():
    assert psnr(np.zeros((4, 5, 3)), np.full((4, 5, 3), 0.1)) == pytest.approx(20)
    assert psnr(np.zeros((4, 5)), np.full((4, 5), 25.5), peak=255) == pytest.approx(20)


def test_an_exact_picture_is_infinitely_good():
    image, _ = pictures(20, 20)
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)


def test_a_mask_leaves_out_what_is_wrong():
    image, truth = np.zeros((4, 4)), np.full((4, 4), 0.1)
    image[0], mask = np.nan, np.ones((4, 4), np.bool_)
    mask[0] = False
    assert psnr(image, truth, mask) == pytest.approx(20)
    assert math.isnan(psnr(image, truth, np.zeros((4, 4))))


def test_the_mean_is_over_pictures_and_above_that_of_all_errors_at_once():
    images, truths = np.zeros((2, 4, 4)), np.stack([np.full((4, 4), 0.1), np.full((4, 4), 0.01)])
    assert mean_psnr(images, truths) == pytest.approx(30)
    assert psnr(images.reshape(8, 4), truths.reshape(8, 4)) < 30
    masks = [np.ones((4, 4)), np.zeros((4, 4))]
    assert mean_psnr(images, truths, masks) == pytest.approx(20)
    assert math.isnan(mean_psnr([], []))


@pytest.mark.parametrize("shape", [(11, 11), (24, 33), (24, 33, 3)])
def test_torchmetrics_has_the_same_numbers(shape):
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    image, truth = pictures(*shape)
    given = [torch.as_tensor(part).reshape(*shape[:2], -1).permute(2, 0, 1)[None] for part in (image, truth)]
    _, windows = structural_similarity_index_measure(*given, data_range=1.0, return_full_image=True)
    whole = windows[
        ..., 5:-5, 5:-5
    ]  # torchmetrics' own mean has windows at the edge, too, of mirrored pixels
    assert ssim(image, truth) == pytest.approx(float(whole.mean()), abs=1e-6)
    peer = peak_signal_noise_ratio(*given, data_range=1.0)
    assert psnr(image, truth) == pytest.approx(float(peer), abs=1e-5)  # its peak is a float32
    assert ssim(given[0][0].permute(1, 2, 0), given[1][0].permute(1, 2, 0)) == ssim(image, truth)


@pytest.mark.parametrize("shape", [(24, 33), (24, 33, 3)])
def test_scikit_image_has_the_same_numbers(shape):
    peer = pytest.importorskip("skimage.metrics")
    image, truth = pictures(*shape)
    options = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 1.0}
    options["channel_axis"] = 2 if len(shape) == 3 else None
    wanted = peer.structural_similarity(image, truth, **options)
    assert ssim(image, truth) == pytest.approx(wanted, abs=1e-9)
    wanted = peer.peak_signal_noise_ratio(truth, image, data_range=1.0)
    assert psnr(image, truth) == pytest.approx(wanted, abs=1e-9)


def window_similarity(image, truth, y, x):
    """SSIM of one window with its weights written out."""
    weights = [[math.exp(-(a * a + b * b) / 4.5) for b in range(-5, 6)] for a in range(-5, 6)]
    total = sum(map(sum, weights))
    sums = dict.fromkeys(("x", "y", "xx", "yy", "xy"), 0.0)
    for a in range(11):
        for b in range(11):
            weight, p, q = weights[a][b] / total, image[y - 5 + a][x - 5 + b], truth[y - 5 + a][x - 5 + b]
            for name, value in (("x", p), ("y", q), ("xx", p * p), ("yy", q * q), ("xy", p * q)):
                sums[name] += weight * value
    m, n = sums["x"], sums["y"]
    spread, shared = sums["xx"] - m * m + sums["yy"] - n * n, sums["xy"] - m * n
    return (2 * m * n + 1e-4) * (2 * shared + 9e-4) / ((m * m + n * n + 1e-4) * (spread + 9e-4))


def test_a_mask_chooses_middles_of_windows():
    image, truth = pictures(16, 18)
    mask = np.zeros((16, 18), np.bool_)
    mask[7, 9] = mask[10, 6] = mask[0, 0] = True  # there is no whole window around the last
    wanted = (window_similarity(image, truth, 7, 9) + window_similarity(image, truth, 10, 6)) / 2
    assert ssim(image, truth, mask) == pytest.approx(wanted)
    assert math.isnan(ssim(image, truth, np.zeros((16, 18))))


def lpips_of(monkeypatch, fetch):
    """LPIPS where torch fetches weights by a function of their address."""
    pytest.importorskip("torchmetrics")
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    import torchvision.models._api as api

    monkeypatch.setattr(api, "load_state_dict_from_url", fetch)
    torch.manual_seed(0)  # of what is left as it was drawn
    image, truth = pictures(64, 64, 3)
    return [perceptual_distance(other, truth, "squeeze") for other in (image, truth)]


def test_lpips_is_that_of_the_network(monkeypatch):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(1)
    drawn = torchvision.models.squeezenet1_1(weights=None).state_dict()
    far, near = lpips_of(monkeypatch, lambda *_, **__: drawn)
    assert near == pytest.approx(0, abs=1e-6)
    assert far > 1e-3


def test_lpips_without_weights_says_what_to_do(monkeypatch):
    def fetch(*_, **__):
        raise OSError("no route to host")

    with pytest.raises(UserError, match=r"LPIPS needs the weights of squeeze.*no route to host.*checkpoints"):
        lpips_of(monkeypatch, fetch)


def test_more_noise_is_worse():
    values = [ssim(*pictures(40, 40, noise=noise)) for noise in (0.01, 0.05, 0.2)]
    assert values == sorted(values, reverse=True)


def test_what_does_not_fit_is_refused():
    image, truth = pictures(20, 20)
    for call, error in (
        (lambda: psnr(image, truth[1:]), r"one shape.*not \(20, 20\) and \(19, 20\)"),
        (lambda: psnr(image[0], truth[0]), r"\(H, W\) or \(H, W, C\)"),
        (lambda: psnr(image, truth * np.nan), "not finite"),
        (lambda: psnr(image, truth, np.ones(3)), r"mask has shape \(3,\)"),
        (lambda: ssim(image[:10], truth[:10]), "11 x 11"),
        (lambda: ssim(image, np.where(image > 0.5, np.nan, truth), image <= 0.5), "outside of the mask"),
        (lambda: perceptual_distance(image, truth), r"\(H, W, 3\)"),
    ):
        with pytest.raises(UserError, match=error):
            call()
