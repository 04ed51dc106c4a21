"""Labels of mixed images in plain sums."""

import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from nonet.errors import UserError
from nonet.testing import normal, seeded
from timix import TextAwareMix, mix_targets, mixed_itc
from timix.mixed_targets import text_targets


def plan_for(count=4, seed=0, **options):
    mix = TextAwareMix(4, 0.5, 0.75, **options)
    return mix.plan(normal(count, 4, 4, seed=seed), seeded(seed))


def probabilities(rows, columns, seed=3):
    return normal(rows, columns, seed=seed).softmax(1)


def in_plain_sums(plan, own):
    """(M, C): lam of the own row and the rest of the partner's."""
    rows = zip(plan.rows.tolist(), plan.partner.tolist(), plan.lam.tolist(), strict=True)
    return torch.stack([lam * own[i] + (1 - lam) * own[j] for i, j, lam in rows])


@pytest.mark.parametrize("partner", ["flip", "roll", "derange"])
@pytest.mark.parametrize("each", [False, True])
def test_hard_labels_are_the_areas(partner, each):
    plan = plan_for(partner=partner, per_sample_k=each)
    found = mix_targets(plan)
    torch.testing.assert_close(found, in_plain_sums(plan, torch.eye(4)))
    torch.testing.assert_close(found.sum(1), torch.ones(4))
    if partner == "flip" and not each:
        assert torch.equal(found, found.mT)


def test_an_image_that_keeps_all_of_its_label_has_its_own_text_alone():
    plan = dataclasses.replace(plan_for(), lam=torch.ones(4))
    assert torch.equal(mix_targets(plan), torch.eye(4))
    images, texts = (normalize(normal(4, 8, seed=seed), dim=1) for seed in (0, 1))
    found, said = mixed_itc(images, texts, mix_targets(plan), 0.07)
    logits = images @ texts.T / 0.07
    wanted = (cross_entropy(logits, torch.arange(4)) + cross_entropy(logits.T, torch.arange(4))) / 2
    torch.testing.assert_close(found, wanted)
    assert said["floor"] == 0


def test_soft_labels_mix_probabilities_and_blended_ones_lie_between():
    plan, probs = plan_for(partner="roll"), probabilities(4, 4).requires_grad_()
    soft = mix_targets(plan, "soft", probs)
    torch.testing.assert_close(soft, in_plain_sums(plan, probs.detach()))
    assert not soft.requires_grad
    assert torch.equal(mix_targets(plan, "blend", probs, alpha=0.0), mix_targets(plan))
    torch.testing.assert_close(mix_targets(plan, "blend", probs, alpha=1.0), soft)
    half = mix_targets(plan, "blend", probs, alpha=torch.tensor(0.4))
    torch.testing.assert_close(half, 0.4 * soft + 0.6 * mix_targets(plan))


def test_texts_of_one_image_share_their_mass():
    plan = plan_for(partner="roll")
    same = torch.tensor([7, 8, 7, 9])
    found, plain = mix_targets(plan, same=same), mix_targets(plan)
    wanted = plain.clone()
    wanted[:, [0, 2]] = (plain[:, 0] + plain[:, 2])[:, None] / 2
    torch.testing.assert_close(found, wanted)
    matrix = same[:, None] == same
    torch.testing.assert_close(mix_targets(plan, same=matrix), wanted)
    whole = mix_targets(plan, same=same, shares=False)
    wanted[:, [0, 2]] *= 2
    torch.testing.assert_close(whole, wanted)


def test_smoothing_spreads_a_share_over_all_texts():
    plan = plan_for()
    found = mix_targets(plan, smoothing=0.1)
    torch.testing.assert_close(found, 0.9 * mix_targets(plan) + 0.1 / 4)


def test_joined_texts_are_right_for_their_own_image_and_for_its_twin():
    flipped, rolled = (plan_for(partner=how, region="mixgen") for how in ("flip", "roll"))
    torch.testing.assert_close(mix_targets(flipped), (torch.eye(4) + torch.eye(4).flip(0)) / 2)
    assert torch.equal(mix_targets(rolled), torch.eye(4))


def test_images_that_are_not_mixed_keep_their_own_text():
    plan = plan_for(partner="roll").only(torch.tensor([2, 0]))
    found = mix_targets(plan, every=True)
    assert torch.equal(found[[1, 3]], torch.eye(4)[[1, 3]])
    assert torch.equal(found[[2, 0]], mix_targets(plan))


def test_labels_of_texts_are_columns_in_shares_not_rows():
    targets = mix_targets(plan_for(partner="roll"), "soft", probabilities(4, 4))
    found = text_targets(targets)
    torch.testing.assert_close(found, (targets / targets.sum(0)).mT)
    assert not torch.allclose(found, targets, atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "firm"}, "labels firm: say hard, soft, blend"),
        ({"mode": "soft"}, r"labels soft need probabilities of shape \(4, 4\), and these are missing"),
        ({"mode": "blend", "probs": torch.zeros(4, 5)}, r"and these are \(4, 5\)"),
        ({"same": torch.zeros(5)}, r"`same` of shape \(5,\) does not fit 4 texts"),
        ({"smoothing": 1.5}, "label smoothing of 1.5: give 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        mix_targets(plan_for(), **arguments)
