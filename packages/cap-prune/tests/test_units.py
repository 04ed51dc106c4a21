"""Units: plain numbers of heads and neurons."""

import json

import pytest

from cap_prune.units import Units


def test_counts_and_places_follow_the_numbers_of_the_dense_model():
    units = Units(((0, 3), (), (2,)), ((1, 4, 5), (0,), ()), 4, 6)
    assert (units.layers, units.live_heads, units.live_neurons, units.whole) == (3, 3, 4, False)
    smaller = Units(((3,), (), (2,)), ((4, 5), (), ()), 4, 6)
    assert smaller.places(units) == ([[1], [], [0]], [[1, 2], [], []])


def test_units_hold_their_subsets_and_nothing_else():
    units = Units(((0, 1), (1,)), ((0,), (0, 1)), 2, 2)
    assert units.holds(Units(((1,), ()), ((), (1,)), 2, 2))
    assert not units.holds(Units(((1,), (0,)), ((), ()), 2, 2)), "head 0 of layer 1 is gone"
    assert not units.holds(Units(((1,),), ((),), 2, 2)), "another number of layers"
    with pytest.raises(ValueError, match="that the model does not have"):
        Units.full(2, 2, 2).places(units)


def test_all_units_of_a_dense_encoder_are_whole():
    units = Units.full(2, 3, 5)
    assert units.whole
    assert (units.live_heads, units.live_neurons) == (6, 10)


def test_units_survive_json():
    units = Units(((0, 3), ()), ((1,), (0, 2)), 4, 6)
    assert Units.from_dict(json.loads(json.dumps(units.to_dict()))) == units


@pytest.mark.parametrize("heads", [((1, 0), ()), ((0, 0), ()), ((4,), ()), ((-1,), ())])
def test_numbers_that_do_not_ascend_within_the_model_are_refused(heads):
    with pytest.raises(ValueError, match=r"layer 0: heads must ascend within 0\.\.3"):
        Units(heads, ((), ()), 4, 6)
    with pytest.raises(ValueError, match="2 layers of heads, 1 layers of neurons"):
        Units(((), ()), ((),), 4, 6)
