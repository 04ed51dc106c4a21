"""Masked linear layers against ten lines that sort, and against the definition of the gradients.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.kernels.masked_linear import cut_above, cut_largest, kept_by, masked_linear, masked_weight
from nonet.testing import needs

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def sorted_mask(values, kept):
    """The largest values, of equal ones the first: by sorting all of them."""
    flat = values.flatten().tolist()
    order = sorted(range(len(flat)), key=lambda place: (-flat[place], place))
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask.view(values.shape)


def reference(x, weight, scores, mask, bias, gradient):
    """Forward and gradients written out: y, dx, dW, dS, db."""
    masked = weight * mask
    y = x @ masked.T + bias
    d_masked = gradient.flatten(0, -2).T @ x.flatten(0, -2)
    return y, gradient @ masked, d_masked * mask, d_masked * weight, gradient.flatten(0, -2).sum(0)


def case(scores="random", seed=0, dtype=torch.float64, outputs=7, inputs=5):
    generator = torch.Generator().manual_seed(seed)
    x, gradient = (
        torch.randn(2, 3, inputs, generator=generator),
        torch.randn(2, 3, outputs, generator=generator),
    )
    weight, bias = (
        torch.randn(outputs, inputs, generator=generator),
        torch.randn(outputs, generator=generator),
    )
    marks = torch.randint(-1, 2, weight.shape, generator=generator).float()
    if scores == "zero":
        marks.zero_()
    if scores == "random":
        marks = torch.randn(weight.shape, generator=generator)
    return [part.to(dtype) for part in (x, weight, marks, bias, gradient)]


@pytest.mark.parametrize("scores", ["random", "ties", "zero"])
@pytest.mark.parametrize("kept", [0, 1, 11, 34, 35])
def test_forward_and_gradients_are_those_of_the_sorted_mask(scores, kept):
    x, weight, marks, bias, gradient = case(scores)
    mask = sorted_mask(marks, kept)
    wanted = reference(x, weight, marks, mask, bias, gradient)
    leaves = [part.requires_grad_() for part in (x, weight, marks, bias)]
    y = masked_linear(x, weight, marks, kept=kept, bias=bias)
    found = (y, *torch.autograd.grad(y, leaves, gradient))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_threshold_keeps_what_is_above_it_and_not_what_equals_it():
    x, weight, marks, bias, gradient = case("ties")
    wanted = reference(x, weight, marks, marks > 0, bias, gradient)
    leaves = [part.requires_grad_() for part in (x, weight, marks, bias)]
    y = masked_linear(x, weight, marks, threshold=0.0, bias=bias)
    torch.testing.assert_close((y, *torch.autograd.grad(y, leaves, gradient)), wanted, rtol=1e-12, atol=1e-12)


def test_without_scores_the_largest_weights_stay():
    x, weight, _, bias, gradient = case()
    weight[0, 0] = -100.0
    mask = sorted_mask(weight.abs(), 9)
    assert mask[0, 0]
    y, dx, dw, _, db = reference(x, weight, weight, mask, bias, gradient)
    leaves = [part.requires_grad_() for part in (x, weight, bias)]
    found = masked_linear(x, weight, None, kept=9, bias=bias)
    torch.testing.assert_close(
        (found, *torch.autograd.grad(found, leaves, gradient)), (y, dx, dw, db), rtol=1e-12, atol=1e-12
    )


@given(
    values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=1, max_size=40),
    share=st.floats(0, 1),
    kind=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_exactly_so_many_are_kept_and_of_equal_ones_the_first(values, share, kind):
    numbers = torch.tensor(values, dtype=kind)
    kept = int(share * len(values))
    assert torch.equal(kept_by(numbers, cut_largest(numbers, kept)), sorted_mask(numbers, kept))


def test_infinite_scores_are_ordered_like_others():
    numbers = torch.tensor([-float("inf"), 1.0, float("inf"), -float("inf"), float("inf")])
    for kept in range(6):
        assert torch.equal(kept_by(numbers, cut_largest(numbers, kept)), sorted_mask(numbers, kept))


def test_scores_may_be_other_numbers_than_those_that_are_compared():
    _, weight, marks, _, _ = case()
    by = torch.arange(35.0).view(7, 5)
    leaves = [part.requires_grad_() for part in (weight, marks)]
    found = masked_weight(weight, cut_largest(by, 10), by=by, scores=marks)
    d_weight, d_scores = torch.autograd.grad(found, leaves, torch.ones_like(weight))
    assert torch.equal(found, torch.where(by > 24, weight, 0))
    assert torch.equal(d_weight, (by > 24).double())
    assert torch.equal(d_scores, weight)


def test_under_autocast_the_product_is_in_its_type_and_gradients_in_the_parameters():
    x, weight, marks, bias, gradient = case(dtype=torch.float32)
    wanted = reference(x, weight, marks, sorted_mask(marks, 20), bias, gradient)
    leaves = [part.requires_grad_() for part in (x, weight, marks, bias)]
    with torch.autocast("cpu", torch.bfloat16):
        y = masked_linear(x, weight, marks, kept=20, bias=bias)
    assert y.dtype == torch.bfloat16
    found = torch.autograd.grad(y, leaves, gradient.bfloat16())
    assert {part.dtype for part in found} == {torch.float32}
    torch.testing.assert_close(found, wanted[1:], rtol=0.02, atol=0.05)


def test_a_matrix_without_rows_gives_nothing():
    x = torch.randn(2, 5)
    weight, scores = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, 5, requires_grad=True)
    found = masked_linear(x, weight, scores, kept=0)
    assert found.shape == (2, 0)
    found.sum().backward()
    assert weight.grad.shape == (0, 5)


def test_second_derivatives_are_refused():
    weight = torch.randn(3, 3, requires_grad=True)
    found = masked_weight(weight, cut_above(weight.detach().abs(), 0.0))
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(found.sum(), weight, create_graph=True)


def test_what_does_not_fit_is_named():
    weight = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="7 of 6 values cannot be kept"):
        masked_linear(torch.zeros(1, 2), weight, weight, kept=7)
    with pytest.raises(ValueError, match="say either kept or threshold"):
        masked_linear(torch.zeros(1, 2), weight, weight)
    with pytest.raises(ValueError, match=r"scores \(2, 3\) on cpu does not fit weight \(3, 2\)"):
        masked_weight(weight, cut_above(weight, 0.0), scores=weight.T)


@needs("triton")
@pytest.mark.slow
@pytest.mark.skipif(OTHER_FORM, reason="this is the second run")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("result", ["fp32", "bf16"])
def test_triton_form_compiles_for_a_gpu(which, result):
    from nonet.kernels.masked_linear import _kernels

    kernel = _kernels()[which]
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    other = [{"found": f"*{result}"}, {"gradient": f"*{result}", "d_weight": "*fp32", "d_scores": "*fp32"}]
    signature = {"weight": "*fp32", "by": "*fp32", "threshold": "*fp32", "last": "*i64", "n": "i32"}
    constants = [{"ABSOLUTE": False}, {"ABSOLUTE": False, "WEIGHT": True, "SCORES": True}][which] | {
        "BLOCK": 1024
    }
    signature |= other[which] | dict.fromkeys(constants, "constexpr")
    ordered = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(kernel, signature=ordered, constexprs=constants)
    assembly = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert "st.global" in assembly
