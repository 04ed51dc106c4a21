"""Decoding with kept keys and values against a pass over everything, piece by piece, in every mode."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from keyphrase_plm.decoding_options import DecodeOptions
from keyphrase_plm.prefix_decoding import StepDecoder, write
from keyphrase_plm.prefix_lm import target_features
from keyphrase_plm.prefix_walk import Walk
from nonet.testing import whole

V, PAD, CLS, END, MASK, T = 60, 0, 1, 2, 3, 10
SHAPE = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
LENGTHS = torch.tensor([11, 4, 7, 9])


@pytest.fixture(scope="module", params=["bert", "roberta"])
def walk(request):
    if request.param == "bert":
        kind, config = BertForMaskedLM, BertConfig(**SHAPE, max_position_embeddings=40)
    else:
        config = RobertaConfig(**SHAPE, max_position_embeddings=42, pad_token_id=1, type_vocab_size=1)
        kind = RobertaForMaskedLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = kind(config).eval()
        with torch.no_grad():
            for each in model.parameters():
                each.add_(torch.randn(each.shape) * 0.25)
    return Walk(model)


def source():
    return whole(V - 4, 4, 11, seed=3) + 4


def decoded(walk, options, rows=slice(None), objective="pseudo", steps=T):
    lengths = LENGTHS[rows]
    return write(
        walk, source()[rows, : int(lengths.max())], lengths, options, ids=list("abcd")[rows], steps=steps,
        objective=objective, mask_id=MASK, pad_id=PAD, start_id=CLS, end_id=END, blocked=(PAD, MASK),
    )  # fmt: skip


@torch.no_grad()
def by_one_pass(walk, tokens, objective):
    """Logits (4, T, V) of all pieces of a target at once, as in training with nothing but masks."""
    full = torch.full((4,), tokens.shape[1])
    batch = {"source": source(), "source_lengths": LENGTHS, "target": tokens, "target_lengths": full}
    batch["pseudo"] = torch.full_like(tokens, MASK)
    return walk.logits(target_features(walk, batch, objective, start_id=CLS))


def without_cache(walk, tokens, t, objective):
    """Logits (4, V) of position t, by a pass over source and what is written."""
    return by_one_pass(walk, tokens[:, : t + 1], objective)[:, t]


@pytest.mark.parametrize("objective", ["pseudo", "causal"])
def test_the_logits_of_each_step_are_those_of_one_training_pass_and_of_a_pass_without_cache(walk, objective):
    tokens = whole(V, 4, T, seed=5)
    with torch.inference_mode():
        decoder = StepDecoder(
            walk, walk.prefix(source(), LENGTHS), steps=T, objective=objective, mask_id=MASK
        )
        before = torch.cat([torch.full((4, 1), CLS), tokens[:, :-1]], 1)
        stepped = [decoder.step(before[:, t], t) for t in range(T)]
    torch.testing.assert_close(
        torch.stack(stepped, 1), by_one_pass(walk, tokens, objective), atol=5e-5, rtol=1e-4
    )
    for t in range(T):
        torch.testing.assert_close(
            stepped[t], without_cache(walk, tokens, t, objective), atol=5e-5, rtol=1e-4
        )


@pytest.mark.parametrize("objective", ["pseudo", "causal"])
def test_greedy_writes_the_likeliest_piece_that_a_pass_without_cache_gives(walk, objective):
    written = decoded(walk, DecodeOptions(), objective=objective)
    tokens = written.tokens[:, 0]
    for t in range(T):
        logits = without_cache(walk, tokens, t, objective)
        logits[:, [PAD, MASK]] = -torch.inf
        over = (tokens[:, :t] == END).any(1)
        assert torch.where(over, PAD, logits.argmax(-1)).tolist() == tokens[:, t].tolist()
        expected = torch.where(over, 0.0, logits.log_softmax(-1).amax(-1))
        torch.testing.assert_close(written.log_probs[:, 0, t], expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(),
        DecodeOptions(mode="beam", beams=3, samples=2),
        DecodeOptions(mode="sample", samples=3, temperature=1.5, top_p=0.95, seed=4),
    ],
    ids=lambda options: options.mode,
)
def test_what_is_written_depends_neither_on_the_batch_nor_on_its_order(walk, options):
    together = decoded(walk, options)
    for rows in ([3, 1, 0, 2], [2, 1], [0]):
        lengths, names = LENGTHS[rows], [list("abcd")[row] for row in rows]
        other = write(
            walk, source()[rows, : int(lengths.max())], lengths, options, ids=names, steps=T, mask_id=MASK,
            pad_id=PAD, start_id=CLS, end_id=END, blocked=(PAD, MASK),
        )  # fmt: skip
        assert other.tokens.tolist() == together.tokens[rows].tolist()
        torch.testing.assert_close(other.scores, together.scores[rows], atol=1e-4, rtol=1e-4)


def test_documents_that_end_leave_the_batch_and_nothing_changes(walk, monkeypatch):
    rows, step = [], StepDecoder.step
    ends = {11: 7, 4: 0, 7: 2, 9: 3}  # the step at which the source of that length is to end

    def counted(self, tokens, t):
        rows.append(len(tokens))
        logits = step(self, tokens, t)
        over = torch.tensor([t >= ends[int(length)] for length in self.prefix.lengths])
        logits[:, END] = torch.where(over, 1e4, -1e4)
        return logits

    monkeypatch.setattr(StepDecoder, "step", counted)
    leaving = decoded(walk, DecodeOptions())
    assert rows == [4, 3, 3, 2, 1, 1, 1, 1]
    monkeypatch.setattr("nonet.generation.search.LEAVE", 0.0)
    rows.clear()
    staying = decoded(walk, DecodeOptions())
    assert rows == [4] * 8
    assert leaving.tokens.tolist() == staying.tokens.tolist()
    assert [(row == END).nonzero()[0, 0].item() for row in leaving.tokens[:, 0]] == [7, 0, 2, 3]


def test_a_wide_beam_finds_the_likeliest_of_all_targets(walk):
    """Every target of one or two pieces that ends, each in a pass of its own row."""
    options = DecodeOptions(mode="beam", beams=1700)  # half of all pairs: none is dropped
    found = decoded(walk, options, rows=slice(0, 1), steps=2)
    pairs = torch.tensor([(piece, END) for piece in range(V) if piece not in (PAD, MASK, END)])
    N, two = len(pairs), torch.full((len(pairs),), 2)
    batch = {"source": source()[:1].expand(N, -1), "source_lengths": LENGTHS[:1].expand(N)}
    batch |= {"target": pairs, "target_lengths": two, "pseudo": torch.full_like(pairs, MASK)}
    with torch.no_grad():
        logits = walk.logits(target_features(walk, batch))
    logs = logits.index_fill(2, torch.tensor([PAD, MASK]), -torch.inf).log_softmax(-1)
    at_once = logs[0, 0, END].item()
    scores = logs.gather(2, pairs[:, :, None])[:, :, 0].sum(1) / 2
    best = [END, PAD] if at_once >= scores.max() else pairs[scores.argmax()].tolist()
    assert found.tokens[0, 0].tolist() == best
    assert found.scores[0, 0].item() == pytest.approx(max(at_once, scores.max().item()), abs=1e-4)


def test_neither_padding_nor_the_mask_is_written_and_a_long_output_is_cut(walk):
    written = decoded(walk, DecodeOptions(min_length=T))
    assert written.tokens.shape == (4, 1, T)
    assert not ((written.tokens == PAD) | (written.tokens == MASK)).any()
    assert (written.tokens[:, :, : T - 1] != END).all()


def test_no_run_of_pieces_is_written_twice_where_that_is_asked_for(walk):
    tokens = decoded(walk, DecodeOptions(no_repeat_ngram=1, min_length=T)).tokens[:, 0].tolist()
    assert all(len(set(row)) == len(row) for row in tokens)
