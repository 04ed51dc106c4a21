"""Forms of BM25: the formulas written out, and Lucene's lengths by its own bytes."""

import math

import numpy as np
import pytest

from nonet.errors import UserError
from prop_ir.weighting import VARIANTS, absent, check, frequency, norms, one_byte, rarity

N, DF, TF, LENGTH, MEAN, K1, B, DELTA = 1000, 7, 3, 120, 80.0, 1.2, 0.75, 0.5
n = 1 - B + B * LENGTH / MEAN

BY_HAND = {  # rarity, frequency of a document with the term, and of one without
    "lucene": (math.log(1 + (N - DF + 0.5) / (DF + 0.5)), TF / (TF + K1 * n), 0),
    "robertson": (math.log((N - DF + 0.5) / (DF + 0.5)), TF / (TF + K1 * n), 0),
    "atire": (math.log(N / DF), (K1 + 1) * TF / (TF + K1 * n), 0),
    "bm25l": (
        math.log((N + 1) / (DF + 0.5)),
        (K1 + 1) * (TF / n + DELTA) / (K1 + TF / n + DELTA),
        (K1 + 1) * DELTA / (K1 + DELTA),
    ),
    "bm25+": (math.log((N + 1) / DF), (K1 + 1) * TF / (TF + K1 * n) + DELTA, DELTA),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_form_is_its_formula(variant):
    idf, with_term, without = BY_HAND[variant]
    norm = norms(np.array([LENGTH]), MEAN, B, "exact")
    assert rarity(variant, np.array([DF]), N) == pytest.approx([idf], rel=1e-14)
    assert absent(variant, K1, DELTA) == pytest.approx(without, rel=1e-14)
    found = frequency(variant, np.array([float(TF)]), norm, K1, DELTA)
    assert found == pytest.approx([with_term - without], rel=1e-14)


def test_robertsons_rarity_is_never_negative():
    assert rarity("robertson", np.array([600, 500, 499]), 1000).tolist() == [0, 0, math.log(501.5 / 499.5)]


def test_b_0_ignores_lengths_and_k1_0_counts_presence():
    lengths = np.array([1, 50, 4000])
    assert norms(lengths, 50.0, 0.0, "exact").tolist() == [1, 1, 1]
    assert frequency("lucene", np.array([1.0, 9.0]), np.ones(2), 0.0, 0.5).tolist() == [1, 1]


def through_a_byte(length):
    """Lucene's SmallFloat, intToByte4 and back, as it is written there."""

    def encoded(i):
        bits = i.bit_length()
        if bits < 4:
            return i
        shift = bits - 4
        return (i >> shift) & 0x07 | (shift + 1) << 3

    def decoded(i):
        bits, shift = i & 0x07, (i >> 3) - 1
        return bits if shift == -1 else (bits | 0x08) << shift

    free = 255 - encoded(2**31 - 1)
    return length if length < free else free + decoded(encoded(length - free))


def test_lengths_are_those_of_lucenes_byte():
    lengths = [*range(5000), 65535, 65536, 10**6, 2**31 - 1]
    assert one_byte(np.array(lengths)).tolist() == [through_a_byte(length) for length in lengths]
    assert one_byte(np.array([39, 41, 100])).tolist() == [39, 40, 96]
    assert len(set(one_byte(np.arange(10**6)).tolist())) < 256


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (("okapi", 0.9, 0.4, 0.5), "variant 'okapi' is unknown; there are lucene, robertson"),
        (("lucene", -1, 0.4, 0.5), "k1 is -1; it is 0 or more"),
        (("lucene", math.nan, 0.4, 0.5), "k1 is nan"),
        (("lucene", 0.9, 1.5, 0.5), r"b is 1\.5; it lies in \[0, 1\]"),
        (("bm25+", 0.9, 0.4, -0.1), r"delta is -0\.1; it is 0 or more"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    with pytest.raises(UserError, match=text):
        check(*settings)
