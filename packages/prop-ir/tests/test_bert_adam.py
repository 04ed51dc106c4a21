"""BertAdam against its formula, written out in float64."""

import numpy as np
import pytest
import torch

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from prop_ir.bert_adam import BertAdam


def formula(p, gradients, lr, decay, clip, b1=0.9, b2=0.999, eps=1e-6):
    """No bias correction, each gradient clipped by its own norm, decay within the update."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for g in gradients:
        norm = np.sqrt((g**2).sum())
        if clip and norm > clip:
            g = g * clip / norm
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (np.sqrt(v) + eps) + decay * p)
    return p


@pytest.mark.parametrize("shape", [(4, 3), (5,)])
@pytest.mark.parametrize(("decay", "clip"), [(0.01, 1.0), (0.0, 1.0), (0.3, 0.0)])
def test_steps_equal_the_formula(shape, decay, clip):
    draw = np.random.default_rng(0)
    start, gradients = draw.normal(size=shape), draw.normal(size=(6, *shape))
    gradients[1] *= 0.01  # short: not clipped
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = BertAdam([p], lr=0.05, weight_decay=decay, clip=clip)
    for gradient in gradients:
        p.grad = torch.tensor(gradient)
        optimizer.step()
        assert np.array_equal(p.grad.numpy(), gradient)  # the gradient itself stays
    wanted = formula(start, gradients, 0.05, decay, clip)
    np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_the_first_step_by_hand():
    p = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    p.grad = torch.tensor([0.5], dtype=torch.float64)
    BertAdam([p], lr=0.1, weight_decay=0.01).step()
    # m = 0.05, v = 0.00025: 0.05 / 0.0158 = 3.162, where bias correction would make it 1
    assert p.item() == pytest.approx(2 - 0.1 * (0.05 / (0.00025**0.5 + 1e-6) + 0.02), rel=1e-12)


def test_each_tensor_is_clipped_alone():
    large, small = (torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2))
    large.grad = torch.tensor([300.0, 400.0], dtype=torch.float64)
    small.grad = torch.tensor([0.3, 0.4], dtype=torch.float64)
    optimizer = BertAdam([large, small], lr=1.0, weight_decay=0.0)
    optimizer.step()
    assert optimizer.state[large]["m"].tolist() == pytest.approx([0.06, 0.08])
    assert optimizer.state[small]["m"].tolist() == pytest.approx([0.03, 0.04])


def test_it_is_built_with_the_options_schedule_and_groups():
    options = OptimizerOptions(lr=0.1, weight_decay=0.2, eps=1e-6, schedule="linear", warmup=2)
    layer = torch.nn.Linear(2, 3)
    made = build_optimizer(layer, options, steps=4, make=BertAdam)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert isinstance(optimizer, BertAdam)
    decay, rest = optimizer.param_groups
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.2, 0.0)
    assert (decay["eps"], decay["clip"]) == (1e-6, 1.0)
    rates = []
    for _ in range(4):
        rates.append(decay["lr"])
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.05])


def test_a_parameter_without_gradient_stays():
    p = torch.nn.Parameter(torch.ones(2))
    BertAdam([p], lr=1.0).step()
    assert p.tolist() == [1.0, 1.0]
