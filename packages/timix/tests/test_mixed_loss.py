"""Losses of mixed images: constants by hand, the manual formula, open_clip's losses without mixing."""

import math

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch.nn.functional import normalize

from nonet.errors import UserError
from nonet.testing import normal, seeded
from timix import TextAwareMix, mix_targets, mixed_itc, mixed_sigmoid


def features(count=4, size=8, seed=0):
    return normalize(normal(count, size, seed=seed, dtype=torch.float64), dim=1).requires_grad_()


def labels(lam, count=4):
    """Flipped partners, float64."""
    eye = torch.eye(count, dtype=torch.float64)
    return lam * eye + (1 - lam) * eye.flip(0)


def test_least_loss_is_the_entropy_and_its_gradient_is_zero():
    gap = math.log(3)  # lam .75: log(.75 / .25)
    logits = torch.tensor([[gap, 0.0], [0.0, gap]], dtype=torch.float64)
    texts = torch.eye(2, dtype=torch.float64)
    images = logits.clone().requires_grad_()
    loss, aux = mixed_itc(images, texts, labels(0.75, 2), 1.0, tau_range=(1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(0.562335, abs=1e-6)
    assert aux["floor"].item() == pytest.approx(0.562335, abs=1e-6)
    assert aux["gap_bound"].item() == pytest.approx(1.098612, abs=1e-6)
    assert images.grad.abs().max() < 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_loss_is_never_below_its_floor(seed):
    plan = TextAwareMix(6, partner="roll", per_sample_k=True).plan(normal(5, 6, 6), seeded(seed))
    probs = normal(5, 5, seed=seed).softmax(1)
    for mode in ("hard", "soft"):
        targets = mix_targets(plan, mode, probs)
        loss, aux = mixed_itc(features(5, seed=seed), features(5, seed=9), targets, 0.07)
        assert loss >= aux["floor"]


def test_loss_is_the_manual_formula_with_columns_for_texts():
    images, texts, tau = features(), features(seed=1), 0.2
    targets = normal(4, 4, seed=2, dtype=torch.float64).softmax(1)
    logits = images @ texts.T / tau
    turned = targets / targets.sum(0)
    rows = -(targets * logits.log_softmax(1)).sum(1).mean()
    columns = -(turned * logits.log_softmax(0)).sum(0).mean()
    found, _ = mixed_itc(images, texts, targets, tau)
    torch.testing.assert_close(found, (rows + columns) / 2)


def test_without_mixing_it_is_the_loss_of_open_clip():
    images, texts = features(), features(seed=1)
    found, aux = mixed_itc(images, texts, labels(1.0), 0.1)
    torch.testing.assert_close(found, ClipLoss()(images, texts, 10.0))
    assert aux["floor"] == 0
    assert aux["gap_bound"] == math.inf


def test_without_mixing_the_sigmoid_loss_is_that_of_open_clip():
    images, texts = features(), features(seed=1)
    found, aux = mixed_sigmoid(images, texts, labels(1.0), 10.0, -10.0)
    torch.testing.assert_close(found, SigLipLoss()(images, texts, 10.0, -10.0))
    assert aux["floor"] == 0


def test_sigmoid_loss_is_binary_cross_entropy_and_least_at_its_floor():
    images, texts, targets = features(), features(seed=1), labels(0.75)
    found, aux = mixed_sigmoid(images, texts, targets, 8.0, -3.0)
    logits = images @ texts.T * 8 - 3
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / 4
    torch.testing.assert_close(found, wanted)
    least, _ = mixed_sigmoid(
        targets.clamp(1e-12, 1 - 1e-12).logit(), torch.eye(4).double(), targets, 1.0, 0.0
    )
    torch.testing.assert_close(least, aux["floor"])


def test_queues_are_columns_that_are_never_right():
    images, texts, targets = features(), features(seed=1), labels(0.75)
    queues = (features(3, seed=2), features(3, seed=3))
    found, _ = mixed_itc(images, texts, targets, 0.2, queues=queues)
    halves = []
    for rows, keys, more in ((images, texts, queues[0]), (texts, images, queues[1])):
        logits = rows @ torch.cat([keys, more]).T / 0.2
        wide = torch.nn.functional.pad(targets, (0, 3))
        halves.append(-(wide * logits.log_softmax(1)).sum(1).mean())
    torch.testing.assert_close(found, sum(halves) / 2)
    found.backward()
    assert queues[0].grad is None


def test_rows_of_ranks_add_up_to_the_loss_of_all():
    images, texts = features(6), features(6, seed=1)
    targets = torch.block_diag(labels(0.75, 3), labels(0.75, 3))
    whole, _ = mixed_itc(images, texts, targets, 0.2)
    parts = [
        mixed_itc(
            images[mine],
            texts,
            targets[mine],
            0.2,
            images_all=images,
            texts=texts[mine],
            text_targets=targets.mT[mine],
        )[0]
        for mine in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(sum(parts) / 2, whole)
    wanted = torch.autograd.grad(whole, images, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(sum(parts) / 2, images)[0], wanted)


def test_temperature_is_learned_within_its_bounds():
    images, texts, targets = features(), features(seed=1), labels(0.75)
    inside, below = (torch.tensor(tau, requires_grad=True) for tau in (0.07, 1e-9))
    for tau in (inside, below):
        loss, _ = mixed_itc(images, texts, targets, tau)
        loss.backward()
        assert loss.isfinite()
    assert inside.grad.isfinite()
    assert inside.grad != 0
    assert below.grad == 0


def test_labels_and_features_carry_no_gradient_into_labels():
    targets = labels(0.75).requires_grad_()
    loss, _ = mixed_itc(features(), features(seed=1), targets, 0.07)
    loss.backward()
    assert targets.grad is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"labels of shape \(4, 4\) do not fit 3 images and 4 texts"):
        mixed_itc(features(3), features(), labels(0.5), 0.07)
    with pytest.raises(UserError, match="a temperature of 0: it must be above 0"):
        mixed_itc(features(), features(), labels(0.5), 0.0)
    with pytest.raises(UserError, match="go together"):
        mixed_itc(features(), features(), labels(0.5), 0.07, images_all=features())
    with pytest.raises(UserError, match="do not fit 4 images and 5 texts"):
        mixed_sigmoid(features(), features(5), labels(0.5))
