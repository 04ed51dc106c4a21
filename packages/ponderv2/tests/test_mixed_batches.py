"""Batches of several data sets: one of each at a time, by ratios, every item equally often."""

from collections import Counter
from types import SimpleNamespace

import pytest

from nonet.data.batching import RandomBatches, StepSampler
from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from ponderv2.batch_ratios import ratios_for, read_ratios
from ponderv2.finetuning import run_length
from ponderv2.mixed_batches import TURNS, MixedBatches, MixedScenes, OrderedMixed, batches_of_pass
from ponderv2.pretraining import length


class Named:
    """Items that say where they are from and when."""

    def __init__(self, name, count):
        self.name, self.count = name, count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        assert 0 <= item[1] < self.count
        return self.name, *item


def drawn(counts, batch, ratios, epochs):
    scenes = MixedScenes([Named(name, count) for name, count in zip("abc", counts, strict=False)])
    batches = MixedBatches(counts, batch, 7, ratios)
    return [
        [[scenes[(epoch, int(index))] for index in items] for items in batches.epoch(epoch)]
        for epoch in range(epochs)
    ]


def test_a_batch_is_of_one_data_set_and_turns_follow_the_ratios():
    epochs = drawn((8, 3, 5), 2, (4, 2, 1), 3)
    for epoch in epochs:
        names = ["".join(sorted({item[0] for item in batch})) for batch in epoch]
        assert names == ["a"] * 4 + ["b"] * 2 + ["c"]
    assert all(len(batch) <= 2 for epoch in epochs for batch in epoch)


def test_the_batches_of_a_step_are_of_one_data_set():
    """Three are accumulated: six of a and three of b make up a turn, and no step begins within a block."""
    batches = MixedBatches((8, 3), 2, 7, (2, 1), accumulate=3)
    for epoch in range(3):
        names = "".join("ab"[int(items[0]) % 11 >= 8] for items in batches.epoch(epoch))
        assert names == "aaaaaabbb"
    assert batches.steps(0) % 3 == 0
    alone = MixedBatches((8,), 2, 7, accumulate=3)
    assert [items.tolist() for items in alone.epoch(0)] == [
        items.tolist() for items in MixedBatches((8,), 2, 7).epoch(0)
    ]


