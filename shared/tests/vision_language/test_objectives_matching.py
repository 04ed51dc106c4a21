"""Matching, contrast and ranking of images and texts: worked numbers, plain loops, draws, refusals."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from nonet.errors import UserError
from nonet.testing import normal, seeded
from nonet.vision_language.objectives import (
    contrastive_logits,
    hard_negatives,
    hinge_ranking,
    image_text_contrastive,
    image_text_matching,
    late_interaction_contrastive,
    matching_pairs,
    mil_nce,
    momentum_targets,
    same_label_targets,
    sigmoid_contrastive,
    unified_contrastive,
    video_query_ranking,
    video_text_candidates,
)

# --------------------------------------------------------------------------------------------------- matching


def test_matching_is_cross_entropy_of_counted_pairs():
    logits, labels = normal(4, 2), torch.tensor([1, 0, -100, 1])
    found = image_text_matching(logits, labels)
    assert found.loss.item() == pytest.approx(cross_entropy(logits[[0, 1, 3]], labels[[0, 1, 3]]).item())
    assert found.aux["count"].item() == 3
    assert found.aux["positives"].item() == pytest.approx(2 / 3)
    assert image_text_matching(torch.zeros(2, 2), torch.tensor([0, 1])).loss.item() == pytest.approx(
        math.log(2)
    )


def test_one_logit_for_a_match_is_two_of_which_the_other_is_0():
    one, labels = normal(5), torch.tensor([1, 0, 0, -100, 1])
    two = torch.stack([torch.zeros(5), one], 1)
    assert image_text_matching(one, labels).loss.item() == pytest.approx(
        image_text_matching(two, labels).loss.item()
    )
    assert (
        image_text_matching(one, labels).aux["accuracy"] == image_text_matching(two, labels).aux["accuracy"]
    )


def test_drawn_negatives_are_as_frequent_as_a_softmax_over_the_others():
    similarity = torch.tensor(
        [[9.0, 0.0, 1.0, 2.0], [0.5, 9.0, 0.0, -1.0], [1.0, 1.0, 9.0, 1.0], [3.0, 0, 0, 9.0]]
    )
    draws = 20_000
    drawn = hard_negatives(
        similarity.repeat_interleave(draws, 0),
        seeded(),
        positives=torch.arange(4).repeat_interleave(draws),
    ).view(4, draws)
    for row in range(4):
        weights = [0.0 if at == row else math.exp(float(similarity[row, at])) for at in range(4)]
        counts = torch.bincount(drawn[row], minlength=4).tolist()
        assert counts[row] == 0
        expected = [draws * weight / sum(weights) for weight in weights]
        chi = sum((counts[at] - expected[at]) ** 2 / expected[at] for at in range(4) if at != row)
        assert chi < 13.8  # 2 degrees of freedom: p = .001


def test_negatives_of_the_same_label_are_never_drawn():
    labels = torch.tensor([0, 0, 1, 1, 2])
    for seed in range(20):
        drawn = hard_negatives(torch.zeros(5, 5), seeded(seed), labels=labels)
        assert (labels[drawn] != labels).all()


def test_a_query_without_an_allowed_candidate_gets_minus_1():
    drawn = hard_negatives(torch.zeros(3, 3), seeded(), labels=torch.tensor([4, 4, 4]))
    assert drawn.tolist() == [-1, -1, -1]
    assert hard_negatives(torch.zeros(1, 1), seeded()).tolist() == [-1]


def test_a_positive_that_is_far_ahead_leaves_chances_to_the_others():
    similarity = torch.tensor([[0.0, -3e4, -3e4 + 1], [0.0, 0.0, -math.inf], [-math.inf] * 2 + [0.0]])
    drawn = torch.stack([hard_negatives(similarity, seeded(seed)) for seed in range(200)])
    ahead = (drawn[:, 0] == 2).float().mean().item()
    assert ahead == pytest.approx(1 / (1 + math.exp(-1)), abs=0.12)
    assert set(drawn[:, 1].tolist()) == {0}
    assert set(drawn[:, 2].tolist()) == {0, 1}  # nothing but -inf: all alike


def test_negatives_of_a_rank_leave_out_its_own_place_among_all_candidates():
    similarity = torch.full((2, 6), -50.0)
    similarity[0, [0, 4]], similarity[1, [1, 5]] = 50.0, 50.0
    rank = hard_negatives(similarity, seeded(), positives=torch.tensor([4, 5]))
    assert rank.tolist() == [0, 1]


def test_labels_must_fit_the_candidates():
    with pytest.raises(UserError, match="6 candidates have 2 labels; give candidate_labels"):
        hard_negatives(torch.zeros(2, 6), seeded(), labels=torch.tensor([0, 1]))


def test_the_same_seed_draws_the_same_negatives():
    similarity = normal(8, 8)
    assert hard_negatives(similarity, seeded(3)).equal(hard_negatives(similarity, seeded(3)))
    assert not hard_negatives(similarity, seeded(3)).equal(hard_negatives(similarity, seeded(4)))


def test_pairs_are_one_match_to_two_that_are_none():
    pairs = matching_pairs(torch.tensor([2, -1]), torch.tensor([1, 0]), first=1)
    assert pairs.images.tolist() == [1, 2, 2, 0, 1, 2]
    assert pairs.texts.tolist() == [1, 2, 1, 2, 1, 0]
    assert pairs.labels.tolist() == [1, 1, 0, -100, 0, 0]


# --------------------------------------------------------------------------------------------------- contrast


def test_contrast_of_the_identity():
    found = image_text_contrastive(torch.eye(2))
    assert found.loss.item() == pytest.approx(0.3132617, abs=1e-7)
    assert found.aux["accuracy"].item() == 1


def plain_contrast(rows, targets):
    total = 0.0
    for row, target in zip(rows.tolist(), targets.tolist(), strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        total -= sum(share * (value - norm) for value, share in zip(row, target, strict=True))
    return total / len(rows)


def test_soft_targets_and_two_matrices_are_those_of_a_plain_loop():
    rows, columns = normal(3, 5, seed=1), normal(3, 4, seed=2)
    right, left = normal(3, 5, seed=3).softmax(1), normal(3, 4, seed=4).softmax(1)
    found = image_text_contrastive(rows, columns, targets=right, text_targets=left)
    assert found.aux["image_to_text"].item() == pytest.approx(plain_contrast(rows, right), rel=1e-6)
    assert found.aux["text_to_image"].item() == pytest.approx(plain_contrast(columns, left), rel=1e-6)
    assert found.loss.item() == pytest.approx(
        (plain_contrast(rows, right) + plain_contrast(columns, left)) / 2
    )


def test_targets_as_numbers_as_shares_and_left_out_are_the_same():
    similarity = normal(4, 4)
    plain = image_text_contrastive(similarity).loss
    assert image_text_contrastive(similarity, targets=torch.arange(4)).loss == plain
    assert image_text_contrastive(similarity, targets=torch.eye(4)).loss.item() == pytest.approx(plain.item())


def test_a_rank_finds_its_own_keys_by_number():
    all_images, all_texts = normal(6, 8, seed=1), normal(6, 8, seed=2)
    right = torch.tensor([2, 3])
    found = image_text_contrastive(
        contrastive_logits(all_images[right], all_texts, 0.5),
        contrastive_logits(all_texts[right], all_images, 0.5),
        targets=right,
    )
    whole = all_images @ all_texts.mT / 0.5
    expected = (cross_entropy(whole[right], right) + cross_entropy(whole.mT[right], right)) / 2
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_numbers_of_texts_in_another_order_are_turned_for_texts():
    order = torch.tensor([1, 2, 0])  # image i shows text order[i]
    similarity = 9 * torch.eye(3)[order]
    found = image_text_contrastive(similarity, targets=order)
    expected = float(torch.log(1 + 2 * torch.exp(torch.tensor(-9.0))))
    assert found.loss.item() == pytest.approx(expected, rel=1e-4)
    assert found.aux["text_to_image"].item() == pytest.approx(expected, rel=1e-4)
    shares = image_text_contrastive(similarity, targets=torch.eye(3)[order])
    assert found.loss.item() == pytest.approx(shares.loss.item())


def test_late_interaction_turns_targets_for_texts_too():
    order = torch.tensor([1, 2, 0])
    texts = torch.eye(3)
    images = texts[order]
    found = late_interaction_contrastive(images[:, None], texts[:, None], temperature=1 / 9, targets=order)
    assert found.loss.item() == pytest.approx(
        image_text_contrastive(9 * texts[order], targets=order).loss.item()
    )


def test_mixed_targets_of_a_matrix_are_turned_and_add_up_to_1_for_texts():
    targets = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])
    similarity = normal(3, 3)
    found = image_text_contrastive(similarity, targets=targets)
    turned = targets.mT / targets.sum(0)[:, None]
    assert found.aux["text_to_image"].item() == pytest.approx(plain_contrast(similarity.mT, turned), rel=1e-6)


def test_the_least_loss_of_two_right_texts_is_the_entropy_of_their_shares():
    share = 0.75
    targets = torch.tensor([[share, 1 - share], [1 - share, share]])
    best = torch.log(targets / (1 - share))  # a gap of log(share / (1 - share)) = 1.0986
    assert image_text_contrastive(best, targets=targets).loss.item() == pytest.approx(0.5623, abs=1e-4)
    assert best[0, 0].item() == pytest.approx(1.0986, abs=1e-4)
    nearby = image_text_contrastive(best + 0.2 * torch.eye(2), targets=targets).loss
    assert nearby > image_text_contrastive(best, targets=targets).loss


def test_a_queue_adds_negatives_without_a_share_or_a_gradient():
    queries, keys, queue = normal(3, 8), normal(3, 8, seed=1), normal(5, 8, seed=2)
    queries, queue = normalize(queries, dim=1).requires_grad_(), normalize(queue, dim=1).requires_grad_()
    logits = contrastive_logits(queries, keys, 0.07, queue)
    assert logits.shape == (3, 8)
    short = torch.eye(3)
    found = image_text_contrastive(logits, logits, targets=short)
    assert found.loss.item() == pytest.approx(cross_entropy(logits, torch.arange(3)).item(), rel=1e-5)
    found.loss.backward()
    assert queue.grad is None
    assert queries.grad.abs().sum() > 0


def test_momentum_targets_mix_what_is_right_with_what_is_similar():
    logits = normal(3, 7)
    found = momentum_targets(logits, 0.4)
    assert found.sum(1).tolist() == pytest.approx([1, 1, 1])
    for row in range(3):
        for column in range(7):
            chance = math.exp(logits[row, column]) / sum(math.exp(value) for value in logits[row])
            assert found[row, column].item() == pytest.approx(0.4 * chance + 0.6 * (row == column), abs=1e-6)
    assert momentum_targets(logits, 0.0, torch.tensor([6, 5, 4])).argmax(1).tolist() == [6, 5, 4]
    assert not momentum_targets(logits.requires_grad_(), 0.4).requires_grad


def test_candidates_of_a_label_share_the_target_equally():
    found = same_label_targets(torch.tensor([7, 8, 9]), torch.tensor([7, 8, 7, 3]))
    assert found.tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_rows_without_a_right_key_count_in_no_mean():
    similarity, targets = normal(3, 4), torch.tensor([[0, 1.0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    found = image_text_contrastive(similarity, similarity, targets=targets)
    expected = cross_entropy(similarity[[0, 2]], torch.tensor([1, 3]))
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    numbers = torch.tensor([1, -100, 3])
    assert image_text_contrastive(similarity, similarity, targets=numbers).loss.item() == pytest.approx(
        expected.item()
    )


def test_a_key_that_is_ruled_out_changes_nothing():
    similarity = normal(3, 3)
    ruled = torch.cat([similarity, torch.full((3, 1), -math.inf)], 1).requires_grad_()
    found = image_text_contrastive(ruled, ruled)
    assert found.loss.item() == pytest.approx(cross_entropy(similarity, torch.arange(3)).item(), rel=1e-6)
    found.loss.backward()
    assert ruled.grad.isfinite().all()


def test_one_label_each_is_the_plain_contrast_and_one_for_all_is_uniform():
    similarity = normal(4, 4)
    plain = image_text_contrastive(similarity).loss.item()
    assert unified_contrastive(similarity, torch.tensor([5, 3, 9, 0])).loss.item() == pytest.approx(plain)
    alike = unified_contrastive(torch.zeros(4, 4), torch.zeros(4).long()).loss.item()
    assert alike == pytest.approx(math.log(4))
    pair = torch.tensor([1, 1, 2, 3])
    shares = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    expected = (plain_contrast(similarity, shares) + plain_contrast(similarity.mT, shares)) / 2
    assert unified_contrastive(similarity, pair).loss.item() == pytest.approx(expected, rel=1e-6)


def test_sigmoids_of_the_identity():
    assert sigmoid_contrastive(torch.eye(2), 1.0, 0.0).loss.item() == pytest.approx(1.0064089, abs=1e-7)


def test_sigmoids_are_those_of_a_plain_loop():
    similarity, total = normal(3, 4), 0.0
    right = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    for i in range(3):
        for j in range(4):
            logit = 2.0 * float(similarity[i, j]) - 0.5
            total += math.log(1 + math.exp(-logit if right[i, j] else logit)) / 3
    found = sigmoid_contrastive(similarity, 2.0, -0.5, right)
    assert found.loss.item() == pytest.approx(total, rel=1e-6)


def test_chunks_of_sigmoids_add_up():
    similarity = normal(4, 4)
    whole = sigmoid_contrastive(similarity).loss
    eye = torch.eye(4).bool()
    chunks = [
        sigmoid_contrastive(similarity[:, part], positives=eye[:, part]).loss for part in ([0, 1], [2, 3])
    ]
    assert whole.item() == pytest.approx(sum(chunks).item(), rel=1e-6)


def test_similarities_that_are_not_square_need_the_other_direction():
    with pytest.raises(UserError, match=r"shape \(2, 3\) are not square: give text_to_image"):
        image_text_contrastive(torch.zeros(2, 3))
    with pytest.raises(UserError, match="3 queries have 2 keys"):
        image_text_contrastive(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(UserError, match=r"shape \(2, 4\) do not fit 2 x 3"):
        image_text_contrastive(torch.zeros(2, 3), torch.zeros(2, 3), targets=torch.zeros(2, 4))


# --------------------------------------------------------------------------------------------- many positives


def test_two_positives_and_a_negative():
    scores, right = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[True, True, False]])
    assert mil_nce(scores, right).loss.item() == pytest.approx(0.1688476, abs=1e-7)


def test_rows_without_a_positive_and_candidates_that_are_none_do_not_count():
    scores = torch.tensor([[1.0, 1.0, 0.0, 9.0], [1.0, 2.0, 3.0, 9.0]], requires_grad=True)
    right = torch.tensor([[True, True, False, True], [False, False, False, True]])
    valid = torch.tensor([[True, True, True, False]] * 2)
    found = mil_nce(scores, right, valid)
    assert found.loss.item() == pytest.approx(0.1688476, abs=1e-7)
    found.loss.backward()
    assert scores.grad[1].eq(0).all()
    assert scores.grad.isfinite().all()


def released_mil_nce(similarity):
    """The authors' sums, video by video."""
    total, count = 0.0, len(similarity)
    for i in range(count):
        own = sum(math.exp(value) for value in similarity[i, i])
        texts = sum(math.exp(value) for j in range(count) for value in similarity[i, j])
        videos = sum(math.exp(value) for j in range(count) for value in similarity[j, i])
        total += math.log(texts + videos) - math.log(own)
    return total / count


