"""Inputs and targets: what goes in comes out, in order, in the shares asked for."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from pegasus.masking import EOS, FIRST_PIECE, IGNORE, MASK_SENTENCE, MASK_WORD, build
from pegasus.options import MaskOptions

VOCABULARY = 400
STARTS = np.zeros(VOCABULARY, bool)
STARTS[FIRST_PIECE::3] = True  # every third piece begins a word


def document(lengths, seed=0):
    generator = np.random.default_rng(seed)
    pieces = generator.integers(FIRST_PIECE, VOCABULARY, sum(lengths)).astype(np.int32)
    starts = np.cumsum([0, *lengths])[:-1]
    pieces[starts[np.array(lengths) > 0]] = FIRST_PIECE  # sentences begin with a word
    return pieces, np.cumsum(lengths)


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    data=st.data(),
    intact=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_input_without_masks_and_target_are_the_document(lengths, data, intact):
    pieces, ends = document(lengths)
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1)))), np.int64)
    example = build(pieces, ends, chosen, MaskOptions(mask=1 - intact, intact=intact), STARTS, seed=7)
    sentences = np.split(pieces, ends[:-1])
    target = [p for i in chosen for p in sentences[i]] + [EOS]
    assert example.target_ids.tolist() == target
    masked = int((example.input_ids == MASK_SENTENCE).sum())
    kept = Counter(example.input_ids.tolist()) - Counter({MASK_SENTENCE: masked, EOS: 1})
    replaced = Counter(pieces.tolist()) - kept
    assert replaced == Counter(
        p for i in _masked_sentences(example.input_ids, sentences, chosen) for p in sentences[i]
    )
    assert example.input_ids[-1] == EOS
    assert example.lost == (0, 0)


def _masked_sentences(inputs, sentences, chosen):
    """Which chosen sentences the input lacks, by walking through it."""
    at, gone = 0, []
    for i, sentence in enumerate(sentences):
        if i in chosen and inputs[at] == MASK_SENTENCE:
            gone.append(i)
            at += 1
        else:
            assert inputs[at : at + len(sentence)].tolist() == sentence.tolist()
            at += len(sentence)
    assert at == len(inputs) - 1
    return gone


def test_neighbouring_gaps_keep_a_mask_each():
    pieces, ends = document([3, 3, 3])
    example = build(pieces, ends, np.array([0, 1]), MaskOptions(mask=1, intact=0), STARTS)
    assert example.input_ids[:2].tolist() == [MASK_SENTENCE, MASK_SENTENCE]
    assert len(example.input_ids) == 2 + 3 + 1


def test_shares_of_what_replaces_a_sentence():
    pieces, ends = document([2, 3, 4, 5])
    options = MaskOptions(mask=0.4, random=0.3, intact=0.2, remove=0.1)
    kinds = Counter()
    n = 10_000
    for number in range(n):
        inputs = build(pieces, ends, np.array([2]), options, STARTS, seed=1, document=number).input_ids[5:-6]
        kind = {(): "removed", (MASK_SENTENCE,): "masked"}.get(tuple(inputs.tolist()), "sentence")
        kinds[kind] += 1
    for kind, share in (("masked", 0.4), ("removed", 0.1), ("sentence", 0.5)):
        assert abs(kinds[kind] - n * share) < 3 * (n * share * (1 - share)) ** 0.5


def test_a_random_replacement_is_a_sentence_of_the_document():
    pieces, ends = document([2, 3, 4, 5])
    sentences = [tuple(s.tolist()) for s in np.split(pieces, ends[:-1])]
    seen = Counter()
    for number in range(400):
        inputs = build(
            pieces, ends, np.array([1]), MaskOptions(mask=0, random=1, intact=0), STARTS, document=number
        ).input_ids
        seen[tuple(inputs[2 : len(inputs) - 10].tolist())] += 1
    assert set(seen) == set(sentences)
    assert min(seen.values()) > 60  # 100 expected


def test_masked_words_are_whole_and_labelled():
    pieces, ends = document([30, 30])
    options = MaskOptions(mask=1, intact=0, words=0.15, word_mask=0.8, word_random=0.1)
    outcomes = Counter()
    for number in range(600):
        plain = build(pieces, ends, np.array([1]), MaskOptions(mask=1, intact=0), STARTS, document=number)
        example = build(pieces, ends, np.array([1]), options, STARTS, document=number)
        chosen = example.word_labels != IGNORE
        assert (example.word_labels[chosen] == plain.input_ids[chosen]).all()
        assert (example.input_ids[~chosen] == plain.input_ids[~chosen]).all()
        words = np.flatnonzero(STARTS[plain.input_ids] & (plain.input_ids >= FIRST_PIECE))
        bounds = [*words.tolist(), 30]
        taken = 0
        for begin, end in itertools.pairwise(bounds):
            assert chosen[begin:end].all() or not chosen[begin:end].any()
            if chosen[begin]:
                taken += 1
                now, before = example.input_ids[begin:end], plain.input_ids[begin:end]
                outcomes[
                    "masked" if (now == MASK_WORD).all() else "same" if (now == before).all() else "random"
                ] += 1
                assert (now >= FIRST_PIECE).all() or (now == MASK_WORD).all()
        assert taken == max(1, int(0.15 * len(words)))
    total = sum(outcomes.values())
    for kind, share in (("masked", 0.8), ("random", 0.1)):
        assert abs(outcomes[kind] / total - share) < 0.04


def test_limits_and_the_end_token():
    pieces, ends = document([10, 10, 10])
    example = build(
        pieces, ends, np.array([1]), MaskOptions(mask=1, intact=0, max_input=8, max_target=6), STARTS
    )
    assert len(example.input_ids) == 8
    assert example.input_ids[-1] == EOS
    assert len(example.target_ids) == 6
    assert example.target_ids[-1] != EOS
    assert example.lost == (22 - 8, 11 - 6)
    bare = build(
        pieces,
        ends,
        np.array([1]),
        MaskOptions(max_input=8, max_target=6, end_cut_inputs=False, end_cut_targets=True),
        STARTS,
    )
    assert bare.input_ids[-1] != EOS
    assert bare.target_ids[-1] == EOS


def test_task_token_and_no_gap():
    pieces, ends = document([4, 4])
    example = build(pieces, ends, np.array([], np.int64), MaskOptions(), STARTS, task=1)
    assert example.input_ids.tolist() == [6, *pieces.tolist(), EOS]
    assert example.target_ids.tolist() == [EOS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": 0.9}, r"mask 0.9 \+ random 0 \+ intact 0.2 \+ remove 0 = 1.1; they add up to 1"),
        ({"mask": -0.2, "intact": 1.2}, "add up to 1"),
        ({"words": 1.5}, "words is 1.5"),
        ({"word_mask": 0.95, "word_random": 0.1}, "is more than 1"),
        ({"max_input": 1}, "at least 2 tokens"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        MaskOptions(**options)


def test_shares_may_miss_one_by_rounding():
    MaskOptions(mask=0.1 + 0.2, random=0.3, intact=0.4, remove=0.0)
