"""Costs of pairs in plain numbers, hand values of overlaps, and transformers' focal cost.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import math
import os

import pytest
import torch

from nonet.kernels.set_cost import corners, overlaps, set_cost
from nonet.testing import needs, normal, whole

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def case(layers=2, images=3, predictions=7, classes=5, most=4, dtype=torch.float32):
    """Predictions and padded targets; image i has `most` - i of them."""
    labels = whole(classes, images, most, seed=4)
    labels[torch.arange(most) >= most - torch.arange(images)[:, None]] = -1
    return [
        normal(layers * images, predictions, classes, seed=1).mul(3).to(dtype),
        normal(layers * images, predictions, 4, seed=2).sigmoid().to(dtype),
        labels,
        normal(images, most, 4, seed=3).sigmoid().to(dtype),
    ]


def plain_giou(left, right):
    """Of two xyxy boxes, in plain numbers: (iou, giou)."""
    width = max(min(left[2], right[2]) - max(left[0], right[0]), 0)
    height = max(min(left[3], right[3]) - max(left[1], right[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (left, right)]
    union = sum(areas) - width * height
    around = (max(left[2], right[2]) - min(left[0], right[0])) * (
        max(left[3], right[3]) - min(left[1], right[1])
    )
    return width * height / union, width * height / union - (around - union) / around


def plain_cost(logits, box, label, target, weights, sigmoid):
    """Of one pair, in plain numbers."""
    if sigmoid:
        p = 1 / (1 + math.exp(-logits[label]))
        of_class = 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)
    else:
        of_class = -math.exp(logits[label]) / sum(map(math.exp, logits))
    edges = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (box, target)]
    distance = sum(abs(a - b) for a, b in zip(box, target, strict=True))
    return weights[0] * of_class + weights[1] * distance - weights[2] * plain_giou(*edges)[1]


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("size", [{}, {"predictions": 40, "classes": 37, "most": 20, "layers": 1}])
def test_every_pair_costs_what_the_formula_says(sigmoid, size):
    logits, boxes, labels, targets = case(**size)
    weights = (1.5, 5.0, 2.0)
    named = dict(zip(("class_weight", "l1_weight", "giou_weight"), weights, strict=True))
    found = set_cost(logits, boxes, labels, targets, **named, sigmoid=sigmoid)
    rows, predictions, _ = logits.shape
    images, most = labels.shape
    wanted = torch.zeros(rows, predictions, most)
    for r in range(rows):
        image = r % images
        for n in range(predictions):
            for t in range(most):
                if labels[image, t] >= 0:
                    pair = logits[r, n].tolist(), boxes[r, n].tolist(), int(labels[image, t])
                    wanted[r, n, t] = plain_cost(*pair, targets[image, t].tolist(), weights, sigmoid)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("left", "right", "iou", "giou"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, -5 / 63),
        ((0, 0, 1, 1), (2, 0, 3, 1), 0, -1 / 3),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25, 0.25),
        ((1, 2, 3, 5), (1, 2, 3, 5), 1, 1),
        ((0, 0, 1, 1), (1, 1, 2, 2), 0, -0.5),  # they touch
    ],
)
def test_overlaps_have_the_values_of_a_hand_computation(left, right, iou, giou):
    pair = [torch.tensor(box, dtype=torch.float64) for box in (left, right)]
    for ordered in (pair, pair[::-1]):
        assert [value.item() for value in overlaps(*ordered)] == pytest.approx([iou, giou], abs=1e-15)


def test_overlaps_have_the_gradient_of_a_difference_quotient():
    left = corners(normal(5, 4, seed=1, dtype=torch.float64).sigmoid()).requires_grad_()
    right = corners(normal(5, 4, seed=2, dtype=torch.float64).sigmoid()).requires_grad_()
    assert torch.autograd.gradcheck(overlaps, (left, right))


def test_corners_of_a_box():
    assert corners(torch.tensor([0.5, 0.25, 0.5, 0.125])).tolist() == [0.25, 0.1875, 0.75, 0.3125]


def test_half_precision_gives_float32_and_double_gives_double():
    parts = case(dtype=torch.float64)
    exact = set_cost(*parts)
    assert exact.dtype == torch.float64
    half = set_cost(parts[0].bfloat16(), parts[1].bfloat16(), parts[2], parts[3].bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), exact, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.filterwarnings("ignore:invalid value")  # of the interpreter
def test_what_is_no_number_stays_none(where):
    parts = case()
    parts[where][1, 2, 0] = float("nan")
    found = set_cost(*parts)
    bad = torch.zeros(found.shape, dtype=torch.bool)
    bad[1, 2] = True
    assert torch.equal(found.isnan(), bad & (parts[2][1] >= 0))


@pytest.mark.parametrize("size", [{"most": 0}, {"predictions": 0}, {"images": 0}])
def test_nothing_to_compare_gives_nothing(size):
    logits, boxes, labels, targets = case(**size)
    assert set_cost(logits, boxes, labels, targets).numel() == 0


def test_what_does_not_fit_is_named():
    logits, boxes, labels, targets = case()
    with pytest.raises(ValueError, match=r"logits \(6, 7, 5\), boxes \(6, 6, 4\), labels \(3, 4\)"):
        set_cost(logits, boxes[:, 1:], labels, targets)
    with pytest.raises(ValueError, match="do not fit"):
        set_cost(logits[1:], boxes[1:], labels, targets)


@needs("triton")
@pytest.mark.slow
@pytest.mark.skipif(OTHER_FORM, reason="this is the second run")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
@pytest.mark.parametrize("sigmoid", [False, True])
def test_triton_form_compiles_for_a_gpu(sigmoid):
    from nonet.kernels.set_cost import _kernel

    kernel = _kernel()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    constants = {"SIGMOID": sigmoid, "ALPHA": 0.25, "BLOCK_N": 32, "BLOCK_T": 16, "BLOCK_C": 32}
    signature = {"logits": "*bf16", "boxes": "*fp32", "labels": "*i64", "targets": "*fp32", "cost": "*fp32"}
    signature |= dict.fromkeys("BNTC", "i32") | dict.fromkeys(constants, "constexpr")
    signature |= dict.fromkeys(("class_weight", "l1_weight", "giou_weight"), "fp32")
    ordered = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(kernel, signature=ordered, constexprs=constants)
    assembly = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
    assert "st.global" in assembly