def test_candidates_of_videos_are_texts_of_all_and_videos_for_the_own_texts():
    similarity = normal(3, 3, 2)
    twice = mil_nce(*video_text_candidates(similarity, positives_twice=True)).loss.item()
    assert twice == pytest.approx(released_mil_nce(similarity), rel=1e-6)
    sure = 20 * torch.eye(3)[:, :, None].expand(3, 3, 2)
    assert mil_nce(*video_text_candidates(sure, positives_twice=True)).loss.item() == pytest.approx(
        math.log(2), abs=1e-5
    )
    assert mil_nce(*video_text_candidates(sure)).loss.item() == pytest.approx(0, abs=1e-5)


# ---------------------------------------------------------------------------------------------------- ranking


def plain_ranking(similarity, margin, kind, join, same):
    """Both directions, pair by pair."""
    total, size = 0.0, len(similarity)
    for matrix, alike in ((similarity, same), (similarity.mT, same.mT)):
        for i in range(size):
            terms = []
            for j in range(size):
                if i != j and not alike[i, j]:
                    gap = float(matrix[i, j] - matrix[i, i])
                    terms.append(max(0.0, margin + gap) if kind == "hinge" else math.log(1 + math.exp(gap)))
            total += {"mean": sum(terms) / len(terms), "sum": sum(terms), "hardest": max(terms)}[join]
    return total / size


