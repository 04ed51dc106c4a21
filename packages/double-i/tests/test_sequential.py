"""Early stopping: pairs until the level, and the error under stopping; ranks among decoys; equivalence."""

import numpy as np
import pytest
from scipy import stats

from double_i.equivalence import tost
from double_i.key_randomisation import combined, decoys_needed, p_key
from double_i.sequential import PairedTest, pairs_needed, run_pairs
from nonet.errors import UserError


def test_perfect_answers_stop():
    assert (pairs_needed(1e-6), pairs_needed(1e-3)) == (22, 11)
    for alpha, pairs in ((1e-6, 22), (1e-3, 11)):
        test = run_pairs([(True, False)] * 100, alpha)
        assert (test.stopped, test.pairs) == (pairs, pairs)
        assert test.p <= alpha


def test_losses_and_ties():
    test = PairedTest(0.5)
    test.add(False, True)
    assert test.e_value == 1.0  # the best so far is the start
    test.add(True, True)
    assert test.log_e == pytest.approx(np.log(0.1))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_crossings_without_a_difference_keep_the_level(alpha, share):
    random = np.random.default_rng(7)
    runs, most = 20_000, 300
    steps = random.random((runs, most)) < share
    others = random.random((runs, most)) < share
    grown = np.log1p(0.9 * (steps.astype(float) - others)).cumsum(1)
    crossed = (grown >= -np.log(alpha)).any(1).mean()
    assert crossed <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)
    first = [run_pairs(zip(steps[k], others[k], strict=True), alpha).stopped for k in range(300)]
    assert [one is not None for one in first] == (grown[:300] >= -np.log(alpha)).any(1).tolist()


@pytest.mark.parametrize("bet", [0, 1, -0.5])
def test_bets_out_of_range(bet):
    with pytest.raises(UserError):
        PairedTest(0.01, bet)


def test_ranks():
    assert p_key(1.0, [0.5] * 99) == 0.01
    assert p_key(0.5, [0.5] * 99) == 1.0
    assert p_key(0.1 + 0.2, [0.3] * 9) == 1.0  # equal on paper
    assert p_key(1.0, []) == 1.0
    assert p_key(1.0, [0.0] * 19) == 0.05


def test_ranks_of_exchangeable_keys_are_valid():
    random = np.random.default_rng(3)
    values = []
    for _ in range(4000):
        bias = random.beta(0.4, 0.4, 100)  # a model with opinions on words, all the same to it
        scores = random.binomial(20, bias) / 20 - random.random()
        values.append(p_key(scores[0], scores[1:]))
    test = stats.kstest(values, "uniform", alternative="greater")  # more small values than a uniform has?
    assert test.pvalue > 0.01
    assert np.mean(np.array(values) <= 0.01) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 4000)


def test_several_keys():
    assert combined([0.01, 0.04, 0.03], "holm") == pytest.approx([0.03, 0.06, 0.06])
    expected = stats.chi2.sf(-2 * np.log([0.01, 0.04, 0.03]).sum(), 6)
    assert combined([0.01, 0.04, 0.03], "fisher") == pytest.approx([expected] * 3)
    assert combined([0.2], "none") == [0.2]
    with pytest.raises(UserError, match="--combine"):
        combined([0.1, 0.2], "none")
    assert decoys_needed(1, "none", 0.01) == 99
    assert decoys_needed(3, "holm", 0.01) == 299
    assert decoys_needed(3, "fisher", 0.01) < 99


def test_equivalence():
    random = np.random.default_rng(1)
    first = (random.random(4000) < 0.8).astype(float)
    second = first.copy()
    second[:5] = 1 - second[:5]
    found = tost(first, second, 0.01)
    assert found.equivalent
    assert found.low <= found.difference <= found.high
    worse = second.copy()
    worse[:400] = 0
    assert not tost(first, worse, 0.01).equivalent
    same = tost(first, first, 0.01)
    assert (same.p, same.difference) == (0.0, 0.0)
    assert tost([0, 0, 0], [1, 1, 1], 0.5).p == 1.0


def test_equivalence_is_two_one_sided_t_tests():
    random = np.random.default_rng(2)
    first, second = random.random(50), random.random(50)
    difference = second - first
    below = stats.ttest_1samp(difference, -0.2, alternative="greater").pvalue
    above = stats.ttest_1samp(difference, 0.2, alternative="less").pvalue
    assert tost(first, second, 0.2).p == pytest.approx(max(below, above), rel=1e-6)


def test_equivalence_refuses():
    for bad in (([1], [1], 0.1), ([1, 2], [1, 2, 3], 0.1), ([1, 2], [1, 2], 0), ([1, np.nan], [1, 2], 1)):
        with pytest.raises(UserError):
            tost(*bad)
