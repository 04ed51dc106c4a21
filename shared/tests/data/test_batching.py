"""Batches and the sampler: every item once an epoch, limits kept, and nothing depends on ranks or workers."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nonet.data.batching import (
    BucketedBatches,
    OrderedBatches,
    RandomBatches,
    StepSampler,
    generator,
    loader,
)
from nonet.errors import UserError


def tokens(lengths, items):
    """Tokens of a padded batch, counted by hand."""
    sides = np.asarray(lengths).reshape(len(lengths), -1)[items]
    return len(items) * sum(max(side) for side in sides.T.tolist())


def once(batches, count):
    return sorted(np.concatenate(batches).tolist()) == list(range(count))


lengths_1 = st.lists(st.integers(0, 30), min_size=1, max_size=80)
lengths_2 = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=80)
maybe = st.one_of(st.none(), st.integers(1, 20))


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 2**40), st.integers(0, 1000))
def test_random_batches_have_every_item_once_and_sizes_that_differ_by_one_at_most(count, batch, seed, epoch):
    batches = RandomBatches(count, batch, seed)
    found = batches.epoch(epoch)
    sizes = {len(items) for items in found}
    assert once(found, count)
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == batches.steps(epoch) == -(-count // batch)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(lengths_1, lengths_2),
    maybe,
    st.one_of(st.none(), st.integers(40, 300)),
    maybe,
    maybe,
    st.integers(0, 9),
)
def test_bucketed_batches_have_every_item_once_within_the_limits(
    lengths, batch, max_tokens, window, least, epoch
):
    assume(batch is not None or max_tokens is not None)
    options = {"batch": batch, "max_tokens": max_tokens, "seed": 5, "window": window, "least": least}
    longest = sum(max(side) for side in np.asarray(lengths).reshape(len(lengths), -1).T.tolist())
    room = min(batch or len(lengths), (max_tokens or 10**9) // max(longest, 1))
    if least and (least > len(lengths) or (least > 1 and 2 * least - 1 > room)):
        with pytest.raises(UserError, match="at least"):
            BucketedBatches(lengths, **options)
        return
    batches = BucketedBatches(lengths, **options)
    found = batches.epoch(epoch)
    assert once(found, len(lengths))
    assert len(found) == batches.steps(epoch)
    for items in found:
        assert batch is None or len(items) <= batch
        assert max_tokens is None or tokens(lengths, items) <= max_tokens
        assert len(items) >= batches.least
    if least is not None:
        assert batches.least == least


def test_bucketed_batches_are_of_similar_length_and_come_in_random_order():
    lengths = np.random.default_rng(0).integers(1, 500, 3000)
    for limits in ({"batch": 16}, {"max_tokens": 4096}):
        found = BucketedBatches(lengths, **limits, seed=1).epoch(0)
        padding = 1 - lengths.sum() / sum(tokens(lengths, items) for items in found)
        assert padding < 0.05
        longest = [lengths[items].max() for items in found]
        assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3
    random = RandomBatches(3000, 16, 1).epoch(0)
    assert 1 - lengths.sum() / sum(tokens(lengths, items) for items in random) > 0.4


def test_a_smaller_window_mixes_more_lengths():
    lengths = np.random.default_rng(0).integers(1, 500, 2000)

    def padded(window):
        found = BucketedBatches(lengths, batch=10, seed=1, window=window).epoch(0)
        return sum(tokens(lengths, items) for items in found)

    assert padded(20) > padded(200) > padded(2000)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: RandomBatches(100, 8, seed),
        lambda seed: BucketedBatches(np.arange(100) % 17, batch=8, seed=seed),
    ],
)
def test_epochs_and_seeds_differ_and_repeat(make):
    def flat(seed, epoch):
        return [items.tolist() for items in make(seed).epoch(epoch)]

    assert flat(1, 3) == flat(1, 3)
    assert flat(1, 3) != flat(1, 4)
    assert flat(1, 3) != flat(2, 3)
    assert {frozenset(items) for items in flat(1, 3)} != {frozenset(items) for items in flat(1, 4)}


@settings(max_examples=100, deadline=None)
@given(lengths_1, maybe, st.one_of(st.none(), st.integers(30, 90)), st.booleans())
def test_ordered_batches_keep_the_order_or_put_the_longest_first(lengths, batch, max_tokens, by_length):
    assume(batch is not None or max_tokens is not None)
    batches = OrderedBatches(lengths, batch, max_tokens=max_tokens, by_length=by_length)
    found = batches.epoch(7)
    flat = np.concatenate(found).tolist()
    assert flat == (
        sorted(range(len(lengths)), key=lambda i: -lengths[i]) if by_length else list(range(len(lengths)))
    )
    for items in found:
        assert len(items) <= (batch or 1000)
        assert max_tokens is None or tokens(lengths, items) <= max_tokens
    assert [items.tolist() for items in batches.epoch(0)] == [items.tolist() for items in found]


def test_ordered_batches_of_a_count_are_even():
    assert [items.tolist() for items in OrderedBatches(7, 3).epoch(0)] == [[0, 1, 2], [3, 4], [5, 6]]
    with pytest.raises(ValueError, match="need the lengths of the items"):
        OrderedBatches(7, max_tokens=10)


VARIED = np.random.default_rng(3).integers(1, 40, 61)
KINDS = [
    RandomBatches(61, 8, 4),
    BucketedBatches(VARIED, max_tokens=200, seed=4),
    BucketedBatches(VARIED, batch=6, seed=4, window=20),
    OrderedBatches(61, 8),
]


@pytest.mark.parametrize("batches", KINDS)
def test_a_run_that_begins_at_step_k_sees_the_tail_of_the_undisturbed_one(batches):
    whole = list(StepSampler(batches, steps=50))
    assert [epoch for batch in whole for epoch, _ in batch[:1]][-1] >= 2
    for start in (0, 1, 7, 8, 9, 20, 49, 50):
        assert list(StepSampler(batches, start=start, steps=50 - start)) == whole[start:]
        assert list(islice(StepSampler(batches, start=start), 50 - start)) == whole[start:]
    sampler = StepSampler(batches, start=3, steps=4)
    assert list(sampler) == list(sampler) == whole[3:7]


@pytest.mark.parametrize("batches", KINDS)
def test_each_epoch_has_every_item_once_and_says_its_number(batches):
    steps = sum(batches.steps(epoch) for epoch in range(3))
    pairs = [pair for batch in StepSampler(batches, steps=steps) for pair in batch]
    assert sorted(pairs) == [(epoch, item) for epoch in range(3) for item in range(61)]


@pytest.mark.parametrize("batches", KINDS)
@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_the_ranks_make_up_the_global_batch(batches, world):
    whole = list(StepSampler(batches, start=5, steps=30))
    shares = [list(StepSampler(batches, start=5, steps=30, rank=rank, world=world)) for rank in range(world)]
    for step, batch in enumerate(whole):
        for rank in range(world):
            assert shares[rank][step] == batch[rank::world]
            assert shares[rank][step]


def test_a_batch_with_fewer_items_than_ranks_is_refused():
    match = "batch 0 of epoch 0 has 3 items for 4 processes; lower the number of processes"
    with pytest.raises(UserError, match=match):
        next(iter(StepSampler(OrderedBatches(3, 8), world=4)))


def test_a_sampler_has_a_length_only_if_it_ends():
    assert len(StepSampler(KINDS[0], start=9, steps=5)) == 5
    assert list(StepSampler(KINDS[0], steps=0)) == []
    with pytest.raises(TypeError, match="never ends"):
        len(StepSampler(KINDS[0]))
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        StepSampler(KINDS[0], rank=2, world=2)
    with pytest.raises(ValueError, match="start -1"):
        StepSampler(KINDS[0], start=-1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RandomBatches(0, 4, 0), "no items to make batches of"),
        (lambda: RandomBatches(4, 0, 0), "a batch of 0 items is not possible"),
        (lambda: BucketedBatches([3, 4], seed=0), "the size of batches is not set"),
        (
            lambda: BucketedBatches([3, 9, 4], max_tokens=8, seed=0),
            "a batch of 8 tokens cannot hold item 1, which has 9",
        ),
        (
            lambda: BucketedBatches([3] * 9, max_tokens=8, seed=0, least=2),
            "at least 2 items .* for 3 of the longest, not 2",
        ),
        (
            lambda: BucketedBatches([3] * 9, batch=8, seed=0, least=10),
            "at least 10 items in a batch is not possible with 9",
        ),
        (lambda: BucketedBatches([3] * 9, batch=8, seed=0, window=0), "a window of 0 items"),
        (lambda: OrderedBatches([3, 9], max_tokens=8), "a batch of 8 tokens cannot hold item 1"),
        (lambda: OrderedBatches(0, 3), "no items"),
    ],
)
def test_sizes_that_cannot_be_are_refused(make, match):
    with pytest.raises(UserError, match=match):
        make()


def test_generators_depend_on_every_key_and_on_nothing_else():
    keys = [(1,), (2,), (1, 0), (1, 0, 0), (1, "a"), (1, "b"), (1, "a", 0), (1, 2), (1, 2, 3), (1, 3, 2)]
    drawn = [generator(*key).integers(0, 2**62) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert [generator(*key).integers(0, 2**62) for key in keys] == drawn


class Noisy:
    """A data set whose items are a function of (seed, epoch, index)."""

    def __getitem__(self, pair):
        epoch, index = pair
        return epoch, index, generator(7, "noise", epoch, index).random()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_loader_gives_the_same_for_any_number_of_workers_and_leaves_the_global_rng_alone(workers):
    torch = pytest.importorskip("torch")
    torch.manual_seed(11)
    before = torch.get_rng_state()
    sampler = StepSampler(RandomBatches(23, 4, 1), start=3, steps=9)
    found = {count: list(loader(Noisy(), sampler, list, workers=count)) for count in (0, workers)}
    assert found[0] == found[workers]
    assert [[(epoch, index) for epoch, index, _ in batch] for batch in found[0]] == list(sampler)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(loader(Noisy(), sampler, list)) == 9
