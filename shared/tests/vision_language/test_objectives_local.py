"""Contrast of patches and words, within a modality and of parts with wholes; distillation; order in time."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, normalize

from nonet.errors import UserError
from nonet.testing import normal, seeded
from nonet.vision_language.objectives import (
    distill,
    frame_order,
    image_text_contrastive,
    intra_modal_contrastive,
    late_interaction,
    late_interaction_contrastive,
    local_global_contrastive,
    moment_start_end,
    next_viewpoint,
    retrieval_agreement,
    shuffle_frames,
)


def units(*shape, seed=0):
    return normalize(normal(*shape, seed=seed), dim=-1)


# ------------------------------------------------------------------------------------------- late interaction


def test_one_patch_and_one_token_each_are_the_plain_contrast():
    image, text = units(4, 8), units(4, 8, seed=1)
    found = late_interaction_contrastive(image[:, None], text[:, None], temperature=0.2)
    plain = image_text_contrastive(image @ text.mT / 0.2)
    assert found.loss.item() == pytest.approx(plain.loss.item(), rel=1e-6)
    assert found.aux["image_to_text"].item() == pytest.approx(plain.aux["image_to_text"].item(), rel=1e-6)


def test_padding_is_in_no_mean_and_in_no_maximum():
    patches, tokens = normal(2, 4, 8), normal(3, 5, 8, seed=1)
    patch_lengths, token_lengths = [4, 2], [5, 1, 3]
    patch_mask = torch.arange(4) < torch.tensor(patch_lengths)[:, None]
    token_mask = torch.arange(5) < torch.tensor(token_lengths)[:, None]
    patches[~patch_mask], tokens[~token_mask] = 1e3, -1e3
    by_patch, by_token = late_interaction(patches, tokens, patch_mask, token_mask)
    for i, p in enumerate(patch_lengths):
        for j, t in enumerate(token_lengths):
            scores = (patches[i, :p] @ tokens[j, :t].mT).tolist()
            mine = sum(max(row) for row in scores) / p
            theirs = sum(max(row[at] for row in scores) for at in range(t)) / t
            assert by_patch[i, j].item() == pytest.approx(mine, rel=1e-5)
            assert by_token[i, j].item() == pytest.approx(theirs, rel=1e-5)


def test_images_choose_by_patches_and_texts_by_words():
    patches, tokens = units(3, 4, 8), units(3, 5, 8, seed=1)
    by_patch, by_token = late_interaction(patches, tokens)
    rows = torch.arange(3)
    expected = (cross_entropy(by_patch, rows) + cross_entropy(by_token.mT, rows)) / 2
    assert late_interaction_contrastive(patches, tokens).loss.item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_a_text_of_padding_alone_is_as_similar_to_all_images():
    tokens = units(3, 5, 8).requires_grad_()
    mask = torch.tensor([[True] * 5, [False] * 5, [True] * 5])
    found = late_interaction(units(3, 4, 8), tokens, None, mask)
    assert all(part[:, 1].eq(0).all() for part in found)
    late_interaction_contrastive(units(3, 4, 8), tokens, None, mask).loss.backward()
    assert tokens.grad.isfinite().all()
    assert tokens.grad[1].eq(0).all()


# ---------------------------------------------------------------------------------------- within and between


def test_contrast_within_modalities_is_the_mean_of_two():
    features = [units(3, 8, seed=seed) for seed in range(4)]
    queues = [units(5, 8, seed=seed) for seed in (5, 6)]
    found = intra_modal_contrastive(*features, temperature=0.1, image_queue=queues[0], text_queue=queues[1])
    rows = torch.arange(3)
    image = cross_entropy(features[0] @ torch.cat([features[1], queues[0]]).mT / 0.1, rows).item()
    text = cross_entropy(features[2] @ torch.cat([features[3], queues[1]]).mT / 0.1, rows).item()
    assert found.loss.item() == pytest.approx((image + text) / 2, rel=1e-6)
    assert [found.aux["image"].item(), found.aux["text"].item()] == pytest.approx([image, text], rel=1e-6)


def plain_parts(local, whole, lengths, temperature):
    """Each part of each item against the parts of all other items."""
    total = 0.0
    for i, own in enumerate(lengths):
        negatives = [
            math.exp(float(whole[i] @ local[j, m]) / temperature)
            for j, other in enumerate(lengths)
            if j != i
            for m in range(other)
        ]
        for m in range(own):
            positive = math.exp(float(whole[i] @ local[i, m]) / temperature)
            total -= math.log(positive / (positive + sum(negatives))) / own
    return total / len(lengths)


def test_parts_against_parts_of_others():
    local, whole, lengths = units(3, 4, 8), units(3, 8, seed=1), [4, 1, 3]
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    found = local_global_contrastive(local, whole, mask, temperature=0.3).loss.item()
    assert found == pytest.approx(plain_parts(local, whole, lengths, 0.3), rel=1e-5)
    full = local_global_contrastive(local, whole, temperature=0.3).loss.item()
    assert full == pytest.approx(plain_parts(local, whole, [4, 4, 4], 0.3), rel=1e-5)


def test_one_part_each_is_a_contrast_in_one_direction():
    found = local_global_contrastive(torch.eye(2)[:, None], torch.eye(2), temperature=1.0)
    assert found.loss.item() == pytest.approx(0.3132617, abs=1e-7)
    assert found.aux["accuracy"].item() == 1


def test_items_without_parts_count_in_no_mean():
    local, whole = units(3, 4, 8).requires_grad_(), units(3, 8, seed=1)
    mask = torch.ones(3, 4).bool()
    mask[1] = False
    found = local_global_contrastive(local, whole, mask).loss
    kept = local_global_contrastive(local[[0, 2]], whole[[0, 2]]).loss
    assert found.item() == pytest.approx(kept.item(), rel=1e-6)
    found.backward()
    assert local.grad[1].eq(0).all()


# ----------------------------------------------------------------------------------------------- distillation


def test_a_teacher_of_7_and_3_and_an_undecided_student():
    found = distill(torch.zeros(4, 2), torch.tensor([0.7, 0.3]).log().expand(4, 2))
    assert found.loss.item() == pytest.approx(0.0822829, abs=1e-7)
    assert found.aux["teacher_entropy"].item() == pytest.approx(-0.7 * math.log(0.7) - 0.3 * math.log(0.3))


def test_divergence_is_pytorchs_with_the_temperatures_of_both():
    student, teacher = normal(5, 7).requires_grad_(), normal(5, 7, seed=1).requires_grad_()
    found = distill(student, teacher, temperature=2.0, teacher_temperature=0.5, scaled=True)
    expected = kl_div((student / 2).log_softmax(1), (teacher / 0.5).softmax(1), reduction="batchmean")
    assert found.loss.item() == pytest.approx(4 * expected.item(), rel=1e-5)
    found.loss.backward()
    assert teacher.grad is None
    assert distill(student, student, temperature=0.3).loss.item() == pytest.approx(0, abs=1e-6)


def test_what_a_teacher_rules_out_costs_nothing():
    teacher = torch.tensor([[0.0, -math.inf, 0.0]])
    student = torch.tensor([[1.0, -math.inf, 1.0]], requires_grad=True)
    found = distill(student, teacher).loss
    assert found.item() == pytest.approx(0, abs=1e-6)
    found.backward()
    assert student.grad.isfinite().all()


def test_rows_that_are_masked_out_teach_nothing():
    student, teacher = normal(3, 4), normal(3, 4, seed=1)
    mask = torch.tensor([True, False, True])
    found = distill(student, teacher, mask).loss.item()
    assert found == pytest.approx(distill(student[[0, 2]], teacher[[0, 2]]).loss.item(), rel=1e-6)


def test_both_directions_of_retrieval_agree_on_a_symmetric_matrix_alone():
    similarity = normal(4, 4)
    assert retrieval_agreement(similarity + similarity.mT, similarity + similarity.mT).loss.item() == 0
    found = retrieval_agreement(similarity, similarity.mT).loss.item()
    p, q = similarity.softmax(1), similarity.mT.softmax(1)
    expected = (kl_div(q.log(), p, reduction="batchmean") + kl_div(p.log(), q, reduction="batchmean")) / 2
    assert found == pytest.approx(expected.item(), rel=1e-5)


# --------------------------------------------------------------------------------------------- time and place


def test_shuffled_frames_are_a_permutation_of_the_drawn_ones():
    valid = torch.arange(40) < torch.tensor([40, 17, 3, 1])[:, None]
    order, labels = shuffle_frames(valid, seeded(), share=0.4)
    drawn = labels != -100
    assert order.sort(1).values.equal(torch.arange(40).expand(4, 40))
    assert order[~drawn].equal(torch.arange(40).expand(4, 40)[~drawn])
    assert order[drawn].equal(labels[drawn])
    assert not (drawn & ~valid).any()
    for row in range(4):
        places = drawn[row].nonzero()[:, 0]
        assert sorted(labels[row][places].tolist()) == places.tolist()
        assert len(places) >= 1
    assert (order[0] != torch.arange(40)).sum() > 5


def test_every_order_of_drawn_frames_is_as_frequent():
    valid = torch.ones(12_000, 3).bool()
    order, _ = shuffle_frames(valid, seeded(), share=1.0)
    counts = torch.bincount(order @ torch.tensor([9, 3, 1]))
    counts = counts[counts > 0]
    assert len(counts) == 6
    assert ((counts - 2000).float().square() / 2000).sum() < 20.5  # 5 degrees of freedom: p = .001


def test_the_share_of_drawn_frames():
    _, labels = shuffle_frames(torch.ones(100, 200).bool(), seeded())
    assert (labels != -100).float().mean().item() == pytest.approx(0.15, abs=0.01)


def test_uniform_scores_over_places_are_the_log_of_their_number():
    labels = torch.tensor([[-100, 3, 1, -100]])
    assert frame_order(torch.zeros(1, 4, 100), labels).loss.item() == pytest.approx(math.log(100))
    valid = torch.tensor([[True, True, True, False]])
    found = frame_order(torch.zeros(1, 4, 100), torch.tensor([[-100, 2, 1, -100]]), valid)
    assert found.loss.item() == pytest.approx(math.log(3))


def test_frame_order_is_the_mean_over_drawn_frames():
    logits, labels = normal(2, 3, 5), torch.tensor([[0, -100, 4], [-100, 2, -100]])
    expected = cross_entropy(logits[[0, 0, 1], [0, 2, 1]], torch.tensor([0, 4, 2]))
    found = frame_order(logits, labels)
    assert found.loss.item() == pytest.approx(expected.item())
    assert found.aux["count"].item() == 3


def test_start_and_end_are_two_cross_entropies():
    start, end = normal(3, 6), normal(3, 6, seed=1)
    spans = torch.tensor([[1, 4], [-1, -1], [0, 2]])
    expected = cross_entropy(start, spans[:, 0], ignore_index=-1) + cross_entropy(
        end, spans[:, 1], ignore_index=-1
    )
    assert moment_start_end(start, end, spans).loss.item() == pytest.approx(expected.item())
    valid = torch.arange(6) < torch.tensor([5, 6, 3])[:, None]
    found = moment_start_end(torch.zeros(3, 6), torch.zeros(3, 6), spans, valid)
    assert found.loss.item() == pytest.approx(math.log(5) + math.log(3))
    sure = torch.nn.functional.one_hot(spans.clamp_min(0), 6) * 50.0
    assert moment_start_end(sure[:, 0], sure[:, 1], spans).aux["both"].item() == 1


def test_the_next_viewpoint_among_those_that_can_be_reached():
    assert next_viewpoint(torch.zeros(2, 36), torch.tensor([0, 35])).loss.item() == pytest.approx(3.583519)
    reachable = torch.tensor([[True, True, False, False], [True] * 4])
    found = next_viewpoint(torch.zeros(2, 4), torch.tensor([1, 2]), reachable)
    assert found.loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    logits, actions = normal(3, 5), torch.tensor([4, -100, 0])
    expected = cross_entropy(logits, actions)
    assert next_viewpoint(logits, actions).loss.item() == pytest.approx(expected.item())


def test_masks_must_be_bool():
    with pytest.raises((RuntimeError, TypeError)):
        late_interaction(units(2, 3, 4), units(2, 3, 4), None, torch.ones(2, 3).long())
    with pytest.raises(UserError, match="share of masked positions"):
        shuffle_frames(torch.ones(1, 3).bool(), seeded(), share=1.5)
