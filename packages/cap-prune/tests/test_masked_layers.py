"""Encoders with masks against their own weights, multiplied by masks that sorting gave."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

sys.path.insert(0, str(Path(__file__).parent / "support"))
from baked_copies import baked

from cap_prune.architectures import parts_of, units_of
from cap_prune.masked_layers import MaskedLinear, bake, cut_together, install, layers_of
from cap_prune.slimming import slim
from cap_prune.units import Units
from nonet.errors import UserError
from nonet.kernels.masked_linear import cut_largest
from nonet.testing import whole

SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MODELS = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SMALL, intermediate_size=24)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SMALL, intermediate_size=24)),
    "electra": lambda: ElectraForSequenceClassification(
        ElectraConfig(**SMALL, intermediate_size=24, embedding_size=16)
    ),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    ),
}


def new(kind="bert"):
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    with torch.no_grad():
        for parts in parts_of(model):
            for part in parts.matrices.values():
                part.weight.mul_(10)  # as large as trained ones, so that masks show
    return model


def sorted_mask(values, kept):
    """The largest values, of equal ones the first."""
    flat = values.detach().flatten().tolist()
    order = sorted(range(len(flat)), key=lambda place: (-flat[place], place))[:kept]
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[order] = True
    return mask.view(values.shape)


def logits(model):
    return model(input_ids=whole(39, 3, 7, seed=3) + 1).logits


@pytest.mark.parametrize("kind", MODELS)
def test_masks_that_keep_all_change_no_output_and_masks_equal_zeros(kind):
    model = new(kind)
    plain = logits(model)
    reference = copy.deepcopy(model)
    layers = install(model, learn=True, chosen=False)
    assert len(layers) == 12
    assert layers_of(model) == layers
    assert all(
        isinstance(part, MaskedLinear) for parts in parts_of(model) for part in parts.matrices.values()
    )
    assert torch.equal(logits(model), plain)
    linears = [part for parts in parts_of(reference) for part in parts.matrices.values()]
    for number, (layer, linear) in enumerate(zip(layers, linears, strict=True)):
        layer.scores.data.copy_(whole(5, *layer.scores.shape, seed=number))
        kept = 30 + number
        layer.keep(cut_largest(layer.values, kept))
        assert layer.kept == kept
        with torch.no_grad():
            linear.weight.mul_(sorted_mask(layer.scores, kept))
    torch.testing.assert_close(logits(model), logits(reference), rtol=0, atol=1e-6)
    assert (logits(model) - plain).abs().max() > 1e-3
    zeros = baked(model)
    assert torch.equal(logits(zeros), logits(model))
    assert [type(part) for parts in parts_of(zeros) for part in parts.matrices.values()] == [
        torch.nn.Linear
    ] * 12
    assert zeros.state_dict().keys() == reference.state_dict().keys()
    assert all(torch.equal(value, reference.state_dict()[name]) for name, value in zeros.state_dict().items())


def test_one_training_step_is_that_of_weights_times_masks_written_out():
    model, other = new().train(), new().train()
    for each in (model, other):
        for part in each.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
    layers = install(model, learn=True, chosen=False)
    linears = [part for parts in parts_of(other) for part in parts.matrices.values()]
    masked = []
    for number, (layer, linear) in enumerate(zip(layers, linears, strict=True)):
        layer.scores.data.copy_(whole(3, *layer.scores.shape, seed=number))
        kept = layer.weight.numel() // 3
        layer.keep(cut_largest(layer.values, kept))
        mask = sorted_mask(layer.scores, kept)
        value = (linear.weight.detach() * mask).requires_grad_()
        del linear.weight
        linear.weight = value  # a leaf beside the parameters: its gradient is dW'
        masked.append((mask, value))
    labels = torch.tensor([0, 1, 0])
    for each in (model, other):
        F.cross_entropy(logits(each), labels).backward()
    for layer, (mask, value) in zip(layers, masked, strict=True):
        torch.testing.assert_close(layer.weight.grad, value.grad * mask)
        torch.testing.assert_close(layer.scores.grad, value.grad * layer.weight.detach())
    assert sum(float(layer.scores.grad.abs().sum()) for layer in layers) > 0


def test_a_baked_folder_loads_as_an_ordinary_model(tmp_path):
    model = new()
    for layer in install(model, learn=False, chosen=False):
        layer.keep(cut_largest(layer.values, 20))
    wanted = logits(model)
    bake(model)
    model.save_pretrained(tmp_path)
    loaded = BertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded), wanted)
    assert all(
        int(part.weight.count_nonzero()) == 20
        for parts in parts_of(loaded)
        for part in parts.matrices.values()
    )


@pytest.mark.parametrize("chosen", [False, True])
def test_masks_are_part_of_the_state(chosen):
    model, other = new(), new()
    for layer in install(model, learn=True, chosen=chosen):
        layer.scores.data.copy_(whole(3, *layer.scores.shape))
        mask = sorted_mask(layer.scores, 11)
        layer.keep(mask if chosen else cut_largest(layer.values, 11))
        assert torch.equal(layer.mask, mask)
    install(other, learn=True, chosen=chosen)
    other.load_state_dict(model.state_dict())
    assert torch.equal(logits(other), logits(model))


def test_one_cut_over_all_layers_keeps_the_largest_of_all():
    layers = install(new(), learn=True, chosen=False)
    for number, layer in enumerate(layers):
        layer.scores.data.copy_(whole(4, *layer.scores.shape, seed=number))
    whole_mask = sorted_mask(torch.cat([layer.scores.flatten() for layer in layers]), 1001)
    for layer, cut in zip(layers, cut_together(layers, 1001), strict=True):
        layer.keep(cut)
    assert sum(layer.kept for layer in layers) == 1001
    assert torch.equal(torch.cat([layer.mask.flatten() for layer in layers]), whole_mask)


def test_a_slim_model_with_an_empty_layer_can_be_masked():
    model = new()
    live = units_of(model)
    slim(model, Units(((0,), ()), (tuple(range(9)), ()), live.all_heads, live.all_neurons))
    plain = logits(model)
    layers = install(model, learn=True, chosen=False)
    for layer in layers:
        layer.keep(cut_largest(layer.values, layer.weight.numel()))
    assert torch.equal(logits(model), plain)
    assert sorted({layer.weight.numel() for layer in layers}) == [0, 128, 144]
    logits(model).sum().backward()
    assert torch.equal(logits(baked(model)), plain)


def test_masks_upon_masks_and_unknown_models_are_refused():
    model = new()
    install(model, learn=False, chosen=False)
    with pytest.raises(ValueError, match="has masks already"):
        install(model, learn=False, chosen=False)
    with pytest.raises(UserError, match="a model of type Linear cannot be pruned; supported: bert"):
        install(torch.nn.Linear(2, 2), learn=False, chosen=False)
