"""Importance of heads and neurons against finite differences and plain loops."""

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from cap_prune.architectures import parts_of, units_of
from cap_prune.criteria import CRITERIA
from cap_prune.gates import Gates
from cap_prune.selection import choose
from cap_prune.slimming import slim
from nonet.testing import whole


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=12
    )
    return BertForSequenceClassification(config).double().train()


def batches():
    ids, labels = whole(49, 6, 5) + 1, whole(2, 6, seed=1)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    return [
        {"input_ids": ids[rows], "attention_mask": mask[rows], "labels": labels[rows]}
        for rows in (slice(0, 3), slice(3, 6))
    ]


def loss_of(model):
    def loss(batch, number):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return F.cross_entropy(logits, batch["labels"]) * (number + 1)

    return loss


def test_first_order_scores_are_the_slopes_at_the_gates(model):
    scores = CRITERIA["first-order"](model, batches(), loss_of(model))
    model.eval()
    loss = loss_of(model)

    def slopes(kind, layer, unit):
        found = []
        for number, batch in enumerate(batches()):
            ends = []
            for step in (1e-3, -1e-3):
                with Gates(model) as gates, torch.no_grad():
                    getattr(gates, kind)[layer][unit] += step
                    ends.append(loss(batch, number).item())
            found.append((ends[0] - ends[1]) / 2e-3)
        return found

    for kind, units in (("heads", range(4)), ("neurons", (0, 11))):
        for layer in range(2):
            for unit in units:
                expected = sum(map(abs, slopes(kind, layer, unit)))  # of each batch, then added
                assert getattr(scores, kind)[layer][unit].item() == pytest.approx(
                    expected, rel=0.01, abs=1e-9
                )


def test_first_order_leaves_the_model_as_it_was(model):
    model.bert.embeddings.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = [weight.requires_grad for weight in model.parameters()]
    CRITERIA["first-order"](model, batches(), loss_of(model))
    assert model.training
    assert [weight.requires_grad for weight in model.parameters()] == wanted
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part.output._forward_pre_hooks for part in parts_of(model))


def test_a_loss_that_fails_leaves_the_model_as_it_was_too(model):
    def broken(batch, number):
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        CRITERIA["first-order"](model, batches(), broken)
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())


def test_magnitude_is_the_norm_of_what_a_unit_writes(model):
    scores = CRITERIA["magnitude"](model, [], loss_of(model))
    layer = model.bert.encoder.layer[1]
    wide = layer.attention.output.dense.weight
    heads = [wide[:, 4 * head : 4 * head + 4].norm().item() for head in range(4)]
    neurons = [layer.output.dense.weight[:, unit].norm().item() for unit in range(12)]
    assert scores.heads[1].tolist() == pytest.approx(heads, rel=1e-6)
    assert scores.neurons[1].tolist() == pytest.approx(neurons, rel=1e-6)


def test_wanda_multiplies_by_the_inputs_norm_over_all_pieces_but_padding(model):
    scores = CRITERIA["wanda"](model, batches(), loss_of(model))
    assert model.training
    model.eval()
    layer = model.bert.encoder.layer[0]
    pieces = {"attention": [], "output": []}
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: pieces[name].append(inputs[0].detach()))
        for name, module in (("attention", layer.attention.output.dense), ("output", layer.output.dense))
    ]
    masks = []
    for batch in batches():
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        masks.append(batch["attention_mask"].bool())
    for hook in hooks:
        hook.remove()
    rows = {
        name: torch.cat([part[mask] for part, mask in zip(parts, masks, strict=True)])
        for name, parts in pieces.items()
    }
    assert len(rows["output"]) == 28  # 30 pieces, two of them padding
    columns = rows["output"].norm(dim=0) * layer.output.dense.weight.norm(dim=0)
    assert scores.neurons[0].tolist() == pytest.approx(columns.tolist(), rel=1e-5)
    columns = rows["attention"].norm(dim=0) * layer.attention.output.dense.weight.norm(dim=0)
    assert scores.heads[0].tolist() == pytest.approx(columns.view(4, 4).norm(dim=1).tolist(), rel=1e-5)


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_goes_on_from_a_slim_model_even_with_an_empty_layer(model, name):
    score = CRITERIA[name]
    units = choose(score(model, batches(), loss_of(model)), units_of(model), 40)
    units = type(units)(units.heads, ((), units.neurons[1]), 4, 12)
    slim(model, units)
    again = score(model, batches(), loss_of(model))
    assert [len(each) for each in again.heads] == [len(each) for each in units.heads]
    assert [len(each) for each in again.neurons] == [0, len(units.neurons[1])]
    assert units.holds(choose(again, units_of(model), 75))


def test_chance_is_the_same_for_a_model_and_another_for_other_weights(model):
    first, second = (CRITERIA["random"](model, [], loss_of(model)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.neurons, second.neurons, strict=True))
    assert not torch.equal(first.heads[0], first.heads[1])
    torch.nn.init.constant_(model.classifier.bias, 1.0)
    assert not torch.equal(first.heads[0], CRITERIA["random"](model, [], loss_of(model)).heads[0])
