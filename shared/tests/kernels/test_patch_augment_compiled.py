"""The compiled form of the augmentations against the one in torch, and hues against Python's colorsys.

`test_patch_augment.py` holds whichever form is taken against plain numbers.
"""

import colorsys
import itertools

import numpy as np
import pytest
import torch

from nonet.kernels import dispatch
from nonet.kernels.patch_augment import HUE, Draws, draw_augmentations, patch_augment
from nonet.testing import needs, threads

pytestmark = needs("numba")

ORDERS = list(itertools.permutations(range(4)))
FACTORS = [
    (0.6, 0.6, 0.6, -0.1),
    (1.4, 1.4, 1.4, 0.1),
    (0.0, 0.0, 0.0, -0.5),
    (2.0, 2.0, 2.0, 0.5),
    (1.0, 1.0, 1.0, 0.0),
]
PLAIN = {"mean": (0.0, 0.0, 0.0), "deviation": (1.0, 1.0, 1.0)}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("NONET_KERNELS", raising=False)


@pytest.fixture
def in_torch(monkeypatch):
    """`patch_augment` as it is where numba is not installed."""

    def augmented(*given, **options):
        with monkeypatch.context() as without:
            without.setattr(dispatch, "_numba_is_installed", lambda: False)
            return patch_augment(*given, **options)

    return augmented


def pictures(n, P, seed=0):
    """Bytes: smooth, noisy and flat ones, with pixels that are grey, black, white and of one colour."""
    random = np.random.default_rng(seed)
    found = random.integers(0, 256, (n, 3, P, P))
    found[1::3] = np.arange(P) * 255 // P
    found[2::3] = random.integers(0, 256, (*found[2::3].shape[:2], 1, 1))
    found[:, :, 0, :4] = np.array([[77, 0, 255, 200], [77, 0, 255, 10], [77, 0, 255, 10]])
    return torch.from_numpy(found.astype(np.uint8))


def draws(n, orders=ORDERS[:1], factors=FACTORS[:1], jitter=True, grey=False, sigma=0.0):
    """One of the orders and of the factors after the other."""
    return Draws(
        torch.tensor(list(itertools.islice(itertools.cycle(orders), n))),
        torch.tensor(list(itertools.islice(itertools.cycle(factors), n)), dtype=torch.float32),
        torch.full((n,), jitter),
        torch.full((n,), grey),
        torch.full((n,), sigma),
    )


def test_every_order_with_every_factor_is_as_in_torch(in_torch):
    given = pictures(len(ORDERS) * len(FACTORS), 7)  # 24 and 5: each pair comes once
    drawn = draws(len(given), ORDERS, FACTORS)
    torch.testing.assert_close(
        patch_augment(given, drawn, **PLAIN), in_torch(given, drawn, **PLAIN), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("P", [7, 33, 48, 128])
def test_what_is_drawn_is_as_in_torch(in_torch, P, kind):
    given, drawn = pictures(12, P, seed=P).to(kind), draw_augmentations(np.random.default_rng(P), 12)
    kept = given.clone()
    found = patch_augment(given, drawn)
    torch.testing.assert_close(found, in_torch(given, drawn), rtol=0, atol=5e-5)  # of 4.4 deviations
    assert found.is_contiguous()
    assert torch.equal(given, kept)


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.34, 1.0, 4 / 3, 2.0, 9.0])
@pytest.mark.parametrize("grey", [False, True])
def test_a_blur_is_as_in_torch_whatever_its_width(in_torch, sigma, grey):
    for P in (7, 8, 61):
        given, drawn = pictures(3, P), draws(3, jitter=False, grey=grey, sigma=sigma)
        torch.testing.assert_close(
            patch_augment(given, drawn, **PLAIN), in_torch(given, drawn, **PLAIN), rtol=0, atol=2e-6
        )


@pytest.mark.parametrize("turns", [-0.5, -0.3, -1 / 6, -0.04, 0.0, 0.1, 0.25, 0.5])
def test_hues_are_those_of_colorsys(turns):
    given = pictures(1, 24, seed=3)
    drawn = draws(1, [(HUE, 0, 1, 2)], [(1.0, 1.0, 1.0, turns)])
    pixels = (given[0].double() / 255).flatten(1).T.tolist()
    turned = [((h + turns) % 1, s, v) for h, s, v in (colorsys.rgb_to_hsv(*pixel) for pixel in pixels)]
    wanted = torch.tensor([colorsys.hsv_to_rgb(*pixel) for pixel in turned]).T.view(3, 24, 24)
    torch.testing.assert_close(patch_augment(given, drawn, **PLAIN)[0], wanted, rtol=0, atol=1e-5)


def test_neither_memory_format_nor_threads_change_a_bit():
    given, drawn = pictures(9, 128), draw_augmentations(np.random.default_rng(1), 9)
    with threads(1):
        alone = patch_augment(given, drawn)
    for count in (2, 3):
        with threads(count):
            assert torch.equal(patch_augment(given, drawn), alone)
            side_by_side = given.contiguous(memory_format=torch.channels_last)
            assert torch.equal(patch_augment(side_by_side, drawn), alone)
    one = [
        patch_augment(given[i : i + 1], Draws(*(part[i : i + 1] for part in drawn)))
        for i in range(len(given))
    ]
    assert torch.equal(torch.cat(one), alone)


def test_where_numba_is_missing_or_not_wanted_nothing_of_it_runs(monkeypatch):
    given, drawn = pictures(2, 8), draws(2)
    from nonet.kernels import patch_augment_compiled

    def taken(*_):
        raise RuntimeError("the compiled form")

    monkeypatch.setattr(patch_augment_compiled, "augment", taken)
    with pytest.raises(RuntimeError, match="the compiled form"):
        patch_augment(given, drawn)
    with monkeypatch.context() as without:
        without.setattr(dispatch, "_numba_is_installed", lambda: False)
        assert patch_augment(given, drawn).shape == given.shape
    monkeypatch.setenv("NONET_KERNELS", "reference")
    assert patch_augment(given, drawn).shape == given.shape


def test_what_is_found_without_numba_is_that_it_is_not_there(monkeypatch):
    find = dispatch.importlib.util.find_spec
    assert dispatch.compiled_form(torch.zeros(1))
    monkeypatch.setattr(
        dispatch.importlib.util, "find_spec", lambda name: None if name == "numba" else find(name)
    )
    dispatch._numba_is_installed.cache_clear()
    try:
        assert not dispatch.compiled_form(torch.zeros(1))
    finally:
        dispatch._numba_is_installed.cache_clear()
