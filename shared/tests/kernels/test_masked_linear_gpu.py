"""The Triton form of masked linear layers on a GPU against the reference on the CPU."""

import pytest
import torch

from nonet.kernels.masked_linear import cut_largest, kept_by, masked_linear
from nonet.testing import needs, normal

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]


@pytest.mark.parametrize(("outputs", "inputs"), [(7, 5), (1536, 384), (3072, 768)])
@pytest.mark.parametrize("ties", [False, True])
def test_both_forms_keep_the_same_weights_and_give_the_same_gradients(outputs, inputs, ties):
    x, weight, scores, gradient = (
        normal(*shape, seed=seed, dtype=torch.float64)
        for seed, shape in enumerate(((9, inputs), (outputs, inputs), (outputs, inputs), (9, outputs)))
    )
    scores = scores.round() if ties else scores
    kept = int(0.3 * scores.numel())
    found = []
    for device in ("cpu", "cuda"):
        leaves = [part.to(device).detach().requires_grad_() for part in (x, weight, scores)]
        y = masked_linear(*leaves, kept=kept)
        found.append([part.cpu() for part in (y, *torch.autograd.grad(y, leaves, gradient.to(device)))])
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kept", [0, 1, 100_000, 2_000_000, 2_359_296])
def test_exact_counts_on_the_gpu(kept):
    values = normal(3072, 768).mul(4).round().cuda()
    mask = kept_by(values, cut_largest(values, kept))
    assert int(mask.sum()) == kept
    wanted = kept_by(values.cpu(), cut_largest(values.cpu(), kept))
    assert torch.equal(mask.cpu(), wanted)


def test_autocast_gives_the_product_in_bfloat16_and_gradients_in_float32():
    x, weight, scores = (normal(*shape).cuda().requires_grad_() for shape in ((8, 64), (32, 64), (32, 64)))
    with torch.autocast("cuda", torch.bfloat16):
        y = masked_linear(x, weight, scores, kept=500)
    assert y.dtype == torch.bfloat16
    gradients = torch.autograd.grad(y.float().sum(), (weight, scores))
    assert [part.dtype for part in gradients] == [torch.float32] * 2
    mask = kept_by(scores.detach(), cut_largest(scores, 500))
    slope = x.detach().sum(0).expand(32, 64)
    torch.testing.assert_close(gradients[0], slope * mask, rtol=0.02, atol=0.05)
    torch.testing.assert_close(gradients[1], slope * weight.detach(), rtol=0.02, atol=0.1)
