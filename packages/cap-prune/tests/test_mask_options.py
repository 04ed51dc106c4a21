"""What users may ask of masks, and what they are told."""

import pytest

from cap_prune.commands import prune
from cap_prune.mask_options import MaskOptions
from cap_prune.patterns import Blocks, Neighbours
from nonet.cli.options import parse
from nonet.errors import UserError


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"density": (0.5, 0.5)}, r"masks.density is 0.5, 0.5; each is below the one before"),
        ({"density": (0.1, 0.5)}, r"masks.density is 0.1, 0.5; each is below the one before"),
        ({"density": "0.1,0.5"}, r"masks.density is 0.1, 0.5; each is below the one before"),
        ({"density": "0.5;0.2"}, r"masks.density is '0.5;0.2'; write shares like 0.5,0.2"),
        ({"density": (0.0,)}, r"masks.density is 0; each lies in \(0, 1\]"),
        ({"density": (10.0,)}, r"masks.density is 10; each lies in"),
        ({"dense_share": 0.6, "cool_share": 0.4}, "leave no steps to prune in"),
        ({"cool_share": 1.0}, r"masks.cool_share is 1; it lies in \[0, 1\)"),
        ({"every": 0}, "masks.every is 0; it is at least 1"),
        ({"score_lr": 0.0}, "masks.score_lr is 0; it is positive"),
        ({"threshold": 1.0}, r"masks.threshold is 1; it lies in \(0, 1\)"),
        ({"penalty": -1.0}, "masks.penalty is -1; it is 0 or more"),
        ({"pattern": "2:4", "block": "4x1"}, "exclude each other"),
        ({"block": "4x1", "together": True}, "masks.together ranks single weights"),
        ({"pattern": "2:4", "density": (0.1,)}, "masks.pattern 2:4 sets the density"),
        ({"pattern": "4:2"}, "pattern '4:2' is not N:M"),
        ({"block": "4"}, "block '4' is not AxB"),
    ],
)
def test_what_cannot_be_is_refused(values, text):
    with pytest.raises(UserError, match=text):
        MaskOptions(**values)


def test_patterns_set_the_density_and_blocks_do_not():
    assert MaskOptions(pattern="2:4").densities("magnitude") == (0.5,)
    assert MaskOptions(pattern="2:4", density=(0.5,)).densities("movement") == (0.5,)
    assert MaskOptions(pattern="1:4").chosen_pattern == Neighbours(1, 4)
    assert MaskOptions(block="4x1", density=(0.3, 0.1)).densities("movement") == (0.3, 0.1)
    assert MaskOptions(block="4x1").chosen_pattern == Blocks(4, 1)
    assert MaskOptions().chosen_pattern is None


@pytest.mark.parametrize(
    ("method", "values", "text"),
    [
        ("movement", {}, "movement needs masks.density, such as 0.1"),
        ("first-order", {}, "no method 'first-order' for single weights; there are movement, soft-movement"),
        ("soft-movement", {"pattern": "2:4"}, "soft-movement masks by a threshold"),
        ("wanda", {"together": True, "density": (0.1,)}, "wanda ranks the weights of each output"),
    ],
)
def test_a_method_says_what_it_cannot_do(method, values, text):
    with pytest.raises(UserError, match=text):
        MaskOptions(**values).densities(method)


@pytest.mark.parametrize(
    "words", [["0.5,0.2"], ["0.5, 0.2"], ["0.5 0.2"], ["0.5", "0.2"]], ids=lambda words: "|".join(words)
)
def test_densities_are_written_with_commas_or_as_words(words):
    given = [
        "--model",
        "m",
        "--task",
        "sst2",
        "--data",
        "d",
        "--method",
        "movement",
        "--masks.density",
        *words,
    ]
    options = parse(prune.Options, given, command="cap-prune prune").options
    assert options.masks.densities("movement") == (0.5, 0.2)
    assert options.masked


def test_soft_movement_finds_its_density_out():
    assert MaskOptions().densities("soft-movement") == ()