@pytest.mark.parametrize("kind", ["hinge", "lse"])
@pytest.mark.parametrize("join", ["mean", "sum", "hardest"])
def test_ranking_is_that_of_plain_loops(kind, join):
    similarity, same = normal(5, 5), torch.zeros(5, 5).bool()
    same[0, 3] = same[4, 1] = True
    found = hinge_ranking(similarity, margin=0.4, kind=kind, negatives=join, same=same).loss.item()
    assert found == pytest.approx(plain_ranking(similarity, 0.4, kind, join, same), rel=1e-6)


def test_a_margin_of_half_beyond_the_gap():
    found = hinge_ranking(torch.eye(2), margin=1.5)
    assert found.loss.item() == 1
    assert found.aux["violations"].item() == 1
    assert hinge_ranking(torch.eye(2), margin=0.9).loss.item() == 0
    assert hinge_ranking(torch.zeros(2, 2), kind="lse").loss.item() == pytest.approx(2 * math.log(2))


def test_unknown_ways_to_rank_are_refused():
    with pytest.raises(UserError, match="no ranking loss 'cosine'; there are hinge and lse"):
        hinge_ranking(torch.eye(2), kind="cosine")
    with pytest.raises(UserError, match="no way 'all' to join negatives"):
        hinge_ranking(torch.eye(2), negatives="all")
    with pytest.raises(UserError, match=r"shape \(2, 3\) are not square"):
        hinge_ranking(torch.zeros(2, 3))


