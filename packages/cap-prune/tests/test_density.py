"""The cubic schedule against numbers worked out by hand from the released scripts' settings."""

from importlib.resources import files
from pathlib import Path

import pytest

from cap_prune.density import Cubic, kept_of
from nonet.options import read


@pytest.mark.parametrize("name", ["paper-movement-qqp", "paper-soft-qqp"])
def test_the_curve_of_the_qqp_script_has_its_values(name):
    preset = read(Path(str(files("cap_prune") / "presets" / "prune" / f"{name}.yaml"))).values
    shares = {"before": preset["masks"]["dense_share"], "after": preset["masks"]["cool_share"]}
    curve = Cubic.of_shares(1.0, 0.03, steps=113_700, **shares)
    assert int(preset["warmup_share"] * 113_700) == 11_000
    assert (curve.begin, curve.end) == (22_000, 80_700)
    assert curve(0) == curve(22_000) == 1
    assert curve(22_001) == pytest.approx(0.99995, abs=1e-6)
    assert curve(50_000) == pytest.approx(0.168763, abs=1e-6)
    assert curve(80_700) == curve(113_699) == 0.03


def test_the_threshold_of_soft_movement_rises_along_the_same_curve():
    rising, falling = Cubic(0.0, 0.1, 10, 60), Cubic(1.0, 0.0, 10, 60)
    for step in range(0, 70, 7):
        assert rising(step) == pytest.approx(0.1 * (1 - falling(step)))


def test_the_curve_never_rises_and_is_steepest_where_it_begins():
    curve = Cubic(1.0, 0.1, 5, 45)
    steps = [curve(step) - curve(step + 1) for step in range(50)]
    assert min(steps) >= 0
    assert max(steps) == steps[5]


def test_shares_fit_any_number_of_steps():
    assert Cubic.of_shares(1.0, 0.1, steps=1000, before=0.2, after=0.3) == Cubic(1.0, 0.1, 200, 700)
    for steps in range(1, 30):
        curve = Cubic.of_shares(1.0, 0.1, steps=steps, before=0.2, after=0.0)
        assert curve(steps - 1) == 0.1 or curve.begin == curve.end == steps - 1, "the last step is final"


def test_a_curve_backwards_is_refused():
    with pytest.raises(ValueError, match="from step 7 to 3"):
        Cubic(1.0, 0.1, 7, 3)


@pytest.mark.parametrize(
    ("density", "count", "kept"),
    [(0.29, 100, 29), (0.1, 147_456, 14_745), (1.0, 7, 7), (0.0, 7, 0), (0.5, 3, 1), (0.3, 10, 3)],
)
def test_the_floor_of_a_product_is_that_of_decimals(density, count, kept):
    assert kept_of(density, count) == kept
