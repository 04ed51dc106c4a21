"""Searching against enumeration, against transformers' processors, and draws against their probabilities."""

import itertools
import math

import pytest
import torch

from nonet.generation.search import Draws, beam_search, follow, likeliest, repeated_ngrams

V, T, PAD, END, START = 6, 4, 0, 1, 2


def table_model(seed, steps=T, words=V):
    """Logits by position and last token."""
    return torch.randn(steps, words, words, generator=torch.Generator().manual_seed(seed)) * 2


def stepper(table):
    return lambda tokens, t: table[t][tokens]


def stay(rows, t):
    """A model by table has no state to move."""


def every_sequence(table):
    """Each sequence that ends within T tokens, with its log-probability; the first token follows START."""
    found = {}
    for length in range(1, T + 1):
        for body in itertools.product([word for word in range(V) if word != END], repeat=length - 1):
            last, total = START, 0.0
            for t, token in enumerate((*body, END)):
                total += table[t][last].log_softmax(-1)[token].item()
                last = token
            found[(*body, END)] = total
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_gives_the_best_sequences_in_order_with_their_log_probabilities(seed):
    table = table_model(seed)
    found = beam_search(
        stepper(table), stay, 2, lambda n: n**0.5, beams=300, steps=T, pad=PAD, end=END, start=START, keep=5,
        traced=True,
    )  # fmt: skip
    every = every_sequence(table)
    order = sorted(every, key=lambda each: -every[each] / len(each) ** 0.5)[:5]
    for item in range(2):
        for place, sequence in enumerate(order):
            n = len(sequence)
            assert tuple(found.tokens[item, place, :n].tolist()) == sequence
            assert found.tokens[item, place, n:].tolist() == [PAD] * (T - n)
            assert found.scores[item, place].item() == pytest.approx(every[sequence] / n**0.5, abs=1e-5)
            assert found.log_probs[item, place].sum().item() == pytest.approx(every[sequence], abs=1e-5)


def test_items_that_leave_early_change_none_of_the_kept_sequences():
    tables = [table_model(seed, steps=10, words=20) for seed in range(6)]
    for place, table in enumerate(tables):
        table[:, :, END] += place  # the later ones end sooner
    here = [torch.arange(6)]

    def step(tokens, t):
        rows = tokens.view(len(here[-1]), -1)
        return torch.cat([tables[k][t][row] for k, row in zip(here[-1].tolist(), rows, strict=True)])

    def reorder(rows, t):
        here.append(here[-1][rows[::3] // 3])

    common = {"beams": 3, "steps": 10, "pad": PAD, "end": END, "keep": 2, "traced": True}
    early = beam_search(step, reorder, 6, lambda n: float(n), **common)
    assert len(here[-1]) < 6
    here[:] = [torch.arange(6)]
    late = beam_search(step, reorder, 6, lambda n: float(n), early_stop=False, **common)
    for one, other in zip(early, late, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_repeated_ngrams_are_those_of_transformers(size):
    from transformers import NoRepeatNGramLogitsProcessor

    tokens = torch.randint(0, 4, (40, 9), generator=torch.Generator().manual_seed(size))
    theirs = NoRepeatNGramLogitsProcessor(size)(tokens, torch.zeros(40, 4)) == -math.inf
    assert repeated_ngrams(tokens, size, 4).tolist() == theirs.tolist()
    assert not repeated_ngrams(tokens[:, : size - 1], size, 4).any()


@pytest.mark.parametrize("beams", [1, 4])
def test_no_run_of_two_is_written_twice(beams):
    table = table_model(3, steps=12)
    table[:, :, END] = -math.inf
    common = {"steps": 12, "pad": PAD, "end": END, "start": START, "no_repeat_ngram": 2}
    if beams == 1:
        tokens = follow(stepper(table), 3, **common).tokens
    else:
        tokens = beam_search(stepper(table), stay, 3, lambda n: 1.0, beams=beams, **common).tokens[:, 0]
    for line in tokens.tolist():
        pairs = list(itertools.pairwise([START, *line]))
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 0.0), (0, 0.6), (4, 0.7), (0, 1.0), (0, 0.01)])
def test_the_likeliest_are_those_of_transformers(top_k, top_p):
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(30, 12, generator=torch.Generator().manual_seed(1)) * 2
    theirs = TopKLogitsWarper(top_k)(None, logits) if top_k else logits
    theirs = TopPLogitsWarper(top_p)(None, theirs) if 0 < top_p < 1 else theirs
    assert (likeliest(logits, top_k, top_p) > -math.inf).tolist() == (theirs > -math.inf).tolist()


def test_draws_have_the_probabilities_of_the_logits():
    logits = torch.tensor([[0.0, 1.0, 2.0, -math.inf, 1.5]]).expand(20000, -1)
    draws = Draws(0, [("a", k) for k in range(20000)], 1, temperature=2.0)
    shares = torch.bincount(draws(logits, torch.arange(20000), 0), minlength=5) / 20000
    expected = (logits[0] / 2).softmax(-1)
    assert (shares - expected).abs().max() < 4 * (0.25 / 20000) ** 0.5
    assert shares[3] == 0


def test_what_a_sequence_draws_depends_on_its_key_alone():
    table = table_model(7, steps=8, words=30)

    def drawn(keys, leave):
        return follow(
            stepper(table), len(keys), steps=8, pad=PAD, end=END, choose=Draws(5, keys, 8, top_p=0.95),
            reorder=stay if leave else None,
        ).tokens.tolist()  # fmt: skip

    keys = [(f"document {k}", sample) for k in range(5) for sample in range(2)]
    together = drawn(keys, True)
    assert together == drawn(keys, False)
    assert [drawn([key], True)[0] for key in keys] == together
    assert drawn(keys[::-1], True)[::-1] == together
    assert len({tuple(line) for line in together}) == 10


def test_rows_of_a_group_leave_together():
    """Row k ends at step k + 1; groups of two leave when their later row has ended."""
    sizes = []

    def step(tokens, t):
        sizes.append(len(tokens))
        logits = torch.zeros(len(tokens), V)
        logits[:, 3] = 1.0
        first = 8 - len(tokens)
        for row in range(len(tokens)):
            if first + row <= t:
                logits[row, END] = 2.0
        return logits

    found = follow(step, 8, steps=12, pad=PAD, end=END, reorder=stay, group=2)
    assert [line.index(END) for line in found.tokens.tolist()] == list(range(8))
    assert all(size % 2 == 0 for size in sizes)
    assert sizes[0] == 8
    assert sizes[-1] < 8
    assert len(sizes) == 8


def test_nothing_to_write_is_nothing_written():
    found = follow(stepper(table_model(0)), 0, steps=T, pad=PAD, end=END)
    assert found.tokens.shape == (0, T)
    found = beam_search(
        stepper(table_model(0)), stay, 0, lambda n: 1.0, beams=2, steps=T, pad=PAD, end=END, keep=2
    )
    assert found.tokens.shape == (0, 2, T)


def test_before_the_least_length_the_end_is_not_taken():
    table = table_model(2)
    table[:, :, END] += 9
    found = follow(stepper(table), 1, steps=T, pad=PAD, end=END, shortest=3)
    assert found.tokens[0].tolist().index(END) == 2
    assert found.scores.item() == pytest.approx(found.log_probs.sum().item())