def released_video_ranking(scores, margin, pool=None, weight=10.0):
    """HERO's two losses: each video has the same number of queries, in order."""
    queries, videos = scores.shape
    each = queries // videos
    losses = []
    for transposed in (False, True):
        total = 0.0
        for query in range(queries):
            own = query // each
            others = (
                [float(scores[query, v]) for v in range(videos) if v != own]
                if not transposed
                else [float(scores[q, own]) for q in range(queries) if q // each != own]
            )
            terms = [max(0.0, margin + s - float(scores[query, own])) for s in sorted(others, reverse=True)]
            if pool is not None:
                terms = [term * (weight if at < pool else 0.1) for at, term in enumerate(terms)]
            total += sum(terms) / len(terms)
        losses.append(total / queries)
    return losses


def test_videos_with_several_queries_are_ranked_as_in_the_released_code():
    scores, owners = normal(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    videos, queries = released_video_ranking(scores, 0.1)
    found = video_query_ranking(scores, owners)
    assert found.aux["videos"].item() == pytest.approx(videos, rel=1e-6)
    assert found.aux["queries"].item() == pytest.approx(queries, rel=1e-6)
    assert found.loss.item() == pytest.approx(videos + queries, rel=1e-6)
    videos, queries = released_video_ranking(scores, 0.1, pool=1)
    found = video_query_ranking(scores, owners, hard_pool=1, query_weight=2.0)
    assert found.loss.item() == pytest.approx(videos + 2 * queries, rel=1e-6)


def test_one_query_a_video_is_the_ranking_of_pairs():
    scores = normal(4, 4)
    for kind in ("hinge", "lse"):
        found = video_query_ranking(scores, torch.arange(4), kind=kind).loss
        assert found.item() == pytest.approx(hinge_ranking(scores, kind=kind).loss.item(), rel=1e-6)


def test_one_video_alone_has_nothing_to_rank():
    scores = normal(2, 1).requires_grad_()
    loss = video_query_ranking(scores, torch.zeros(2).long()).loss
    assert loss.item() == 0
    loss.backward()
    assert scores.grad.eq(0).all()
