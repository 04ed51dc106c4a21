"""Conditional random fields in the Triton form on a GPU, against the reference on the CPU."""

import pytest
import torch

from nonet.kernels.crf import log_partition, marginals, viterbi
from nonet.testing import needs, normal, whole

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]


def case(labels, device, kind):
    """Emissions, transitions, start, end with gradients, and a mask: 40 sequences of up to 96 positions."""
    shapes = [(40, 96, labels), (labels, labels), (labels,), (labels,)]
    parts = [normal(*shape, seed=seed).to(device, kind).requires_grad_() for seed, shape in enumerate(shapes)]
    lengths = whole(97, 40, seed=9)
    return parts, (torch.arange(96)[None] < lengths[:, None]).to(device)


@pytest.mark.parametrize("labels", [2, 3, 5, 9, 20])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_sums_marginals_and_gradients_are_those_of_the_cpu(labels, kind):
    found = []
    for device in ("cpu", "cuda"):
        parts, mask = case(labels, device, kind)
        totals = log_partition(*parts, mask)
        gradients = torch.autograd.grad(totals.sin().sum(), parts)
        found.append([part.detach().cpu() for part in (totals, marginals(*parts, mask), *gradients)])
    near = 1e-3 if kind == torch.float32 else 1e-10
    for mine, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, wanted, rtol=near, atol=near)


@pytest.mark.parametrize("labels", [2, 3, 5, 9, 20])
def test_best_paths_are_those_of_the_cpu(labels):
    parts, mask = case(labels, "cpu", torch.float64)
    parts = [part.detach() for part in parts]
    parts[0][::3] = parts[0][::3].round()  # with the transitions below: many paths are equally good
    parts[1:] = [part.round() for part in parts[1:]]
    wanted = viterbi(*parts, mask)
    tags, scores = viterbi(*(part.cuda() for part in parts), mask.cuda())
    assert torch.equal(tags.cpu(), wanted[0])
    torch.testing.assert_close(scores.cpu(), wanted[1], rtol=1e-12, atol=1e-12)
