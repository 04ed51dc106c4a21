"""Metrics of generated images and of language models against scipy and numbers by hand."""

import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.image_generation import clipscore, frechet_distance, inception_score, r_precision
from nonet.metrics.perplexity import perplexity


def test_frechet_distance_equals_its_formula_with_scipys_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((60, 5)), rng.standard_normal((80, 5)) @ rng.random((5, 5)) + 1
    c1, c2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    gap = first.mean(0) - second.mean(0)
    theirs = gap @ gap + np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
    assert frechet_distance(first, second) == pytest.approx(theirs, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(theirs, rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance([[0.0], [2.0]], [[1.0], [3.0]]) == pytest.approx(1)  # equal spread, means 1 apart
    singular = np.repeat(first[:, :1], 3, 1)  # one direction in three dimensions
    assert frechet_distance(singular, singular + 2) == pytest.approx(12)


def test_inception_score_by_hand() -> None:
    assert inception_score([[1, 0], [0, 1]]) == pytest.approx(2)
    assert inception_score([[0.5, 0.5]] * 3) == pytest.approx(1)
    mixed = 0.5 * (0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3)) + 0.5 * (math.log(1))
    other = 0.5 * (0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3))
    assert inception_score([[0.9, 0.1], [0.5, 0.5]]) == pytest.approx(math.exp(mixed + other))
    with pytest.raises(UserError, match="sum to 1"):
        inception_score([[0.5, 0.6]])


def test_clipscore_by_hand() -> None:
    assert clipscore([[1, 0]], [[3, 4]]) == pytest.approx(1.5)
    assert clipscore([[1, 0], [1, 0]], [[-1, 0], [2, 0]]) == pytest.approx(1.25)  # opposite counts 0
    with pytest.raises(UserError, match=r"pair 1 \(from 0\) is 0"):
        clipscore([[1, 0], [0, 0]], [[1, 0], [1, 0]])
    with pytest.raises(UserError, match="needs its text"):
        clipscore([[1, 0]], [[1, 0], [1, 0]])


def test_r_precision_by_hand() -> None:
    assert r_precision([[3, 1, 2], [1, 1, 0], [0, 1, 2]]) == pytest.approx(1 / 3)
    with pytest.raises(UserError, match="at least one other"):
        r_precision([[1]])
    with pytest.raises(UserError, match="finite"):
        r_precision([[np.nan, 1]])


def test_perplexity_by_hand() -> None:
    assert perplexity([[math.log(1 / 4)] * 3]) == pytest.approx(4)
    assert perplexity([[math.log(0.5)], [math.log(0.5), 0.0]]) == pytest.approx(2 ** (2 / 3))  # over tokens
    assert perplexity([[0.0]]) == 1
    assert perplexity([[-math.inf]]) == perplexity([[-1e6]]) == math.inf
    with pytest.raises(UserError, match=r"text 0, token 1 \(from 0\): 0.1 is no logarithm"):
        perplexity([[-1.0, 0.1]])
    with pytest.raises(UserError, match="nan is no logarithm"):
        perplexity([[math.nan]])
    with pytest.raises(UserError, match="no tokens"):
        perplexity([[]])
