import numpy as np
import pytest
import torch
from torch import nn

from nonet.training.optimizers import build_optimizer, make_optimizer, parameter_groups
from nonet.training.options import OptimizerOptions

ADAFACTOR = OptimizerOptions(name="adafactor", lr=1e-2)


def adafactor_of_the_paper(weights, gradients, lr, eps1=1e-30, eps2=1e-3, d=1.0):
    """Shazeer & Stern 2018, algorithms 4 (matrices) and 5 (vectors), relative steps min(lr, 1/sqrt(t))."""
    x, row, column, v = weights.astype(np.float64), 0.0, 0.0, 0.0
    for t, gradient in enumerate(gradients.astype(np.float64), 1):
        beta2 = 1 - t**-0.8
        square = gradient**2 + eps1
        if x.ndim == 2:
            row = beta2 * row + (1 - beta2) * square.sum(1)
            column = beta2 * column + (1 - beta2) * square.sum(0)
            v = np.outer(row, column) / row.sum()
        else:
            v = beta2 * v + (1 - beta2) * square
        update = gradient / np.sqrt(v)
        update /= max(1.0, np.sqrt((update**2).mean()) / d)
        x = x - max(eps2, np.sqrt((x**2).mean())) * min(lr, t**-0.5) * update
    return x


@pytest.mark.parametrize("shape", [(7, 5), (6,), (1, 4)])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("lr", [1e-2, 10.0])
def test_twenty_steps_of_adafactor_equal_the_paper(shape, scale, lr):
    random = np.random.default_rng(0)
    weights, gradients = random.normal(size=shape), random.normal(size=(20, *shape)) * scale
    gradients[3] *= 50  # large enough to be clipped
    parameter = nn.Parameter(torch.tensor(weights))
    module = nn.ParameterList([parameter])
    optimizer = make_optimizer(module, OptimizerOptions(name="adafactor", lr=lr))
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    wanted = adafactor_of_the_paper(weights, gradients, lr)
    np.testing.assert_allclose(parameter.detach().numpy(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("step", "rate"), [(1, 0.01), (10_000, 0.01), (40_000, 0.005)])
def test_adafactor_at_1e_2_has_the_pre_training_rate_of_pegasus(step, rate):
    parameter = nn.Parameter(torch.full((4,), 2.0, dtype=torch.float64))
    optimizer = make_optimizer(nn.ParameterList([parameter]), ADAFACTOR)
    parameter.grad = torch.ones(4, dtype=torch.float64)
    optimizer.step()
    optimizer.state[parameter]["step"].fill_(step - 1)
    before = parameter.detach().clone()
    optimizer.step()
    assert ((before - parameter.detach()) / before).tolist() == pytest.approx([rate] * 4, rel=1e-9)


def test_adafactor_keeps_two_vectors_for_a_matrix():
    layer = nn.Linear(30, 20)
    optimizer = make_optimizer(layer, ADAFACTOR)
    layer(torch.ones(2, 30)).sum().backward()
    optimizer.step()
    state = optimizer.state[layer.weight]
    assert state["row_var"].numel() + state["col_var"].numel() == 30 + 20


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.out = nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 9)
        self.groups = nn.GroupNorm(2, 4)
        self.out.weight = self.embed.weight
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def test_biases_and_norms_do_not_decay_and_tied_weights_count_once():
    model = Small()
    decay, rest = parameter_groups(model, 0.1)
    assert [id(p) for p in decay["params"]] == [id(model.embed.weight)]
    assert {id(p) for p in rest["params"]} == {
        id(p) for p in (*model.norm.parameters(), *model.groups.parameters(), model.out.bias)
    }
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    (one,) = parameter_groups(model, 0.0)
    assert len(one["params"]) == 6


def test_adamw_decays_matrices_only():
    layer = nn.Linear(3, 3)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimizer = make_optimizer(layer, OptimizerOptions(lr=0.1, weight_decay=0.5))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), weight * (1 - 0.1 * 0.5))
    torch.testing.assert_close(layer.bias.detach(), bias)


def test_adamw_takes_betas_and_eps_from_the_options():
    options = OptimizerOptions(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01)
    (group, _) = make_optimizer(nn.Linear(2, 2), options).param_groups
    assert (group["betas"], group["eps"], group["lr"]) == ((0.8, 0.95), 1e-6, 1e-4)


def test_lightning_gets_optimiser_and_schedule_by_step():
    options = OptimizerOptions(lr=1.0, schedule="linear", warmup=2)
    made = build_optimizer(nn.Linear(2, 2), options, steps=4)
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["optimizer"].param_groups[0]["lr"] == 0.5


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 1)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_parts_have_rates_of_their_own_through_the_schedule(decay):
    model = Tower()
    options = OptimizerOptions(lr=1e-3, weight_decay=decay, schedule="linear", warmup=2)
    made = build_optimizer(
        model, options, steps=4, rates=lambda name: 10.0 if name.startswith("head.") else 1.0
    )
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    names = {id(p): name for name, p in model.named_parameters()}
    seen = []
    for _ in range(4):
        groups = [(group["lr"], [names[id(p)] for p in group["params"]]) for group in optimizer.param_groups]
        seen.append({name: rate for rate, members in groups for name in members})
        optimizer.step()
        schedule.step()
    for name in names.values():
        factor = 10 if name.startswith("head.") else 1
        wanted = [factor * rate for rate in (5e-4, 1e-3, 1e-3, 5e-4)]
        assert [rates[name] for rates in seen] == pytest.approx(wanted)
    assert names[id(optimizer.param_groups[0]["params"][0])] == "body.weight"  # the rate that is logged
    decays = {
        names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert decays == {name: decay if name.endswith("weight") else 0.0 for name in names.values()}


def test_another_optimiser_gets_groups_and_numbers():
    options = OptimizerOptions(lr=0.3, betas=(0.7, 0.8), eps=1e-5)
    made = []

    def make(groups, **numbers):
        made.append(numbers)
        return torch.optim.SGD(groups, lr=numbers["lr"])

    optimizer = make_optimizer(Tower(), options, make=make)
    assert made == [{"lr": 0.3, "betas": (0.7, 0.8), "eps": 1e-5}]
    assert len(optimizer.param_groups[0]["params"]) == 4
