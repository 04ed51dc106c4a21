"""The loss: transformers' own value and gradients, whatever sits on the output layer."""

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from double_i.adapters import add_lora
from double_i.data import Encoded, collate
from double_i.module import AnswerLoss
from double_i.tune_options import LoraOptions
from nonet.testing import one_thread


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def rows(vocabulary=400, count=5, seed=0):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(4, 15, count)
    return [
        Encoded(draw.integers(3, vocabulary, n).astype(np.int32), int(draw.integers(0, n - 1)), i)
        for i, n in enumerate(sizes)
    ]


def gpt2():
    config = GPT2Config(vocab_size=97, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    return GPT2LMHeadModel(config)


def gemma():
    """Squashes its logits, so that they are not states times the output layer."""
    config = Gemma2Config(
        vocab_size=97, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, final_logit_softcapping=0.05,
    )  # fmt: skip
    return Gemma2ForCausalLM(config)


def check(model, batch, by_states):
    loss = AnswerLoss(model)
    assert loss.by_states is by_states
    total, count = loss(batch)
    mine = total / count
    mine.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}
    model.zero_grad()
    own = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]
    ).loss
    own.backward()
    assert mine.item() == pytest.approx(own.item(), rel=1e-5)
    assert found
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_s_loss_and_gradients_are_transformers_own(tiny_model, tied):
    check(tiny_model(tied=tied), collate(rows(), pad=0), True)


def test_other_families_have_it_too():
    torch.manual_seed(0)
    check(gpt2(), collate(rows(97), pad=0), True)


def test_a_model_that_squashes_its_logits_is_noticed():
    torch.manual_seed(0)
    check(gemma().train(), collate(rows(97), pad=0), False)


def test_adapters_inside_and_on_the_output_layer(tiny_model):
    for targets in (("all-linear",), ("lm_head", "q_proj")):
        model = add_lora(tiny_model(tied=False), LoraOptions(rank=2, dropout=0, targets=targets))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1)
        check(model, collate(rows(), pad=0), True)


def test_output_logits_are_made_for_trained_tokens_alone(tiny_model, monkeypatch):
    from double_i import module

    seen = []
    inner = module.linear_cross_entropy

    def spy(states, weight, labels, **more):
        seen.append(tuple(states.shape))
        return inner(states, weight, labels, **more)

    monkeypatch.setattr(module, "linear_cross_entropy", spy)
    batch = collate(rows(), pad=0)
    _, count = AnswerLoss(tiny_model())(batch)
    assert seen == [(int(count), 32)]
    assert int(count) == sum(len(row.ids) - max(row.start, 1) for row in rows())


def test_a_batch_without_trained_tokens_is_zero(tiny_model):
    batch = collate(rows(), pad=0)
    batch["labels"].fill_(-100)
    total, count = AnswerLoss(tiny_model())(batch)
    assert total.item() == 0
    assert int(count) == 0


def test_padding_and_company_do_not_change_a_row_s_loss(tiny_model):
    loss, some = AnswerLoss(tiny_model()), rows()
    with torch.no_grad():
        apart = [loss(collate([row], pad=0)) for row in some]
        together = loss(collate(some, pad=7))
    assert sum(float(total) for total, _ in apart) == pytest.approx(float(together[0]), rel=1e-5)
    assert sum(int(count) for _, count in apart) == int(together[1])
