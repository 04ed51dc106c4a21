"""Selecting patches in the Triton form on a GPU, against the reference on the CPU."""

import pytest
import torch

from nonet.kernels.patch_select import patch_select
from nonet.testing import needs, normal, whole

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]


@pytest.mark.parametrize("patches", [49, 196, 256, 576, 1024])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_tokens_are_those_of_the_cpu(patches, kind):
    tokens, scores = normal(8, 1 + patches, 192).to(kind), normal(8, patches, seed=1)
    scores[::3] = scores[::3].mul(4).round()  # many equal scores
    wanted = patch_select(tokens, scores, patches // 2)
    found = patch_select(tokens.cuda(), scores.cuda(), patches // 2)
    assert torch.equal(found.kept.cpu(), wanted.kept)
    assert torch.equal(found.tokens[:, :-1].cpu(), wanted.tokens[:, :-1])
    near = torch.finfo(kind).eps * 4
    torch.testing.assert_close(found.tokens[:, -1].cpu(), wanted.tokens[:, -1], rtol=near, atol=near)


@pytest.mark.parametrize("several", [False, True])
def test_gradients_are_those_of_the_cpu_and_the_same_each_time(several):
    of_image = whole(8, 40) if several else None
    tokens, scores = normal(8, 197, 768), normal(40 if several else 8, 196, seed=1)
    weights = normal(len(scores), 100, 768, seed=2)
    found = []
    for device in ("cpu", "cuda", "cuda"):
        leaf = tokens.to(device, copy=True).requires_grad_()
        rows = None if of_image is None else of_image.to(device)
        selected = patch_select(leaf, scores.to(device), 98, of_image=rows).tokens
        (selected * weights.to(device)).sum().backward()
        found.append(leaf.grad.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(found[2], found[1])
