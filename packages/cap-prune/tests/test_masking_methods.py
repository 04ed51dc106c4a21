"""What movement, soft movement, magnitude and wanda keep, against loops and hand computations."""

import math

import pytest
import torch

from cap_prune import toy
from cap_prune.magnitude_masks import Magnitude
from cap_prune.masked_layers import MaskedLinear, install, layers_of
from cap_prune.movement import Movement
from cap_prune.patterns import Blocks, Neighbours
from cap_prune.soft_movement import SoftMovement
from cap_prune.wanda_masks import Wanda, input_norms
from nonet.testing import normal, whole


def layer(weight, *, learn=False, chosen=False):
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data.copy_(weight)
    return MaskedLinear(linear, learn=learn, chosen=chosen)


def model_with(method, seed=0):
    model = toy.new_bert(layers=2, width=16, heads=2, neurons=24, seed=seed)
    return model, install(model, learn=method.learns, chosen=method.chosen)


def batches(count=2):
    for number in range(count):
        ids, mask = whole(9, 3, 6, seed=number) + 5, torch.ones(3, 6, dtype=torch.int64)
        mask[0, 2 + number :] = 0
        yield {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def test_a_step_of_movement_raises_the_scores_of_weights_that_leave_0():
    weight = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    masked = layer(weight, learn=True)
    push = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # descent moves the first row down, the second up
    optimizer = torch.optim.SGD([masked.weight, masked.scores], lr=0.1)
    (masked(torch.eye(2)).T * push).sum().backward()
    optimizer.step()
    assert torch.equal(masked.scores > 0, masked.weight.abs() > weight.abs())
    Movement(0.5).decide([masked], 0.5)
    assert torch.equal(masked.mask, torch.tensor([[False, True], [True, False]]))


def test_movement_and_magnitude_keep_the_floor_of_every_matrix():
    for method in (Movement(0.1), Magnitude(0.1)):
        _, layers = model_with(method)
        method.decide(layers, 0.37)
        assert [each.kept for each in layers] == [int(0.37 * each.weight.numel()) for each in layers]
        method.decide(layers, 1.0)
        assert all(each.mask.all() for each in layers)
    assert method.penalty(layers, 0.5) is None


def test_equal_scores_leave_the_first_weights():
    _, layers = model_with(Movement(0.1))
    Movement(0.1).decide(layers, 0.1)
    for each in layers:
        assert each.mask.flatten().nonzero().flatten().tolist() == list(range(each.weight.numel() // 10))


def test_magnitude_over_all_matrices_has_one_threshold():
    method = Magnitude(0.2, together=True)
    _, layers = model_with(method)
    layers[0].weight.data.mul_(100)
    method.decide(layers, 0.2)
    total = sum(each.weight.numel() for each in layers)
    assert sum(each.kept for each in layers) == int(0.2 * total)
    assert layers[0].kept > 0.9 * layers[0].weight.numel()
    least = min(each.weight.abs()[each.mask].min().item() for each in layers if each.kept)
    most = max(each.weight.abs()[~each.mask].max().item() for each in layers)
    assert most <= least
    with pytest.raises(ValueError, match="pattern 2:4 is chosen within each matrix"):
        Magnitude(0.5, together=True, pattern=Neighbours(2, 4))


def test_magnitude_follows_the_weights():
    method = Magnitude(0.5)
    masked = layer(torch.tensor([[4.0, -3.0, 2.0, 1.0]]))
    method.decide([masked], 0.5)
    assert masked.mask.tolist() == [[True, True, False, False]]
    masked.weight.data[0, 0] = 0.5
    method.decide([masked], 0.5)
    assert masked.mask.tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("pattern", [Neighbours(2, 4), Blocks(4, 2)])
@pytest.mark.parametrize("kind", [Movement, Magnitude])
def test_patterns_are_chosen_by_the_method_s_values(kind, pattern):
    method = kind(0.5, pattern=pattern)
    _, layers = model_with(method)
    for number, each in enumerate(layers):
        if each.scores is not None:
            each.scores.data.copy_(normal(*each.scores.shape, seed=number))
    method.decide(layers, 0.5)
    for each in layers:
        values = each.weight.abs() if each.scores is None else each.scores
        assert torch.equal(each.mask, pattern.choose(values.detach(), 0.5))
        assert each.kept == each.weight.numel() // 2


def test_soft_movement_keeps_sigmoids_above_the_threshold():
    method = SoftMovement(threshold=0.1, penalty=10.0)
    masked = layer(torch.ones(40, 30), learn=True)
    masked.scores.data.copy_(normal(40, 30) * 3)
    method.decide([masked], 0.0)
    assert masked.mask.all()
    method.decide([masked], 0.06)
    assert torch.equal(masked.mask, torch.sigmoid(masked.scores) > 0.06)
    masked.scores.data.fill_(-9.0)
    masked.scores.data[3, 4] = -8.0
    method.decide([masked], 0.1)
    assert masked.kept == int(0.005 * 1200) + 1 == 7
    assert masked.mask[3, 4]


def test_the_penalty_is_the_mean_of_the_matrices_mean_sigmoids_and_grows_with_the_threshold():
    method = SoftMovement(threshold=0.2, penalty=10.0)
    small, large = layer(torch.ones(1, 2), learn=True), layer(torch.ones(5, 5), learn=True)
    small.scores.data.fill_(math.log(3))  # sigmoid 3/4
    penalty = method.penalty([small, large], 0.1)
    assert penalty.item() == pytest.approx(10 * 0.5 * (0.75 + 0.5) / 2)
    penalty.backward()
    assert (large.scores.grad > 0).all()
    assert method.penalty([small, large], 0.0) is None
    with pytest.raises(ValueError, match=r"threshold 1.5 is not in \(0, 1\)"):
        SoftMovement(threshold=1.5, penalty=1.0)


def test_norms_are_those_of_the_pieces_that_are_no_padding():
    model, layers = model_with(Wanda(0.5))
    seen = []
    hook = layers[3].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    found = input_norms(model.train(), batches())
    hook.remove()
    assert model.training
    rows = [
        hidden[mask.bool()]
        for hidden, mask in zip(seen, (b["attention_mask"] for b in batches()), strict=True)
    ]
    rows = torch.cat(rows).double()
    assert len(rows) == 12 + 2 + 12 + 3
    torch.testing.assert_close(found[3].double(), rows.square().mean(0).sqrt())
    with pytest.raises(ValueError, match="nothing to observe"):
        input_norms(model, [])


def test_wanda_keeps_the_largest_products_of_every_row():
    method = Wanda(0.25)
    model, layers = model_with(method)
    with pytest.raises(ValueError, match="not observed yet"):
        method.decide(layers, 0.5)
    norms = input_norms(model, batches())
    method.observe(model, batches())
    method.decide(layers, 0.25)
    for each, sizes in zip(layers_of(model), norms, strict=True):
        for row, marks in zip(each.weight.tolist(), each.mask.tolist(), strict=True):
            values = [abs(w) * float(n) for w, n in zip(row, sizes, strict=True)]
            kept = [value for value, mark in zip(values, marks, strict=True) if mark]
            gone = [value for value, mark in zip(values, marks, strict=True) if not mark]
            assert len(kept) == len(row) // 4
            assert min(kept) >= max(gone) * (1 - 1e-5)


def test_wanda_chooses_within_patterns():
    method = Wanda(0.5, pattern=Neighbours(2, 4))
    model, layers = model_with(method)
    method.observe(model, batches())
    method.decide(layers, 0.5)
    assert all((each.mask.unflatten(1, (-1, 4)).sum(-1) == 2).all() for each in layers)
