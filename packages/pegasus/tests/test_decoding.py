"""Decoding against exhaustive enumeration, against transformers, and against the full forward pass."""

import itertools
import math

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from pegasus.decoding import EOS, PAD, beam_search, best, follow, generate, length_norm
from pegasus.model import new_model, zero_start
from pegasus.options import DecodeOptions, ModelOptions
from pegasus.steps import StepDecoder

V, T = 5, 4  # vocabulary 0..4 with PAD 0 and EOS 1


def table_model(seed):
    """A language model by table: the next token's logits depend on the last token and the position."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, V, V, generator=generator) * 2


def stepper(table):
    return lambda tokens, t: table[t][tokens]


def enumerate_finished(table, norm, shortest=0):
    """Every sequence that ends in EOS within T tokens, with its normalised score."""
    found = {}
    for length in range(1, T + 1):
        for body in itertools.product([token for token in range(V) if token != EOS], repeat=length - 1):
            sequence, last, total = (*body, EOS), PAD, 0.0
            for t, token in enumerate(sequence):
                total += table[t][last].log_softmax(-1)[token].item()
                last = token
            found[sequence] = total / norm(length) - (1000 if length < shortest else 0)
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("early_stop", [True, False])
def test_a_wide_beam_finds_the_best_of_all_sequences(alpha, seed, early_stop):
    table = table_model(seed)
    norm = length_norm(DecodeOptions(alpha=alpha))
    tokens, scores = beam_search(
        stepper(table), lambda rows, t: None, 1, norm, beams=200, steps=T, early_stop=early_stop
    )
    every = enumerate_finished(table, norm)
    best = max(every, key=lambda sequence: every[sequence])
    assert tuple(tokens[0, : len(best)].tolist()) == best
    assert scores[0].item() == pytest.approx(every[best], abs=1e-5)


def test_alpha_zero_is_the_sum_of_log_probabilities_and_seven_tokens_divide_by_two_to_the_alpha():
    assert length_norm(DecodeOptions(alpha=0.0))(30) == 1
    assert length_norm(DecodeOptions(alpha=0.8))(7) == pytest.approx(1.7411, abs=1e-4)
    assert length_norm(DecodeOptions(alpha=0.5, length_norm="hf"))(16) == 4


@pytest.mark.parametrize("seed", range(6))
def test_early_stop_changes_nothing(seed):
    table = torch.randn(12, 30, 30, generator=torch.Generator().manual_seed(seed)) * 3
    table[:, :, EOS] += 2
    norm = length_norm(DecodeOptions(alpha=0.8))
    calls = []

    def step(tokens, t):
        calls.append(t)
        return table[t][tokens]

    slow = beam_search(step, lambda rows, t: None, 1, norm, beams=4, steps=12, early_stop=False)
    all_steps = len(calls)
    fast = beam_search(step, lambda rows, t: None, 1, norm, beams=4, steps=12)
    assert fast[0].tolist() == slow[0].tolist()
    assert fast[1].tolist() == slow[1].tolist()
    assert all_steps == 12
    assert len(calls) - all_steps < 12


def test_short_summaries_pay_a_thousand():
    table = table_model(3)
    table[:, :, EOS] += 5  # wants to end at once
    norm = length_norm(DecodeOptions(alpha=0.6))
    tokens, scores = beam_search(
        stepper(table), lambda rows, t: None, 1, norm, beams=200, steps=T, shortest=3
    )
    every = enumerate_finished(table, norm, shortest=3)
    best = max(every, key=lambda sequence: every[sequence])
    assert len(best) >= 3
    assert tuple(tokens[0, : len(best)].tolist()) == best
    assert scores[0].item() == pytest.approx(every[best], abs=1e-5)


def test_a_search_that_never_ends_gives_what_there_is():
    table = table_model(1)
    table[:, :, EOS] = -math.inf
    tokens, scores = beam_search(stepper(table), lambda rows, t: None, 1, lambda n: 1.0, beams=3, steps=T)
    assert EOS not in tokens[0].tolist()
    assert math.isfinite(scores[0].item())


@pytest.fixture(scope="module", params=[False, True], ids=["pegasus", "pegasus-x"])
def model(request):
    options = ModelOptions(
        size="tiny", layers=2, width=32, heads=4, long=request.param, block=16, global_tokens=4
    )
    built = new_model(options, 160, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in built.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=generator) * 0.15)
    zero_start(built)
    return built


def documents():
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(105, 160, (4, 24), generator=generator)
    lengths = torch.tensor([24, 9, 17, 24])
    mask = (torch.arange(24) < lengths[:, None]).long()
    return ids * mask, mask


def test_the_step_decoder_gives_the_logits_of_the_full_forward_pass(model):
    ids, mask = documents()
    target = torch.randint(2, 160, (4, 7), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        encoded = model.model.encoder(input_ids=ids, attention_mask=mask)[0]
        decoder = StepDecoder(model, encoded, mask, 1, 7)
        inputs = torch.cat([torch.zeros(4, 1, dtype=torch.int64), target[:, :-1]], 1)
        stepped = torch.stack([decoder.step(inputs[:, t], t) for t in range(7)], 1)
        full = model(input_ids=ids, attention_mask=mask, decoder_input_ids=inputs).logits
    torch.testing.assert_close(stepped, full, atol=1e-4, rtol=1e-4)


def test_greedy_is_the_argmax_and_equals_transformers(model):
    ids, mask = documents()
    tokens, scores = generate(model, ids, mask, DecodeOptions(beams=1, max_length=10, alpha=0.0))
    theirs = model.generate(
        input_ids=ids,
        attention_mask=mask,
        num_beams=1,
        do_sample=False,
        max_new_tokens=10,
        forced_eos_token_id=None,
    )[:, 1:]
    width = min(tokens.shape[1], theirs.shape[1])
    assert tokens[:, :width].tolist() == theirs[:, :width].tolist()
    with torch.no_grad():
        inputs = torch.cat([torch.zeros(4, 1, dtype=torch.int64), tokens[:, :-1]], 1)
        log_probs = model(input_ids=ids, attention_mask=mask, decoder_input_ids=inputs).logits.log_softmax(-1)
    kept = (tokens != PAD).float()
    expected = (log_probs.gather(2, tokens[:, :, None])[:, :, 0] * kept).sum(1)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_a_beam_does_not_depend_on_the_other_documents(model):
    ids, mask = documents()
    options = DecodeOptions(beams=4, max_length=9)
    together, scores = generate(model, ids, mask, options)
    for i in range(4):
        n = int(mask[i].sum())
        alone, score = generate(model, ids[i : i + 1, :n], mask[i : i + 1, :n], options)
        assert alone[0].tolist() == together[i].tolist()
        assert score[0].item() == pytest.approx(scores[i].item(), abs=1e-4)


def test_a_beam_scores_at_least_as_well_as_greedy(model):
    ids, mask = documents()
    _, greedy = generate(model, ids, mask, DecodeOptions(beams=1, max_length=9, alpha=0.0))
    for i, (tokens, score) in enumerate(
        zip(*generate(model, ids, mask, DecodeOptions(beams=8, max_length=9, alpha=0.0)), strict=True)
    ):
        if EOS in tokens.tolist():
            assert score.item() >= greedy[i].item() - 1e-4


@pytest.mark.parametrize("beams", [1, 4])
def test_documents_that_leave_the_batch_change_nothing(model, beams):
    ids, mask = documents()
    with torch.no_grad():
        encoded = model.model.encoder(input_ids=ids, attention_mask=mask)[0]
    lift = torch.zeros(40, 4)  # what is added to the end token's logit: documents end one after the other
    for i, end in enumerate((30, 2, 21, 5)):
        lift[end:, i] = 50.0
    options = DecodeOptions(beams=beams, max_length=40)
    found, sizes = [], []
    for leave in (True, False):
        decoder = StepDecoder(model, encoded, mask, beams, 40)
        here = [torch.arange(4)]

        def step(tokens, t, decoder=decoder, here=here):
            logits = decoder.step(tokens, t)
            logits[:, EOS] += lift[t, here[-1]].repeat_interleave(beams) - 20
            return logits

        def reorder(rows, t, decoder=decoder, here=here):
            decoder.reorder(rows, t)
            here.append(here[-1][rows[::beams] // beams])

        norm = length_norm(options)
        with torch.inference_mode():
            if beams == 1:
                found.append(follow(step, 4, norm, options, reorder=reorder if leave else None))
            else:
                found.append(beam_search(step, reorder, 4, norm, beams=4, steps=40, early_stop=leave))
        sizes.append({len(each) for each in here})
    assert found[0][0].tolist() == found[1][0].tolist()
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=1e-5)
    assert sizes[0] >= {4, 2, 1} or sizes[0] == {4, 3, 2, 1}
    assert sizes[1] == {4}


@pytest.mark.parametrize("columns", [5, 63, 64, 1000, 6401])
def test_the_best_of_chunks_are_the_best_of_all(columns):
    values = torch.randn(7, columns, generator=torch.Generator().manual_seed(columns))
    k = min(5, columns)
    top, places = best(values, k)
    expected = values.topk(k)
    assert top.tolist() == expected.values.tolist()
    assert places.tolist() == expected.indices.tolist()
    assert best(torch.full((2, columns), -math.inf), k)[0].tolist() == [[-math.inf] * k] * 2


def test_sampling_is_seeded_and_stays_among_the_likeliest():
    table = table_model(5)
    options = DecodeOptions(beams=1, top_k=2, max_length=T, seed=7, alpha=0.0)
    first, _ = follow(stepper(table), 400, lambda n: 1.0, options)
    again, _ = follow(stepper(table), 400, lambda n: 1.0, options)
    assert first.tolist() == again.tolist()
    likeliest = set(table[0][PAD].topk(2).indices.tolist())
    assert set(first[:, 0].tolist()) == likeliest
    nucleus, _ = follow(stepper(table), 400, lambda n: 1.0, DecodeOptions(beams=1, top_p=0.5, max_length=T))
    order = table[0][PAD].softmax(-1).sort(descending=True)
    kept = order.indices[: int((order.values.cumsum(0) - order.values < 0.5).sum())].tolist()
    assert set(nucleus[:, 0].tolist()) <= set(kept)
    shares = np.bincount(first[:, 0].numpy(), minlength=V) / 400
    expected = table[0][PAD][list(likeliest)].softmax(-1)
    for token, share in zip(likeliest, expected.tolist(), strict=True):
        assert abs(shares[token] - share) < 0.1


def test_min_length_holds_for_greedy():
    table = table_model(2)
    table[:, :, EOS] += 9
    tokens, _ = follow(stepper(table), 1, lambda n: 1.0, DecodeOptions(beams=1, min_length=3, max_length=T))
    assert tokens[0].tolist().index(EOS) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "beams is 0"),
        ({"min_length": 9, "max_length": 4}, "min_length 9 and max_length 4"),
        ({"beams": 1, "top_k": 5, "top_p": 0.9}, "top_k 5 and top_p 0.9 exclude each other"),
        ({"beams": 4, "top_k": 5}, "set beams to 1, not 4"),
        ({"beams": 1, "top_p": 1.5}, r"top_p lies in \[0, 1\]"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        DecodeOptions(**options)
