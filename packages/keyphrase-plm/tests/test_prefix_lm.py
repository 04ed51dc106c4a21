"""The S | Y | Z pass against transformers' own forward, the definition of the mask, and itself."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from keyphrase_plm.prefix_lm import (
    additive,
    label_information,
    own_mask,
    prefix_loss,
    pseudo_targets,
    segment_mask,
    shifted,
    smoothed_kl,
    target_features,
    target_positions,
)
from keyphrase_plm.prefix_scoring import row_log_probs
from keyphrase_plm.prefix_walk import Walk, joint_attention
from nonet.errors import UserError
from nonet.testing import normal, whole

V, MASK, PAD = 97, 4, 1
SHAPE = dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48)
KINDS = {
    "bert": (BertForMaskedLM, BertConfig(**SHAPE, max_position_embeddings=64, pad_token_id=PAD)),
    "roberta": (
        RobertaForMaskedLM,
        RobertaConfig(**SHAPE, max_position_embeddings=66, pad_token_id=PAD, type_vocab_size=1),
    ),
    "electra": (
        ElectraForMaskedLM,
        ElectraConfig(**SHAPE, embedding_size=16, max_position_embeddings=64, pad_token_id=PAD),
    ),
}


def masked_model(kind, attention="sdpa"):
    build, config = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build._from_config(config, attn_implementation=attention).eval()
        with torch.no_grad():
            for each in model.parameters():
                each.add_(torch.randn(each.shape) * 0.1)
    return model


@pytest.fixture(params=KINDS)
def model(request):
    return masked_model(request.param)


def batch():
    lengths, targets = torch.tensor([9, 4, 6]), torch.tensor([5, 2, 1])
    source, target = whole(V, 3, 9, seed=1), whole(V, 3, 5, seed=2)
    pseudo = torch.where(whole(10, 3, 5, seed=3) < 8, MASK, whole(V, 3, 5, seed=4))
    return {
        "source": source, "source_lengths": lengths,
        "target": target, "target_lengths": targets, "pseudo": pseudo,
    }  # fmt: skip


def by_transformers(model, batch, **changed):
    """Logits of all of S | Y | Z by the model's public forward with the whole mask."""
    batch = batch | changed
    (_, S), (_, T) = batch["source"].shape, batch["target"].shape
    lengths = batch["source_lengths"]
    behind = target_positions(lengths, T)
    front = torch.where(torch.arange(S) < lengths[:, None], torch.arange(S), 0)
    first = 2 if isinstance(model, RobertaForMaskedLM) else 0
    types = torch.zeros(3, S + 2 * T, dtype=torch.int64)
    if not isinstance(model, RobertaForMaskedLM):
        types[:, S:] = 1
    with torch.no_grad():
        return model(
            input_ids=torch.cat([batch["source"], batch["target"], batch["pseudo"]], 1),
            position_ids=torch.cat([front, behind, behind], 1) + first,
            token_type_ids=types,
            attention_mask=additive(segment_mask(lengths, batch["target_lengths"], S, T)),
        ).logits


def test_the_mask_is_the_definition_entry_by_entry():
    lengths, targets, S, T = torch.tensor([3, 2]), torch.tensor([2, 3]), 3, 3
    found = segment_mask(lengths, targets, S, T)

    def sees(b, query, key):
        n, m = int(lengths[b]), int(targets[b])
        kinds = ["S"] * S + ["Y"] * T + ["Z"] * T
        place = [*range(S), *range(T), *range(T)]
        if place[key] >= (n if kinds[key] == "S" else m):
            return False
        return {
            "SS": True, "YS": True, "ZS": True,
            "YY": place[key] <= place[query],
            "ZY": place[key] < place[query],
            "ZZ": place[key] == place[query],
        }.get(kinds[query] + kinds[key], False)  # fmt: skip

    for b in range(2):
        for query in range(S + 2 * T):
            for key in range(S + 2 * T):
                assert bool(found[b, query, key]) == sees(b, query, key), (b, query, key)


