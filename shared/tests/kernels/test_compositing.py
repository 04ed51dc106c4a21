"""Compositing in plain loops, by hand, and gradients by differences.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import os

import pytest
import torch
from torch.autograd import gradcheck

from nonet.kernels.compositing import LEAK, composite, ray_weights
from nonet.testing import devices, needs, normal, seeded

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def opacities(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=seeded(seed), dtype=dtype)


def in_loops(alpha, values):
    """Weights and sums, sample by sample in Python numbers."""
    weights = torch.zeros(alpha.shape, dtype=torch.float64)
    for ray, row in enumerate(alpha.tolist()):
        clear = 1.0
        for sample, opacity in enumerate(row):
            weights[ray, sample] = opacity * clear
            clear *= 1 - opacity + LEAK
    return weights, torch.einsum("rs,rsc->rc", weights, values.double())


def by_autograd(alpha, values):
    """The same from torch's product, whose gradient torch knows."""
    before = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1] + LEAK], 1)
    weights = alpha * before.cumprod(1)
    return weights, torch.einsum("rs,rsc->rc", weights, values)


@devices
@pytest.mark.parametrize(
    ("rays", "samples", "numbers"), [(1, 1, 1), (3, 5, 2), (4, 132, 7), (2, 64, 40), (2, 17, 0)]
)
def test_weights_and_sums_are_those_of_loops(rays, samples, numbers, device):
    alpha, values = opacities(rays, samples), normal(rays, samples, numbers, dtype=torch.float64)
    found = composite(alpha.to(device), values.to(device))
    weights, seen = in_loops(alpha, values)
    torch.testing.assert_close(found.weights.cpu(), weights, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.values.cpu(), seen, rtol=1e-12, atol=1e-13)
    assert torch.equal(ray_weights(alpha.to(device)), found.weights)


def test_half_half_wall():
    torch.testing.assert_close(
        ray_weights(torch.tensor([[0.5, 0.5, 1.0]])), torch.tensor([[0.5, 0.25, 0.25]]), rtol=0, atol=1e-6
    )


def test_a_wall_at_the_first_sample_gives_its_colour():
    values = normal(2, 6, 3)
    found = composite(torch.ones(2, 6), values)
    torch.testing.assert_close(found.values, values[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(2), rtol=0, atol=1e-6)


def test_weights_are_shares():
    weights = ray_weights(opacities(50, 132, dtype=torch.float32))
    assert weights.min() >= 0
    assert weights.sum(1).max() <= 1 + 132 * LEAK + 1e-6


def test_empty_space_is_not_seen():
    found = composite(torch.zeros(3, 8), normal(3, 8, 4))
    assert not found.weights.any()
    assert not found.values.any()


@devices
@pytest.mark.parametrize("numbers", [0, 3])
def test_gradients_are_those_of_differences(numbers, device):
    alpha = opacities(3, 6).to(device).requires_grad_()
    values = normal(3, 6, numbers, dtype=torch.float64).to(device).requires_grad_()
    assert gradcheck(composite, (alpha, values), fast_mode=OTHER_FORM)


def test_each_result_alone_has_its_gradient():
    alpha, values = opacities(3, 9), normal(3, 9, 2, dtype=torch.float64)
    for part in (0, 1):
        leaves = [x.clone().requires_grad_() for x in (alpha, values, alpha, values)]
        composite(*leaves[:2])[part].square().sum().backward()
        by_autograd(*leaves[2:])[part].square().sum().backward()
        torch.testing.assert_close(leaves[0].grad, leaves[2].grad)
        if part:
            torch.testing.assert_close(leaves[1].grad, leaves[3].grad)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_gradient_at_walls_is_finite_and_keeps_its_digits(kind):
    alpha = torch.tensor(
        [[0.2, 1.0, 0.6, 1.0, 0.3], [1.0, 1, 1, 1, 1], [0, 0.999999, 1, 0.5, 0]], dtype=torch.float64
    )
    values = normal(3, 5, 2, dtype=torch.float64)
    exact = alpha.clone().requires_grad_()
    by_autograd(exact, values)[1].sum().backward()
    leaf = alpha.to(kind).requires_grad_()
    composite(leaf, values.to(kind)).values.sum().backward()
    near = 1e-10 if kind == torch.float64 else 1e-4
    rows = 3 if kind == torch.float64 else 2  # 1 - .999999 + 1e-7 has few digits left in float32
    torch.testing.assert_close(leaf.grad[:rows].double(), exact.grad[:rows], rtol=near, atol=near)
    assert leaf.grad.isfinite().all()


def test_half_precision_and_autocast_are_composited_in_full():
    alpha, values = opacities(3, 20).half(), normal(3, 20, 4).half()
    with torch.autocast("cpu", torch.bfloat16):
        found = composite(alpha, values)
    assert found.weights.dtype == found.values.dtype == torch.float32
    torch.testing.assert_close(found.values.double(), in_loops(alpha, values)[1], rtol=1e-5, atol=1e-6)


def test_no_rays_and_no_samples_give_nothing():
    alpha = torch.zeros(0, 5).requires_grad_()
    assert composite(alpha, torch.zeros(0, 5, 3)).values.shape == (0, 3)
    found = composite(torch.zeros(4, 0), torch.zeros(4, 0, 3))
    assert found.weights.shape == (4, 0)
    assert torch.equal(found.values, torch.zeros(4, 3))


def test_what_is_not_asked_for_gets_no_gradient():
    alpha, values = opacities(2, 4), normal(2, 4, 3, dtype=torch.float64)
    leaf = values.clone().requires_grad_()
    composite(alpha, leaf).values.sum().backward()
    torch.testing.assert_close(leaf.grad, in_loops(alpha, values)[0][..., None].expand(2, 4, 3))
    leaf = alpha.clone().requires_grad_()
    composite(leaf, values).values.sum().backward()
    assert leaf.grad.isfinite().all()


def test_shapes_that_do_not_fit_are_refused():
    for alpha, values in (
        (normal(3, 4), normal(3, 5, 2)),
        (normal(3, 4), normal(3, 4)),
        (normal(4), normal(4, 2)),
    ):
        with pytest.raises(ValueError, match=r"opacities \(R, S\) and values \(R, S, C\)"):
            composite(alpha, values)


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
@pytest.mark.parametrize("kind", ["fp32", "fp64"])
def test_triton_form_compiles_for_a_gpu(kind, compiles):
    from nonet.kernels.compositing_triton import _kernels

    forward, backward = _kernels()
    sizes = {"S": "i32", "C": "i32"}
    constants = {"LEAK": LEAK, "WIDE": 256, "COLUMNS": 32}
    assembly = compiles(forward, f"*{kind}", sizes, constants)
    assert "st.global" in assembly
    assembly = compiles(backward, f"*{kind}", sizes, constants | {"TO_VALUES": True})
    assert assembly.count("bar.sync") >= 2, "neighbours' products are read after they are stored"


@pytest.mark.slow
@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="this is the other form")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)
