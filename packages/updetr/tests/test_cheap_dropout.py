"""Dropout on a processor: share, scale, independence of neighbours, gradients, attention's use of it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nonet.testing import threads
from updetr.attention import Attention
from updetr.dropout import Dropout, dropped

COUNT = 400_000


@pytest.fixture(autouse=True)
def _same_bits_each_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_zeroed_and_the_rest_scaled_up(share):
    out = dropped(torch.ones(COUNT), share)
    zeroed = float((out == 0).double().mean())
    assert abs(zeroed - share) < 5 * np.sqrt(share * (1 - share) / COUNT) + 1 / 65536
    kept = out[out != 0]
    assert torch.all(kept == kept[0])
    assert float(kept[0]) == pytest.approx(1 / (1 - share), rel=2e-4)


def test_the_four_elements_of_a_word_are_dropped_alike_and_independently():
    zeroed = (dropped(torch.ones(COUNT), 0.25) == 0).double().view(-1, 4)
    sigma = np.sqrt(0.25 * 0.75 / len(zeroed))
    assert ((zeroed.mean(0) - 0.25).abs() < 5 * sigma).all()
    centred = zeroed - zeroed.mean(0)
    correlations = centred.T @ centred / len(zeroed) / (0.25 * 0.75) - torch.eye(4)
    assert (correlations.fill_diagonal_(0).abs() < 5 / np.sqrt(len(zeroed))).all()
    after = (centred[:-1, 3] * centred[1:, 0]).mean() / (0.25 * 0.75)  # from one word to the next
    assert abs(float(after)) < 5 / np.sqrt(len(zeroed))


def test_the_mask_is_that_of_splitmix_whatever_the_threads():
    from updetr.dropout_compiled import PART, Dropped

    count, mask = 4 * PART + 4 * PART // 2 + 3, (1 << 64) - 1
    masks = []
    for number in (1, 2):
        with threads(number):
            masks.append(Dropped.apply(torch.ones(count), 30_000, 1.0, 7))
    assert torch.equal(*masks)
    for element in (0, 1, 2, 3, 4, 4099, 4 * PART - 1, 4 * PART, count - 1):
        z = (7 + (element // 4 + 1) * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        bits = ((z ^ (z >> 31)) >> (16 * (element % 4))) & 0xFFFF
        assert (masks[0][element] > 0) == (bits >= 30_000)


def test_gradients_of_gradients_pass_as_well():
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    def same_draw(x):
        torch.manual_seed(3)
        return dropped(x, 0.4) * x

    assert torch.autograd.gradcheck(same_draw, (x,))
    assert torch.autograd.gradgradcheck(same_draw, (x,))


def test_the_plain_form_is_torchs(monkeypatch):
    monkeypatch.setenv("NONET_KERNELS", "reference")
    torch.manual_seed(5)
    ours = dropped(torch.ones(1000), 0.3)
    torch.manual_seed(5)
    assert torch.equal(ours, F.dropout(torch.ones(1000), 0.3))


def test_draws_differ_and_come_again_with_the_seed():
    torch.manual_seed(1)
    one, two = dropped(torch.ones(1001), 0.5), dropped(torch.ones(1001), 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropped(torch.ones(1001), 0.5), one)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_pass_where_the_element_did(dtype):
    x = torch.randn(3, 5, 7, dtype=dtype).requires_grad_()
    out = dropped(x, 0.3)
    assert out.dtype == dtype
    out.sum().backward()
    assert torch.equal(x.grad == 0, out.detach() == 0)
    passed = x.grad[x.grad != 0]
    assert (passed == passed[0]).all()
    assert float(passed[0]) == pytest.approx(1 / 0.7, rel=4e-3)


def test_nothing_is_dropped_in_evaluation_or_for_a_share_of_0():
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert not torch.equal(Dropout(0.5).train()(x), x)


def test_attention_that_drops_is_attention_on_average():
    width, draws = 16, 3000
    layer = Attention(width, heads=4, dropout=0.2).double()
    query, memory = torch.randn(1, 3, width).double(), torch.randn(1, 6, width).double()
    padding = torch.tensor([[False] * 4 + [True] * 2])
    with torch.no_grad():
        exact = layer.eval()(query, memory, memory, padding)
        many = [side.expand(draws, -1, -1) for side in (query, memory, padding[..., None])]
        found = layer.train()(many[0], many[1], many[1].clone(), many[2][..., 0])
    error = found.std(0) / np.sqrt(draws)
    assert (found.std(0) > 0).all()
    assert ((found.mean(0) - exact[0]).abs() < 5 * error).all()


def test_attention_that_drops_next_to_nothing_is_torchs():
    width = 8
    layer = Attention(width, heads=2, dropout=1e-9).train()
    x, padding = torch.randn(2, 5, width), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    seen = ~padding[:, None, None]
    q, k, v = F.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
    heads = [part.unflatten(-1, (2, -1)).transpose(1, 2) for part in (q, k, v)]
    expected = layer.out_proj(F.scaled_dot_product_attention(*heads, seen).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(layer(x, x, x, padding), expected)
