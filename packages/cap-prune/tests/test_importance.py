"""The sample that units are scored on, and how far two halves of it agree."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from cap_prune import toy
from cap_prune.encoding import read_task, resolve_task
from cap_prune.evaluating import plain_batches
from cap_prune.first_order import first_order
from cap_prune.importance import agreement, chosen_examples, importance
from cap_prune.objective import Objective
from cap_prune.unit_scores import UnitScores

ALONE = Objective("classification", ce=1.0, kd=0.0)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = toy.write_task(tmp_path_factory.mktemp("task"), train=30, dev=2)
    return read_task(resolve_task("classify", folder), folder, "train", toy.tokenizer(), max_length=24)


@pytest.fixture(scope="module")
def model():
    return toy.new_bert(layers=2, width=16, heads=2, neurons=12)


def test_scores_of_all_examples_in_order_are_those_of_the_criterion_on_the_same_batches(model, examples):
    found = importance(model, examples, ALONE, "first-order", pad_id=0, batch=8, bucket=False)
    batches = plain_batches(examples, 0, batch=8, order=range(30))
    wanted = first_order(model, batches, lambda batch, _: ALONE.loss(model, batch))
    for mine, theirs in zip([*found.scores.heads, *found.scores.neurons], [*wanted.heads, *wanted.neurons],
                            strict=True):  # fmt: skip
        torch.testing.assert_close(mine, theirs)
    assert set(found.agreement) == {"heads", "neurons"}


def test_a_sample_is_drawn_once_by_the_seed_and_is_all_where_it_is_larger():
    some = chosen_examples(100, 20, seed=3)
    assert len(set(some.tolist())) == 20
    assert list(some) == sorted(chosen_examples(100, 20, seed=3))
    assert list(some) != list(chosen_examples(100, 20, seed=4))
    assert list(chosen_examples(5, 20, seed=3)) == list(chosen_examples(5, None, seed=3)) == [0, 1, 2, 3, 4]


def test_agreement_is_the_rank_correlation_of_scores_divided_by_their_layer_s_norm():
    random = np.random.default_rng(0)
    one, other = (
        UnitScores(
            [torch.from_numpy(random.random(4) * size) for size in (1, 50)],
            [torch.from_numpy(random.random(7)) for _ in range(2)],
        )
        for _ in range(2)
    )

    def flat(layers):
        return np.concatenate([layer.numpy() / np.linalg.norm(layer.numpy()) for layer in layers])

    found = agreement(one, other)
    assert found["heads"] == pytest.approx(spearmanr(flat(one.heads), flat(other.heads)).statistic)
    assert found["neurons"] == pytest.approx(spearmanr(flat(one.neurons), flat(other.neurons)).statistic)
    assert agreement(one, one) == pytest.approx({"heads": 1.0, "neurons": 1.0})


def test_a_single_batch_or_a_criterion_without_examples_has_no_agreement(model, examples):
    assert importance(model, examples, ALONE, "first-order", pad_id=0, batch=40).agreement == {}
    assert importance(model, examples, ALONE, "magnitude", pad_id=0, batch=8).agreement == {}
