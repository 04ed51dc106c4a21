"""Counter-based random numbers against SplitMix64 in plain Python, and against their laws."""

import numpy as np
import pytest

from nonet.data.draws import below, gauss, shuffled, stream, uniform, uniform_at

GOLDEN, WHOLE = 0x9E3779B97F4A7C15, 2**64 - 1


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WHOLE
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WHOLE
    return z ^ (z >> 31)


def plain(seed, *counts):
    z = mix((seed + GOLDEN) & WHOLE)
    for count in counts:
        z = mix((z + count * GOLDEN + GOLDEN) & WHOLE)
    return (z >> 11) * 2.0**-53


@pytest.mark.parametrize("key", [(0, 0, 0, 0, 0), (1, 2, 3, 4, 5), (-7, 0, 2**40, 101, 9 << 32)])
def test_numbers_are_splitmix64_of_their_coordinates(key):
    assert uniform(*key) == plain(*key)
    assert uniform_at(stream(*key[:4]), key[4]) == plain(*key)


def test_numbers_of_a_stream_are_uniform_and_unlike_each_other():
    numbers = np.array([uniform_at(stream(3, 0, 5, 1), count) for count in range(20_000)])
    assert len(set(numbers.tolist())) == 20_000
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] - 1000).max() < 5 * 1000**0.5
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.03


def test_integers_normal_numbers_and_orders():
    drawn = [below(6, 0, 0, 0, 0, count) for count in range(6000)]
    assert np.abs(np.bincount(drawn) - 1000).max() < 5 * 1000**0.5
    normal = np.array([gauss(0, 0, 0, 0, count) for count in range(10_000)])
    assert normal.mean() == pytest.approx(0, abs=0.05)
    assert normal.std() == pytest.approx(1, abs=0.05)
    assert sorted(shuffled(9, 9, 0, 1, 2, 3)) == list(range(9))
    firsts = [int(shuffled(5, 2, 0, epoch, 0, 0)[0]) for epoch in range(5000)]
    assert np.abs(np.bincount(firsts) - 1000).max() < 5 * 1000**0.5
