"""Rates of an image-text model: the released schedule's numbers, and what decays."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_pairs"))
from tiny_pairs import tiny_model

from nonet.errors import UserError
from nonet.vision_language.pair_optimizer import PairRates, pair_optimizer, rate_at, rate_groups

EPOCH = 5000
RUN = 30 * EPOCH


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1e-6),
        (99, 1e-6),
        (100, 1e-6 + 0.99e-4 / 20),
        (1000, 1e-6 + 0.99e-4 / 2),
        (2000, 1e-4),
        (EPOCH - 1, 1e-4),
        (EPOCH, 1e-6 + 0.99e-4 * (1 + math.cos(math.pi / 30)) / 2),
        (2 * EPOCH - 1, 1e-6 + 0.99e-4 * (1 + math.cos(math.pi / 30)) / 2),
        (15 * EPOCH, 5.05e-5),
        (30 * EPOCH, 1e-6),
    ],
)
def test_the_rate_is_that_of_the_released_schedule(step, rate):
    found = rate_at(step, 1e-4, PairRates(), steps=RUN, steps_per_epoch=EPOCH)
    assert found == pytest.approx(rate, rel=1e-9)


def test_images_have_a_rate_of_their_own_that_begins_and_ends_like_the_others():
    rates = PairRates(warmup=10, warmup_unit=1)
    made = pair_optimizer(tiny_model(), rates, steps=100, steps_per_epoch=20)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    seen = []
    for _ in range(100):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    others, visual = [row[0] for row in seen], [row[-1] for row in seen]
    assert (others[0], visual[0]) == (pytest.approx(1e-6), pytest.approx(1e-6))
    assert (max(others), max(visual)) == (pytest.approx(1e-4), pytest.approx(1e-5))
    assert others[25] == pytest.approx(1e-6 + 0.99e-4 * (1 + math.cos(math.pi / 5)) / 2)
    assert visual[25] == pytest.approx(1e-6 + 0.9e-5 * (1 + math.cos(math.pi / 5)) / 2)
    assert len(set(others[20:40])) == 1


def test_a_rate_may_fall_in_each_step():
    rates = PairRates(warmup=10, warmup_unit=1, fall="step")
    found = [rate_at(step, 1e-4, rates, steps=110, steps_per_epoch=20) for step in (10, 60, 110)]
    assert found == pytest.approx([1e-4, 5.05e-5, 1e-6])


def test_each_weight_is_in_one_group_and_vectors_positions_and_the_temperature_do_not_decay():
    model = tiny_model()
    named = {id(weight): name for name, weight in model.named_parameters()}
    groups = rate_groups(model, PairRates())
    everyone = [named[id(weight)] for group in groups for weight in group["params"]]
    assert sorted(everyone) == sorted(named.values())
    still = {named[id(w)] for group in groups if not group["weight_decay"] for w in group["params"]}
    assert {"tau", "vision.vit.cls_token", "vision.vit.pos_embed", "vision.vit.norm_pre.weight",
            "text.embeddings.positions.weight", "mlm_head.bias"} <= still  # fmt: skip
    assert {"vision_proj.weight", "text.embeddings.words.weight"} & still == set()
    visual = {named[id(w)] for group in groups if group["visual"] for w in group["params"]}
    assert visual == {name for name in named.values() if name.startswith("vision.vit.")}


def test_a_rate_of_images_of_zero_leaves_them_as_they_are():
    model = tiny_model()
    made = pair_optimizer(model, PairRates(lr_visual=0.0, warmup=0), steps=10, steps_per_epoch=5)
    assert not any(group["visual"] for group in made["optimizer"].param_groups)
    assert not any(weight.requires_grad for weight in model.vision.vit.parameters())


def test_mistakes_are_named():
    with pytest.raises(UserError, match="warmup 2000 leaves nothing of 2000 steps"):
        pair_optimizer(tiny_model(), PairRates(), steps=2000, steps_per_epoch=10)
    with pytest.raises(UserError, match="warmup_unit is 0"):
        PairRates(warmup_unit=0)
    with pytest.raises(UserError, match="lr is 0"):
        PairRates(lr=0)
    with pytest.raises(UserError, match="no weight is left to train"):
        pair_optimizer(torch.nn.Identity(), PairRates(), steps=3000, steps_per_epoch=10)