@pytest.mark.parametrize("accumulate", [1, 8])
def test_a_run_of_so_many_passes_has_their_steps_whatever_a_turn_is(accumulate):
    """Ten scenes of each in batches of ten: twenty passes are twenty batches of each, and a turn of eight
    batches of each would be eight passes."""
    batches = MixedBatches((10, 10), 10, 0, accumulate=accumulate)
    trainer = TrainerOptions(accumulate=accumulate)
    steps = 20 * 2 // accumulate
    assert length(trainer, 20, batches).steps == steps
    options = SimpleNamespace(trainer=trainer, epochs=20, validate_epochs=4)
    found = run_length(options, batches)
    assert (found.steps, found.validate_every) == (steps, steps // 5)
    several = MixedBatches(
        (10, 3), 2, 0, (4, 2), accumulate=accumulate
    )  # a pass: 5 batches, 2.5 of the other
    assert batches_of_pass(several) == 7.5
    assert batches_of_pass(RandomBatches(10, 4, 0)) == 3


def test_items_of_a_data_set_come_up_equally_often():
    """b has 2 batches an epoch, its pass: 6 epochs are 6 passes; c has 1 of its 3: 6 epochs are 2 passes."""
    epochs = drawn((8, 3, 5), 2, (4, 2, 1), 6)
    seen = Counter((item[0], item[2]) for epoch in epochs for batch in epoch for item in batch)
    assert {seen["a", i] for i in range(8)} == {6}
    assert {seen["b", i] for i in range(3)} == {6}
    assert {seen["c", i] for i in range(5)} == {2}


def test_an_item_that_comes_again_in_an_epoch_is_drawn_anew():
    """One scene of b for every scene of a: its draws are numbered, and no number comes twice."""
    epochs = drawn((4, 1), 1, (1, 1), 3)
    numbers = [item[1] for epoch in epochs for batch in epoch for item in batch if item[0] == "b"]
    assert len(numbers) == len(set(numbers)) == 12
    assert [number // TURNS for number in numbers] == [0] * 4 + [1] * 4 + [2] * 4


def test_the_number_of_a_batch_says_all():
    batches = MixedBatches((5, 3), 2, 1, (2, 1))
    whole = [list(items) for items in StepSampler(batches, steps=12)]
    assert [list(items) for items in StepSampler(batches, start=5, steps=7)] == whole[5:]
    assert batches.steps(0) == batches.steps(3) == 6
    ranks = [list(StepSampler(batches, steps=12, rank=rank, world=1))[3] for rank in (0,)]
    assert sorted(ranks[0]) == sorted(whole[3])


def test_scores_take_every_item_once_in_order():
    found = [items.tolist() for items in OrderedMixed((3, 2), 2).epoch(0)]
    assert found == [[0, 1], [2], [3, 4]]


def test_ratios_are_read_by_name():
    ratios = read_ratios(("structured3d=4", "scannet=2"))
    assert ratios_for(["scannet", "s3dis", "structured3d"], ratios) == (2, 1, 4)
    wrong = ((("a",), "'a' is no NAME=NUMBER"), (("a=0",), "'a=0'"), (("a=1", "a=2"), "comes twice"))
    for entries, text in wrong:
        with pytest.raises(UserError, match=text):
            read_ratios(entries)
    with pytest.raises(UserError, match="ratios name kitti, but the data are scannet"):
        ratios_for(["scannet"], {"kitti": 1})


def test_more_turns_in_an_epoch_than_draws_can_be_numbered_are_refused():
    """One scene beside one of 4,096 scenes comes up as often; its draws would run into those of the next
    epoch with one more."""
    fits = MixedBatches((TURNS, 1), 1, 0)
    scenes = MixedScenes([Named("a", TURNS), Named("b", 1)])
    numbers = [
        scenes[(epoch, int(items[0]))][1]
        for epoch in range(2)
        for items in fits.epoch(epoch)
        if int(items[0]) % len(scenes) == TURNS
    ]
    assert len(set(numbers)) == len(numbers) == 2 * TURNS
    with pytest.raises(
        UserError,
        match=r"data set 2 of 2, 1 scenes, would come up 4,097 times.*lower its ratio or trainer.accumulate",
    ):
        MixedBatches((TURNS + 1, 1), 1, 0)
    with pytest.raises(UserError, match="data set 1 of 1, 2 scenes, would come up 5,000 times"):
        MixedBatches((2,), 2, 0, (5000,))
    # an epoch that begins within a pass touches one more of them
    assert MixedBatches((1, 2), 1, 0, (1, 2 * TURNS - 1))
    with pytest.raises(UserError, match="would come up 4,097 times"):
        MixedBatches((1, 2), 1, 0, (1, 2 * TURNS))


def test_batches_too_small_for_all_processes_are_refused_before_a_run():
    batches = MixedBatches((8, 5), 4, 0)  # of 4 and of 3 and 2
    batches.check_processes(2)
    assert min(len(items) for items in batches.epoch(0)) == 2
    with pytest.raises(UserError, match="data set 2 of 2, 5 scenes, has batches of 2 for 3 processes: use"):
        batches.check_processes(3)
    with pytest.raises(UserError, match="data set 1 of 2, 1 scenes, has batches of 1 for 2 processes"):
        MixedBatches((1, 5), 4, 0).check_processes(2)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="one is empty"):
        MixedBatches((3, 0), 2, 0)
    with pytest.raises(UserError, match="ratios are 1 for 2 data sets"):
        MixedBatches((3, 1), 2, 0, (1,))
    with pytest.raises(ValueError, match="no data set"):
        MixedScenes([])
    with pytest.raises(UserError, match="one is empty"):
        OrderedMixed((0,), 2)
