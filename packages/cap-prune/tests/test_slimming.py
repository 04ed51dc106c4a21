"""Taking heads and neurons out, against gates, hand-zeroed weights and arithmetic, for all architectures."""

import sys
from pathlib import Path

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent / "support"))
from tiny_encoders import HEADS, KINDS, LAYERS, NEURONS, PRUNED, SIZE, numbers, texts, tiny

from cap_prune.architectures import NAMES, model_type, parts_of, units_of
from cap_prune.gates import Gates
from cap_prune.slimming import slim
from cap_prune.units import Units
from nonet.errors import UserError


def zeroed(model, keep):
    """The model with the weights around every removed unit set to zero by hand."""
    for layer, parts in enumerate(parts_of(model)):
        for head in set(range(HEADS)) - set(keep.heads[layer]):
            parts.attention_output.weight.data[:, head * SIZE : (head + 1) * SIZE] = 0
        for neuron in set(range(NEURONS)) - set(keep.neurons[layer]):
            parts.output.weight.data[:, neuron] = 0
    return model


@pytest.mark.parametrize("kind", NAMES)
def test_every_architecture_has_its_six_matrices_where_they_are_named(kind):
    model = tiny(kind)
    hidden, parts = HEADS * SIZE, parts_of(model)
    assert len(parts) == LAYERS
    for each in parts:
        shapes = {name: tuple(part.weight.shape) for name, part in each.matrices.items()}
        assert shapes == {
            "query": (hidden, hidden), "key": (hidden, hidden), "value": (hidden, hidden),
            "attention_output": (hidden, hidden), "intermediate": (NEURONS, hidden),
            "output": (hidden, NEURONS),
        }  # fmt: skip
        assert each.head_size == SIZE
    assert units_of(model) == Units.full(LAYERS, HEADS, NEURONS)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("head", KINDS)
def test_slim_equals_gates_equals_zeros_also_without_heads_or_neurons_in_a_layer(kind, head):
    model = tiny(kind, head)
    before = numbers(model)
    with Gates(model, PRUNED):
        gated = numbers(model)
    by_hand = numbers(zeroed(tiny(kind, head), PRUNED))
    slim(model, PRUNED)
    assert (gated - before).abs().max() > 0.01, "the removed units matter"
    assert (gated - by_hand).abs().max() <= 1e-5
    assert (gated - numbers(model)).abs().max() <= 1e-5


def test_gates_of_one_change_nothing_and_leave_nothing_behind():
    model = tiny("bert")
    before = numbers(model)
    with Gates(model) as gates:
        assert torch.equal(numbers(model), before)
        logits = model(**texts()).logits
    grads = torch.autograd.grad(logits.sum(), [*gates.heads, *gates.neurons])
    assert [each.shape[0] for each in grads] == [HEADS] * LAYERS + [NEURONS] * LAYERS
    assert torch.equal(numbers(model), before)
    assert not any(part._forward_pre_hooks for each in parts_of(model) for part in each.matrices.values())


def test_gates_of_a_slim_model_belong_to_what_is_left():
    model = tiny("bert")
    slim(model, PRUNED)
    keep = Units(((2,), (), (1,)), ((5, 19), (), ()), HEADS, NEURONS)
    with Gates(model, keep) as gates:
        gated = numbers(model)
    assert [len(each) for each in gates.heads] == [3, 0, 1]
    assert gates.neurons[0].tolist() == [0, 1, 0, 1]
    assert (gated - numbers(zeroed(tiny("bert"), keep))).abs().max() <= 1e-5


def test_a_slim_model_is_slimmed_on_by_the_numbers_of_the_dense_one():
    further = Units(((2,), (), (1,)), ((5, 19), (), ()), HEADS, NEURONS)
    twice, once = tiny("roberta"), tiny("roberta")
    slim(twice, PRUNED)
    slim(twice, further)
    slim(once, further)
    assert units_of(twice) == further
    assert all(torch.equal(a, b) for a, b in zip(twice.parameters(), once.parameters(), strict=True))
    with pytest.raises(ValueError, match="that the model does not have"):
        slim(twice, PRUNED)


@pytest.mark.parametrize("kind", NAMES)
def test_parameters_left_are_those_of_the_formula(kind):
    model = tiny(kind)
    slim(model, PRUNED)
    hidden = HEADS * SIZE
    want = sum(
        4 * heads * SIZE * hidden + 3 * SIZE * heads + hidden  # attention
        + 2 * hidden * neurons + neurons + hidden  # feed-forward
        + 4 * hidden  # LayerNorms
        for heads, neurons in ((3, 4), (0, 1), (1, 0))
    )  # fmt: skip
    layers = model.base_model.get_submodule(NAMES[kind].layers)
    assert sum(each.numel() for each in layers.parameters()) == want


def test_the_encoder_of_bert_base_has_85_054_464_parameters():
    with torch.device("meta"):
        model = transformers.BertModel(transformers.BertConfig())
    assert sum(each.numel() for each in model.encoder.parameters()) == 85_054_464
    keep = Units.full(12, 12, 3072)
    keep = Units(tuple(each[:1] for each in keep.heads), tuple(each[:307] for each in keep.neurons), 12, 3072)
    slim(model, keep)
    per_layer = 4 * 64 * 768 + 3 * 64 + 768 + 2 * 768 * 307 + 307 + 768 + 4 * 768
    assert sum(each.numel() for each in model.encoder.parameters()) == 12 * per_layer


def test_a_slim_model_trains_as_the_gated_one_does():
    gated, small = tiny("bert"), tiny("bert")
    slim(small, PRUNED)
    with Gates(gated, PRUNED):
        gated(**texts(), labels=torch.tensor([0, 1])).loss.backward()
    small(**texts(), labels=torch.tensor([0, 1])).loss.backward()
    whole = parts_of(gated)[0].output.weight.grad
    assert torch.allclose(parts_of(small)[0].output.weight.grad, whole[:, [0, 5, 6, 19]], atol=1e-6)
    assert not whole[:, 1:5].any(), "a gate of 0 lets no gradient through"
    norms = [
        torch.nn.utils.clip_grad_norm_([each for each in model.parameters() if each.grad is not None], 1e9)
        for model in (gated, small)
    ]
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-5)


def test_models_of_one_config_do_not_share_what_is_left():
    config = tiny("bert").config
    one, other = (transformers.BertForSequenceClassification(config).eval() for _ in range(2))
    slim(one, PRUNED)
    assert units_of(other).whole
    assert units_of(one) == PRUNED
    assert other.config.model_type == "bert"


def test_an_unsupported_architecture_is_refused_with_the_list_of_supported_ones():
    config = transformers.AlbertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20
    )
    with pytest.raises(UserError, match="type albert cannot be pruned; supported: bert, roberta, ele"):
        parts_of(transformers.AlbertModel(config))
    with pytest.raises(UserError, match="type Linear cannot be pruned"):
        model_type(torch.nn.Linear(1, 1))


def test_a_head_that_no_slim_class_has_is_refused():
    model = transformers.BertForMaskedLM(tiny("bert").config)
    with pytest.raises(UserError, match="BertForMaskedLM cannot be pruned; load bert without head"):
        slim(model, PRUNED)
