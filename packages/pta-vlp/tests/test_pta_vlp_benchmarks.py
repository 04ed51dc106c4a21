"""Every benchmark of this package runs, at its smallest size, and checks that both contenders agree."""

import numpy as np
import pytest

from nonet.testing import benchmarks_of, check_tiny_benchmark

ROOT, NAMES = benchmarks_of("pta_vlp")


@pytest.mark.skipif(not NAMES, reason="benchmarks are in the repository's checkout, which is not here")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("claim_") else []) for name in NAMES
])  # fmt: skip
def test_a_benchmark_runs_at_its_smallest_size(name, monkeypatch, tmp_path):
    check_tiny_benchmark("pta_vlp", name, "pta-vlp", tmp_path, monkeypatch)


@pytest.mark.skipif(not NAMES, reason="benchmarks are in the repository's checkout, which is not here")
def test_digits_are_as_bright_as_the_answer_and_those_of_test_scenes_are_in_no_training_scene(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.pta_vlp import digit_scenes as digits

    shown = {}
    for part in ("train", "test"):
        scenes = digits.digit_scenes(300, 1, part=part)
        again = digits.digit_scenes(300, 1, part=part)
        assert all(np.array_equal(one, two) for one, two in zip(scenes, again, strict=True))
        pixels = scenes.images[:, 0] * 0.25 + 0.1
        light: list[list[float]] = [[] for _ in digits.LEVELS]
        for number in range(300):
            assert len(set(scenes.kinds[number])) == digits.IN_SCENE
            for (x, y, wide, high), answer in zip(
                scenes.boxes[number].astype(int), scenes.answers[number], strict=True
            ):
                cell = pixels[number, y : y + high, x : x + wide]
                light[answer].append(np.sort(cell, None)[-12:].mean())  # noise adds to the brightest
        assert np.allclose([np.median(each) for each in light], digits.LEVELS, atol=0.14)
        drawn, labels = digits._digits(1, part)
        shown[part] = {digit.tobytes() for digit in drawn}
        assert set(labels) == set(range(10))
    assert len(shown["train"]) + len(shown["test"]) > 1700
    assert not shown["train"] & shown["test"]
