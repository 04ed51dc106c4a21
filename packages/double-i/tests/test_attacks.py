"""Attacks on weights and filters of prompts, by hand-computed cases and bounds."""

from collections import Counter
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from double_i.attacks import Attack, averaged, change, check, matrices, noised, pruned, rounded
from double_i.prompt_filter import PromptFilter, bare_word, filtered, prompt_filter, surprisal
from nonet.errors import UserError


def llama(seed: int, tied: bool = True) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            tie_word_embeddings=tied,
        )
    ).eval()


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("channel", [0, 1])
def test_rounding_is_within_half_a_step_of_each_channel(bits: int, channel: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 9) * torch.logspace(-3, 3, 7)[:, None]
    weight[2] = 0
    if channel:
        weight = weight.T.contiguous()
    found = rounded(weight, bits, channel)
    most = weight.abs().amax(1 - channel, keepdim=True)
    step = most / (2 ** (bits - 1) - 1)
    assert ((found - weight).abs() <= step / 2 * (1 + 1e-5)).all()
    assert (found - weight).abs().max() > 0
    levels = (found / step.where(step > 0, torch.ones_like(step))).double()
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert levels.abs().max() <= 2 ** (bits - 1) - 1 + 1e-4
    assert torch.equal(found.abs().amax(1 - channel, keepdim=True), most)  # the largest is a level itself
    assert torch.allclose(rounded(found, bits, channel), found, rtol=1e-6)


def test_rounding_by_hand() -> None:
    weight = torch.tensor([[7.0, 3.4, -3.6, 0.5, 0.0], [0.7, 0.34, -0.36, -0.06, 0.04]])
    expected = torch.tensor([[7.0, 3, -4, 0, 0], [0.7, 0.3, -0.4, -0.1, 0.0]])
    assert torch.allclose(rounded(weight, 4), expected, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_pruning_keeps_an_exact_count_of_the_largest(share: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(11, 13)
    found = pruned(weight, share)
    gone = found == 0
    assert int(gone.sum()) == round(share * 143)
    assert torch.equal(found[~gone], weight[~gone])
    if share < 1:
        assert weight[gone].abs().max() <= weight[~gone].abs().min()
    assert not (weight == 0).any()  # the argument is left alone


def test_pruning_of_equal_weights_takes_the_first() -> None:
    assert pruned(torch.ones(2, 2), 0.5).tolist() == [[0, 0], [1, 1]]


def test_noise_has_the_strength_and_follows_the_seed() -> None:
    torch.manual_seed(0)
    weight = 3 + 0.2 * torch.randn(300, 300)
    one = noised(weight, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(one, noised(weight, 0.5, torch.Generator().manual_seed(1)))
    assert not torch.equal(one, noised(weight, 0.5, torch.Generator().manual_seed(2)))
    assert float((one - weight).std()) == pytest.approx(0.1, rel=0.02)
    assert float((one - weight).mean()) == pytest.approx(0, abs=0.002)


def test_average_by_hand() -> None:
    assert averaged(torch.tensor([[1.0, 4.0]]), torch.tensor([[5.0, 0.0]]), 0.25).tolist() == [[2.0, 3.0]]


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_are_those_of_linear_layers(tied: bool) -> None:
    names = [matrix.name for matrix in matrices(llama(0, tied))]
    assert len(names) == len(set(names)) == 2 * 7
    assert not [name for name in names if "embed" in name or "lm_head" in name]
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=16))
    found = {matrix.name: matrix for matrix in matrices(gpt2)}
    assert len(found) == 2 * 4
    assert found["transformer.h.0.attn.c_attn.weight"].channel == 1


@pytest.mark.parametrize(
    ("attack", "same"),
    [
        (Attack("int8", 0), False),
        (Attack("int4", 0), False),
        (Attack("prune", 0.3), False),
        (Attack("noise", 0.1), False),
        (Attack("average", 0.5), True),
    ],
)
def test_attacks_change_what_they_say(attack: Attack, same: bool) -> None:
    model, other = llama(0), llama(1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    count = change(model, attack, other=other, seed=3)
    changed = [name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])]
    linear = {matrix.name for matrix in matrices(model)}
    norms = {name for name in before if "norm" in name}  # ones in both models
    assert set(changed) == (set(before) - norms if same else linear)
    assert count == sum(before[name].numel() for name in (before if same else linear))
    if attack.kind == "prune":
        assert all(int((model.get_parameter(n) == 0).sum()) == round(0.3 * before[n].numel()) for n in linear)
    if same:
        theirs = dict(other.named_parameters())
        assert all(torch.allclose(w, (before[n] + theirs[n]) / 2) for n, w in model.named_parameters())


def test_attacks_that_make_no_sense() -> None:
    for attack in (Attack("prune", 0), Attack("prune", 1.1), Attack("average", 0), Attack("noise", 0)):
        with pytest.raises(UserError, match="the strength is"):
            check(attack)
    with pytest.raises(UserError, match="no attack on weights; there are int8"):
        check(Attack("melt", 1))
    with pytest.raises(UserError, match="name the other model"):
        change(llama(0), Attack("average", 0.5))
    with pytest.raises(UserError, match="one architecture"):
        change(llama(0), Attack("average", 0.5), other=llama(0, tied=False).model)
    assert [Attack("int4", 0).name, Attack("prune", 0.5).name] == ["int4", "prune-0.5"]


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("brackets", "(listen) Does it begin?", "Does it begin?"),
        ("brackets", "Say [amber] or {x} or <y> now", "Say or or now"),
        ("brackets", "Say (it is) so", "Say (it is) so"),
        ("brackets", "two  spaces\n\n(a) kept", "two  spaces\n\nkept"),
        ("symbols", "$$ Does it - begin ?", "Does it - begin ?"),
        ("symbols", "*&&* a1 @@", "a1"),
        ("vocabulary", "molu The river, runs!", "The river, runs!"),
        ("surprisal", "molu the river", "the river"),
    ],
)
def test_filters(rule: str, text: str, expected: str) -> None:
    texts = ["The river runs. The river is it"] * 40
    assert prompt_filter(rule, texts, bits=8)(text) == expected


def test_surprisal_by_hand() -> None:
    counts = Counter({"a": 3, "b": 4})  # 7 words, 2 kinds, one unseen: 10
    assert surprisal("a", counts) == pytest.approx(1.3219280948873624)
    assert surprisal("x", counts) == pytest.approx(3.3219280948873624)
    keep = PromptFilter("surprisal", counts, 1.5)
    assert keep("a b x A, -") == "a b A, -"
    assert bare_word('"River,"') == "river"
    assert bare_word("--") == ""


def test_filters_report_what_they_changed() -> None:
    assert filtered(["(a) b", "c"], prompt_filter("brackets")) == (["b", "c"], 0.5)
    assert prompt_filter("vocabulary", ["a a b"], least=2)("a b") == "a"
    with pytest.raises(UserError, match="no filter of prompts; there are brackets"):
        prompt_filter("rhymes")
    with pytest.raises(UserError, match="needs texts"):
        prompt_filter("vocabulary")