def test_one_prefix_pass_and_one_target_pass_equal_transformers_forward_over_all_three_segments(model):
    data = batch()
    whole_pass = by_transformers(model, data)[:, -5:]
    with torch.no_grad():
        walk = Walk(model)
        ours = walk.logits(target_features(walk, data))
    real = torch.arange(5) < data["target_lengths"][:, None]
    torch.testing.assert_close(ours[real], whole_pass[real], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_eager_and_sdpa_agree_on_the_additive_mask(kind):
    data = batch()
    eager, sdpa = (by_transformers(masked_model(kind, attention), data) for attention in ("eager", "sdpa"))
    torch.testing.assert_close(eager, sdpa, atol=2e-5, rtol=1e-4)


def test_another_target_piece_changes_only_what_comes_behind_it(model):
    data = batch()
    before = by_transformers(model, data)[0]
    for j in range(5):
        target = data["target"].clone()
        target[0, j] = (target[0, j] + 1) % V
        changed = ((by_transformers(model, data, target=target)[0] - before).abs().amax(-1) > 1e-6).tolist()
        assert changed == [False] * 9 + [i >= j for i in range(5)] + [i > j for i in range(5)]


def test_another_pseudo_piece_changes_itself_alone(model):
    data = batch()
    before = by_transformers(model, data)[0]
    for j in range(5):
        pseudo = data["pseudo"].clone()
        pseudo[0, j] = (pseudo[0, j] + 1) % V
        changed = ((by_transformers(model, data, pseudo=pseudo)[0] - before).abs().amax(-1) > 1e-6).tolist()
        assert changed == [False] * 9 + [False] * 5 + [i == j for i in range(5)]


def test_padding_changes_nothing(model):
    data = batch()
    walk = Walk(model)
    with torch.no_grad():
        together = target_features(walk, data)
        for b, (n, m) in enumerate(zip(data["source_lengths"], data["target_lengths"], strict=True)):
            alone = {name: value[b : b + 1] for name, value in data.items()}
            alone |= {"source": alone["source"][:, :n]}
            alone |= {name: alone[name][:, :m] for name in ("target", "pseudo")}
            torch.testing.assert_close(target_features(walk, alone)[0], together[b, :m], atol=2e-5, rtol=1e-4)


def test_pseudo_pieces_stay_change_or_are_masked_in_the_given_shares_and_by_the_generator_alone():
    target = np.full(60_000, 7, dtype=np.int32)
    draws = [
        pseudo_targets(target, np.random.default_rng(seed), mask_id=MASK, vocabulary=1000)
        for seed in (3, 3, 4)
    ]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()
    kept, masked = np.mean(draws[0] == 7), np.mean(draws[0] == MASK)
    assert kept == pytest.approx(0.1001, abs=0.005)
    assert masked == pytest.approx(0.8001, abs=0.006)
    random = draws[0][(draws[0] != 7) & (draws[0] != MASK)]
    assert (random.min(), random.max()) == (0, 999)
    assert draws[0].dtype == np.int32


def test_the_loss_is_the_divergence_from_the_smoothed_label_written_out():
    features, weight, bias = normal(6, 8), normal(V, 8, seed=1), normal(V, seed=2)
    labels = torch.tensor([5, 0, 96, 7, 7, 30])
    q = torch.full((6, V), 0.1 / (V - 2))
    q[:, PAD] = 0
    q[torch.arange(6), labels] = 0.9
    torch.testing.assert_close(q.sum(1), torch.ones(6))
    parts = [part.clone().requires_grad_() for part in (features, weight, bias)]
    log_p = F.linear(parts[0], parts[1], parts[2]).log_softmax(-1)
    expected = F.kl_div(log_p, q, reduction="sum")
    expected.backward()
    ours = [part.clone().requires_grad_() for part in (features, weight, bias)]
    found = smoothed_kl(ours[0], ours[1], labels, bias=ours[2], pad_id=PAD, smoothing=0.1)
    found.backward()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)
    for ours_, theirs in zip(ours, parts, strict=True):
        torch.testing.assert_close(ours_.grad, theirs.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_divergence_less_the_smoothed_cross_entropy_is_a_constant(seed):
    features, weight, bias = normal(4, 8, seed=seed), normal(V, 8, seed=seed + 9), normal(V, seed=seed + 20)
    labels = whole(V, 4, seed=seed) % 90 + 5
    log_p = F.linear(features, weight, bias).log_softmax(-1)
    share = 0.1 / (V - 2)
    others = log_p.sum(1) - log_p[:, PAD] - log_p.gather(1, labels[:, None])[:, 0]
    cross_entropy = -(0.9 * log_p.gather(1, labels[:, None])[:, 0] + share * others).sum()
    found = smoothed_kl(features, weight, labels, bias=bias, pad_id=PAD, smoothing=0.1) - cross_entropy
    assert found.item() == pytest.approx(4 * label_information(V, 0.1), abs=1e-3)
    assert label_information(30_522, 0.1) == pytest.approx(-1.356, abs=5e-3)
    assert label_information(V, 0.0) == 0.0


def test_without_smoothing_the_loss_is_cross_entropy_over_real_target_pieces(model):
    data, walk = batch(), Walk(model)
    total, count = prefix_loss(walk, data, pad_id=PAD, smoothing=0.0)
    logits = by_transformers(model, data)[:, -5:]
    real = torch.arange(5) < data["target_lengths"][:, None]
    expected = F.cross_entropy(logits[real], data["target"][real], reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert count.item() == 8


def test_in_bfloat16_the_loss_is_nearly_that_of_float32(model):
    walk = Walk(model)
    total, _ = prefix_loss(walk, batch(), pad_id=PAD)
    with torch.autocast("cpu", torch.bfloat16):
        short, _ = prefix_loss(walk, batch(), pad_id=PAD)
    short.backward()
    assert short.item() == pytest.approx(total.item(), rel=0.03)
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())


def test_the_loss_falls_to_every_weight_that_a_prediction_needs(model):
    walk = Walk(model)
    total, count = prefix_loss(walk, batch(), pad_id=PAD)
    (total / count).backward()
    idle = {name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()}
    assert idle == set() or all("key.bias" in name for name in idle), (
        idle
    )  # adding to all keys changes nothing


def test_all_rows_of_a_document_are_scored_in_one_pass_as_by_transformers(model):
    data, walk = batch(), Walk(model)
    rows = whole(V, 6, 5, seed=8)  # two for each document
    with torch.no_grad():
        prefix = walk.prefix(data["source"], data["source_lengths"])
        found = row_log_probs(walk, prefix, rows, mask_id=MASK, chunk=7)
        for pick in (0, 1):
            full = torch.full((3,), 5)
            logits = by_transformers(
                model, data, target=rows[pick::2], target_lengths=full, pseudo=torch.full((3, 5), MASK)
            )[:, -5:]
            expected = logits.log_softmax(-1).gather(2, rows[pick::2, :, None])[:, :, 0]
            torch.testing.assert_close(found[pick::2], expected, atol=5e-5, rtol=1e-4)


def test_the_causal_objective_is_a_left_to_right_model_behind_the_source(model):
    data, walk = batch(), Walk(model)
    data["target_lengths"] = torch.full((3,), 5)
    rows = data["target"]
    with torch.no_grad():
        logits = walk.logits(target_features(walk, data, "causal", start_id=2))
        prefix = walk.prefix(data["source"], data["source_lengths"])
        scored = row_log_probs(walk, prefix, rows, "causal", mask_id=MASK, start_id=2)
        expected = logits.log_softmax(-1).gather(2, rows[:, :, None])[:, :, 0]
        changed = dict(data, target=torch.cat([rows[:, :2], (rows[:, 2:] + 1) % V], 1))
        other = walk.logits(target_features(walk, changed, "causal", start_id=2))
    torch.testing.assert_close(scored, expected, atol=5e-5, rtol=1e-4)
    same = ((logits - other).abs().amax(-1) < 1e-6)[0].tolist()
    assert same == [True, True, True, False, False]
    assert shifted(torch.tensor([[5, 6, 7]]), 2).tolist() == [[2, 5, 6]]


def test_attention_that_shares_a_source_equals_attention_to_a_copy_of_it():
    B, M, H, Q, S, d = 2, 3, 2, 4, 5, 8
    query, keys, values = normal(B * M, H, Q, d), normal(B, H, S, d, seed=1), normal(B, H, S, d, seed=2)
    own_keys, own_values = normal(B * M, H, Q, d, seed=3), normal(B * M, H, Q, d, seed=4)
    real = torch.arange(S) < torch.tensor([[5], [2]])
    own = own_mask(2)
    found = joint_attention(query, keys, values, real, own_keys, own_values, own)
    copied = [part.repeat_interleave(M, 0) for part in (keys, values, real)]
    allowed = torch.cat([copied[2][:, None].expand(-1, Q, -1), own.expand(B * M, -1, -1)], 2)
    expected = F.scaled_dot_product_attention(
        query, torch.cat([copied[0], own_keys], 2), torch.cat([copied[1], own_values], 2),
        attn_mask=allowed[:, None], scale=1.0,
    )  # fmt: skip
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_model_of_another_build_and_a_type_that_is_not_there_are_refused():
    other = DistilBertForMaskedLM(DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=8))
    with pytest.raises(UserError, match="type 'distilbert' is not built like BERT"):
        Walk(other)
    with pytest.raises(UserError, match="target_type 1, but the model has 1 token types"):
        Walk(masked_model("roberta"), target_type=1)


def test_the_positions_that_a_model_has_are_counted_from_its_first_one():
    assert {kind: Walk(masked_model(kind)).longest for kind in KINDS} == {
        "bert": 64, "roberta": 64, "electra": 64
    }  # fmt: skip
    assert math.isfinite(additive(torch.zeros(1, 1, 1, dtype=torch.bool)).item())
