"""The queue of earlier pairs, against a list that is cut."""

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal
from nonet.vision_language.feature_queue import FeatureQueue


def pushed(queue, sizes):
    """Batches of these sizes, put in, and all of their rows in order."""
    images, texts, ids = [], [], []
    start = 0
    for seed, count in enumerate(sizes):
        new = (
            normal(count, 4, seed=seed),
            normal(count, 4, seed=100 + seed),
            torch.arange(start, start + count),
        )
        start += count
        queue.push(*new)
        for rows, row in zip((images, texts, ids), new, strict=True):
            rows.append(row)
    return torch.cat(images), torch.cat(texts), torch.cat(ids)


@pytest.mark.parametrize("sizes", [[], [3], [3, 3], [7], [5, 4, 5, 1, 6], [20], [3, 17, 2], [0, 7, 0]])
def test_the_last_pairs_are_in_it_whatever_the_batches(sizes):
    queue = FeatureQueue(7, 4)
    if not sizes:
        assert [len(part) for part in queue.earlier()] == [0, 0, 0]
        return
    images, texts, ids = (part[-7:] for part in pushed(queue, sizes))
    mine = queue.earlier()
    assert len(queue) == len(ids)
    order = mine[2].argsort()
    for found, wanted in zip(mine, (images, texts, ids), strict=True):
        assert torch.equal(found[order], wanted)


def test_a_queue_goes_on_from_a_checkpoint():
    one, other = FeatureQueue(7, 4), FeatureQueue(7, 4)
    pushed(one, [5, 4])
    other.load_state_dict(one.state_dict())
    for queue in (one, other):
        queue.push(normal(3, 4, seed=50), normal(3, 4, seed=51), torch.tensor([90, 91, 92]))
    for mine, theirs in zip(one.earlier(), other.earlier(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_queue_of_another_size_is_refused_or_emptied():
    one = FeatureQueue(7, 4)
    pushed(one, [5])
    with pytest.raises(UserError, match="checkpoint's queue has 7 pairs of 4 numbers, this one 5 of 4"):
        FeatureQueue(5, 4).load_state_dict(one.state_dict())
    fresh = FeatureQueue(5, 4, reset=True)
    fresh.push(normal(2, 4), normal(2, 4))
    fresh.load_state_dict(one.state_dict())
    assert len(fresh) == 0


def test_a_feature_that_is_not_finite_does_not_stay_for_thousands_of_steps():
    queue = FeatureQueue(4, 3)
    bad = torch.tensor([[1.0, float("nan"), float("inf")], [0.0, 0.5, 0.5]])
    queue.push(bad, bad)
    assert queue.earlier()[0].tolist() == [[1, 0, 0], [0, 0.5, 0.5]]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit a queue of"):
        FeatureQueue(4, 3).push(normal(2, 4), normal(2, 4))
    with pytest.raises(UserError, match="at least 1"):
        FeatureQueue(0, 3)
