import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.training.schedules import factor, scheduler

NAMES = ("constant", "linear", "cosine", "rsqrt")


@pytest.mark.parametrize(("step", "lr"), [(0, 1e-8), (4999, 5e-5), (9999, 1e-4), (40000, 5e-5)])
def test_rsqrt_gives_the_rates_of_pegasus_fine_tuning(step, lr):
    assert 1e-4 * factor(step, "rsqrt", warmup=10_000) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0]),
    ],
)
def test_shapes_by_hand(name, wanted):
    found = [factor(step, name, warmup=4, steps=8) for step in range(9)]
    assert found == pytest.approx(wanted, abs=1e-12)


@given(st.sampled_from(NAMES), st.integers(0, 50), st.integers(51, 200), st.integers(0, 400))
def test_factors_stay_between_0_and_1_and_rise_then_fall(name, warmup, steps, step):
    here, there = (factor(t, name, warmup=warmup, steps=steps) for t in (step, step + 1))
    assert 0 <= here <= 1
    assert here <= there + 1e-12 if step + 1 < warmup else here >= there - 1e-12 or step < warmup


@pytest.mark.parametrize("name", NAMES)
def test_the_scheduler_of_torch_follows_the_factor(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = scheduler(optimizer, name, warmup=3, steps=7)
    for step in range(7):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(2 * factor(step, name, warmup=3, steps=7))
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_warm_up_as_long_as_the_run_is_refused(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match=f"warmup 100 leaves nothing of 100 steps for schedule {name}"):
        scheduler(optimizer, name, warmup=100, steps=100)
    scheduler(optimizer, "rsqrt", warmup=100, steps=100)  # sets of few steps never reach its peak
