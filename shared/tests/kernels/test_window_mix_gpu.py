"""Searching windows on a GPU, and pasting them in the Triton form, against the reference on the CPU."""

import pytest
import torch

from nonet.kernels.window_mix import Windows, paste_pixels, paste_tokens, window_search
from nonet.testing import needs, normal, whole

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]


def windows_for(count, size, sides, seed=0):
    room = torch.tensor(size) - sides[:, None] + 1
    to, source = (whole(1000, count, 2, seed=seed + i) % room for i in range(2))
    rows = torch.arange(count)
    return Windows(rows, rows.flip(0), to, source, sides)


@pytest.mark.parametrize("size", [(14, 14), (16, 16), (24, 24), (9, 31)])
def test_places_are_those_of_the_cpu(size):
    scores, sides, rows = normal(128, *size), 1 + whole(min(size), 128), torch.arange(128)
    scores[::3] = scores[::3].mul(4).round()  # many equal sums
    wanted = window_search(scores, sides, rows, rows.flip(0))
    found = window_search(scores.cuda(), sides, rows.cuda(), rows.flip(0).cuda())
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.uint8])
def test_pixels_are_those_of_the_cpu(kind):
    images, windows = whole(256, 6, 3, 96, 64).to(kind), windows_for(6, (96, 64), 16 * (1 + whole(4, 6)))
    found = paste_pixels(images.cuda(), Windows(*(part.cuda() for part in windows)))
    assert torch.equal(found.cpu(), paste_pixels(images, windows))


def test_tokens_and_their_gradient_are_those_of_the_cpu():
    tokens, windows = normal(8, 256, 768), windows_for(8, (16, 16), 3 + whole(10, 8))
    weights = normal(8, 256, 768, seed=1)
    results = []
    for device in ("cpu", "cuda"):
        leaf = tokens.to(device, copy=True).requires_grad_()
        mixed = paste_tokens(leaf, Windows(*(part.to(device) for part in windows)), (16, 16))
        (mixed * weights.to(device)).sum().backward()
        results.append((mixed.detach().cpu(), leaf.grad.cpu()))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[1][1], results[0][1], rtol=0, atol=1e-6)
