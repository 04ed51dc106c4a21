"""Schedules as functions of the step: torch's own one-cycle, hand numbers, groups of rates."""

import pytest
import torch
from torch import nn

from nonet.errors import UserError
from ponderv2.rate_options import RateOptions
from ponderv2.rate_schedules import build_rates, rate_factor


def rates_of(options, steps):
    """The rate at each step, through the optimiser and its schedule."""
    made = build_rates(nn.Linear(1, 1), options, steps=steps)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("rise", "div", "final"), [(0.05, 10.0, 1e4), (0.4, 10.0, 100.0), (0.3, 25.0, 1.0)])
def test_one_cycle_is_torchs(rise, div, final):
    steps = 60
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.2, total_steps=steps, pct_start=rise, div_factor=div, final_div_factor=final,
        cycle_momentum=False,
    )  # fmt: skip
    wanted = []
    for _ in range(steps):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(wanted) < steps:
            theirs.step()
    found = rates_of(RateOptions(lr=0.2, rise=rise, div=div, final_div=final), steps)
    assert found == pytest.approx(wanted)


def test_numbers_of_the_docstring():
    options = RateOptions(rise=0.05, div=10, final_div=1e4)
    assert rate_factor(0, options, 1000) == pytest.approx(0.1)
    assert rate_factor(49, options, 1000) == pytest.approx(1)
    assert rate_factor(999, options, 1000) == pytest.approx(1e-5)
    assert rate_factor(1000, options, 1000) == pytest.approx(1e-5)


def test_poly_cosine_and_constant():
    poly = RateOptions(schedule="poly", power=0.9)
    assert [rate_factor(step, poly, 4) for step in (0, 2)] == pytest.approx([1, 0.5**0.9])
    cosine = RateOptions(schedule="cosine", warmup=2)
    found = [rate_factor(step, cosine, 6) for step in range(6)]
    assert found == pytest.approx([0.5, 1, 1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert {rate_factor(step, RateOptions(schedule="constant"), 5) for step in range(5)} == {1.0}


def test_parts_have_their_own_rates_and_frozen_ones_none():
    model = nn.ModuleDict({"features": nn.Linear(2, 2), "head": nn.Linear(2, 2), "rest": nn.Linear(2, 2)})
    model["rest"].requires_grad_(False)
    made = build_rates(
        model, RateOptions(lr=0.5, schedule="constant"), steps=3,
        factor=lambda name: 0.1 if name.startswith("features") else 1.0,
    )  # fmt: skip
    groups = made["optimizer"].param_groups
    assert [(group["lr"], len(group["params"])) for group in groups] == [(0.5, 2), (pytest.approx(0.05), 2)]
    assert all(group["nesterov"] for group in groups)
    adam = build_rates(model, RateOptions(optimizer="adamw", weight_decay=0.01), steps=3)["optimizer"]
    assert isinstance(adam, torch.optim.AdamW)
    assert adam.param_groups[0]["weight_decay"] == 0.01


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="warmup 4 leaves nothing of 4 steps"):
        build_rates(nn.Linear(1, 1), RateOptions(schedule="poly", warmup=4), steps=4)
    with pytest.raises(UserError, match="no weight of the model is trained"):
        build_rates(nn.Linear(1, 1).requires_grad_(False), RateOptions(), steps=4)
    for values, text in (({"lr": 0}, "lr is 0"), ({"momentum": 1}, "momentum is 1"),
                         ({"rise": 1}, "rise is 1"), ({"div": 0.5}, "div is 0.5"),
                         ({"warmup": -1}, "warmup is -1"),
                         ({"power": 0}, "power is 0")):  # fmt: skip
        with pytest.raises(UserError, match=text):
            RateOptions(**values)
