"""Corrupted patches and what is asked of them; adversarial changes of embeddings."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from nonet.errors import UserError
from nonet.testing import normal, seeded
from nonet.vision_language.objectives import (
    adversarial_loss,
    aligned_patches,
    blank_patches,
    camouflage_patches,
    cut_grid,
    find_perturbation,
    grey_patches,
    jigsaw_orders,
    join_grid,
    patch_classification,
    patch_divergence,
    rotate_patches,
    shuffle_jigsaw,
)

# ---------------------------------------------------------------------------------------------------- patches


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_a_picture_is_cut_row_by_row_and_joined_again(k):
    images = normal(2, 3, 60, 120)
    patches = cut_grid(images, k)
    assert patches.shape == (2, k * k, 3, 60 // k, 120 // k)
    assert patches[1, k - 1].equal(images[1, :, : 60 // k, -120 // k :])
    assert join_grid(patches).equal(images)


def test_patches_are_turned_by_their_label():
    patches = cut_grid(normal(3, 3, 8, 8), 2)
    mask = torch.rand(3, 4, generator=seeded(1)) < 0.7
    found, labels = rotate_patches(patches, seeded(), mask)
    assert (labels == -100).equal(~mask)
    for row in range(3):
        for place in range(4):
            quarters = max(int(labels[row, place]), 0)
            assert found[row, place].equal(torch.rot90(patches[row, place], quarters, (1, 2)))
    _, many = rotate_patches(torch.zeros(4000, 1, 1, 1, 1), seeded())
    counts = torch.bincount(many.flatten())
    assert ((counts - 1000).float().square() / 1000).sum() < 16.3  # 3 degrees of freedom: p = .001


def test_a_jigsaw_lies_in_the_order_of_its_label():
    patches = cut_grid(normal(50, 3, 4, 4), 2)
    found, labels = shuffle_jigsaw(patches, seeded())
    orders = jigsaw_orders(4)
    assert orders.shape == (24, 4)
    assert len(labels.unique()) > 15
    for row in range(50):
        assert found[row].equal(patches[row, orders[labels[row]]])
    few = torch.tensor([[3, 2, 1, 0]])
    assert shuffle_jigsaw(patches, seeded(), few)[0].equal(patches.flip(1))


def test_one_patch_is_of_another_picture():
    patches = torch.arange(5.0).view(5, 1, 1, 1, 1).expand(5, 9, 1, 2, 2)
    for seed in range(10):
        found, labels = camouflage_patches(patches, seeded(seed))
        strange = (found != patches).flatten(2).any(2)
        assert strange.sum(1).tolist() == [1] * 5
        assert strange.float().argmax(1).equal(labels)


def test_grey_and_blank_patches():
    patches, mask = normal(2, 4, 3, 2, 2), torch.tensor([[True, False, False, False], [False] * 3 + [True]])
    grey = grey_patches(patches, mask)
    assert grey[~mask].equal(patches[~mask])
    luma = 0.299 * patches[0, 0, 0] + 0.587 * patches[0, 0, 1] + 0.114 * patches[0, 0, 2]
    for channel in range(3):
        assert torch.allclose(grey[0, 0, channel], luma)
    blank = blank_patches(patches, mask)
    assert blank[mask].eq(0).all()
    assert blank[~mask].equal(patches[~mask])


def test_questions_about_patches_are_cross_entropies_and_divergences():
    assert patch_classification(torch.zeros(2, 4), torch.tensor([0, 3])).loss.item() == pytest.approx(
        math.log(4)
    )
    logits, labels = normal(2, 3, 4), torch.tensor([[0, -100, 3], [1, 1, -100]])
    expected = cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert patch_classification(logits, labels).loss.item() == pytest.approx(expected.item(), rel=1e-6)
    target = torch.tensor([0.7, 0.3]).log().expand(2, 3, 2)
    mask = torch.tensor([[True, False, False], [False, True, True]])
    assert patch_divergence(torch.zeros(2, 3, 2), target, mask).loss.item() == pytest.approx(
        0.0822829, abs=1e-7
    )
    prediction, features = normal(2, 3, 6), normal(2, 3, 6, seed=1)
    expected = kl_div(prediction[mask].log_softmax(1), features[mask].softmax(1), reduction="batchmean")
    assert patch_divergence(prediction, features, mask).loss.item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    assert patch_divergence(features, features, mask).loss.item() == pytest.approx(0, abs=1e-6)


def test_all_questions_add_up():
    rotation = (normal(3, 4), torch.tensor([0, 1, 3]))
    grey = (normal(3, 16, 5), normal(3, 16, 5, seed=1), torch.rand(3, 16) < 0.3)
    found = aligned_patches({"rotation": rotation}, {"grey": grey})
    parts = [patch_classification(*rotation).loss.item(), patch_divergence(*grey).loss.item()]
    assert found.loss.item() == pytest.approx(sum(parts), rel=1e-6)
    assert [found.aux["rotation"].item(), found.aux["grey"].item()] == pytest.approx(parts)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="3 x 3 patches do not cut 8 x 9 pixels"):
        cut_grid(torch.zeros(1, 3, 8, 9), 3)
    with pytest.raises(UserError, match="5 patches are no square grid"):
        join_grid(torch.zeros(1, 5, 3, 2, 2))
    with pytest.raises(UserError, match="2 x 3 pixels cannot be turned"):
        rotate_patches(torch.zeros(1, 1, 3, 2, 3), seeded())
    with pytest.raises(UserError, match="a jigsaw of 9 pieces"):
        shuffle_jigsaw(torch.zeros(1, 9, 3, 2, 2), seeded())
    with pytest.raises(UserError, match="a batch needs at least 2"):
        camouflage_patches(torch.zeros(1, 9, 3, 2, 2), seeded())
    with pytest.raises(UserError, match="patches have 1 channels"):
        grey_patches(torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1).bool())
    with pytest.raises(UserError, match="no question about patches"):
        aligned_patches({}, {})


# ------------------------------------------------------------------------------------------------ adversarial

WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 2.0], [-3.0, 1.0]])  # of 2 classes, for 3 features
LABELS = torch.tensor([0, 1, 1])


def linear(embeddings):
    return embeddings[0].flatten(1) @ WEIGHTS


def task(logits):
    return cross_entropy(logits, LABELS)


def test_steps_go_along_the_gradient_each_as_long_as_its_size():
    """The gradient of a linear model has one direction, that of the other class."""
    x = 0.1 * normal(3, 3)
    (delta,) = find_perturbation(linear, [x], task, steps=4, step_sizes=[0.01])
    apart = WEIGHTS[:, 1] - WEIGHTS[:, 0]
    sign = torch.where(LABELS == 0, 1.0, -1.0)[:, None]
    assert torch.allclose(delta, 0.04 * sign * apart / apart.norm(), atol=1e-6)
    assert not delta.requires_grad


def test_the_radius_limits_each_example():
    x = normal(3, 3)
    (delta,) = find_perturbation(linear, [x], task, steps=9, step_sizes=[0.1], radius=0.25)
    assert delta.norm(dim=1).tolist() == pytest.approx([0.25] * 3)
    (delta,) = find_perturbation(linear, [x], task, steps=9, step_sizes=[0.1], radius=0.25, norm="linf")
    assert delta.abs().amax(1).tolist() == pytest.approx([0.25] * 3)


def test_a_linear_model_has_a_loss_in_closed_form():
    """Two steps of size s lower the margin by 2 s |w1 - w0|; at a margin of 0 nothing is known before."""
    x, size = torch.zeros(3, 3), 0.1
    found = adversarial_loss(linear, [x], task, steps=2, step_sizes=[size], divergence_weight=1.0)
    margin = 2 * size * float((WEIGHTS[:, 1] - WEIGHTS[:, 0]).norm())
    right = 1 / (1 + math.exp(margin))
    changed = -math.log(right)
    both = (right - 0.5) * math.log(right / (1 - right))  # KL(p || 1/2) + KL(1/2 || p)
    assert found.aux["clean"].item() == pytest.approx(math.log(2), rel=1e-6)
    assert found.aux["changed"].item() == pytest.approx(changed, rel=1e-5)
    assert found.aux["divergence"].item() == pytest.approx(both, rel=1e-4)
    assert found.loss.item() == pytest.approx(math.log(2) + changed + both, rel=1e-5)
    one = adversarial_loss(
        linear, [x], task, steps=2, step_sizes=[size], divergence_weight=1.0, symmetric=False
    ).aux["divergence"]
    away = right * math.log(2 * right) + (1 - right) * math.log(2 - 2 * right)
    assert one.item() == pytest.approx(away, rel=1e-4)


def test_modalities_change_by_their_own_step_or_not_at_all():
    def both(embeddings):
        return (embeddings[0] + embeddings[1].mean(1)) @ WEIGHTS

    x, regions = normal(3, 3), normal(3, 4, 3, seed=1)
    text, image = find_perturbation(both, [x, regions], task, steps=1, step_sizes=[0.1, 0.02])
    assert text.norm(dim=1).tolist() == pytest.approx([0.1] * 3)
    assert image.flatten(1).norm(dim=1).tolist() == pytest.approx([0.02] * 3)
    text, image = find_perturbation(both, [x, regions], task, steps=2, changed=[True, False])
    assert text.abs().sum() > 0
    assert image.eq(0).all()


def test_the_change_is_worse_than_a_random_one_and_weights_learn_from_all_terms():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    x = normal(3, 3).requires_grad_()

    def forward(embeddings):
        return layer(embeddings[0])

    found = adversarial_loss(forward, [x], task, steps=3, step_sizes=[0.1])
    random = normal(3, 3, seed=5)
    random = 0.3 * random / random.norm(dim=1, keepdim=True)
    assert found.aux["changed"] > task(forward([x + random]))
    assert found.aux["changed"] > found.aux["clean"]
    assert all(weight.grad is None for weight in layer.parameters())
    found.loss.backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())
    assert x.grad.abs().sum() > 0


def test_no_steps_double_the_clean_loss():
    x = normal(3, 3)
    found = adversarial_loss(linear, [x], task, steps=0)
    assert found.loss.item() == pytest.approx(2 * task(linear([x])).item(), rel=1e-6)


def test_wrong_settings_of_the_search_are_refused():
    with pytest.raises(UserError, match="no norm 'l1'"):
        find_perturbation(linear, [normal(3, 3)], task, norm="l1")
    with pytest.raises(UserError, match="1 modalities need as many step sizes"):
        find_perturbation(linear, [normal(3, 3)], task, step_sizes=[0.1, 0.2])
