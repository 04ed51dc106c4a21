"""Losses of completion, generation and knowledge: worked numbers, plain loops, refusals."""

import math

import pytest
import torch
from torch.nn import functional

from nonet.errors import UserError
from nonet.testing import normal, whole
from nonet.vision_language.objectives import (
    answer_label,
    answer_scores,
    aspect_places,
    bidirectional_seq2seq,
    bins_to_box,
    box_to_bins,
    causal_lm,
    denoise,
    detector_labels,
    discrete_elbo,
    frame_contrast,
    frame_regression,
    instruct,
    knowledge_masking,
    logit_laplace,
    masked_audio,
    masked_codes,
    masked_lm,
    masked_pixels,
    modality_decoding,
    patchify,
    place_logits,
    prefix_lm,
    region_classification,
    region_kl,
    region_regression,
    regions_to_ids,
    scene_graph_prediction,
    sentiment_prediction,
    seq2seq_multitask,
    soft_scores,
    text_to_image_lm,
)


def logs(logits):
    """Plain log softmax of one vector, by hand."""
    values = [math.exp(float(value)) for value in logits]
    return [math.log(value / sum(values)) if value else -math.inf for value in values]


IDS = whole(7, 3, 6)
LABELS = IDS.masked_fill(whole(2, 3, 6, seed=1).bool(), -100)
MASK = whole(2, 3, 6, seed=2).bool()
LOGITS = normal(3, 6, 7, seed=3)


# tokens


def test_uniform_logits_over_berts_vocabulary_cost_ln_30522():
    logits = torch.zeros(2, 3, 30522)
    labels = torch.tensor([[5, -100, 7], [-100, -100, 30521]])
    value = masked_lm(logits, labels)
    assert value.loss.item() == pytest.approx(10.326203, abs=1e-6)
    assert value.aux["count"].item() == 3


def test_masked_lm_is_the_mean_over_masked_tokens():
    cells = [(b, t) for b in range(3) for t in range(6) if LABELS[b, t] != -100]
    by_hand = -sum(logs(LOGITS[b, t])[LABELS[b, t]] for b, t in cells) / len(cells)
    value = masked_lm(LOGITS, LABELS)
    assert value.loss.item() == pytest.approx(by_hand, abs=1e-6)
    right = sum(int(LOGITS[b, t].argmax() == LABELS[b, t]) for b, t in cells)
    assert value.aux["accuracy"].item() == pytest.approx(right / len(cells))


def test_three_tokens_with_uniform_logits_over_four_cost_ln_4():
    value = causal_lm(torch.zeros(1, 3, 4), torch.tensor([[1, 2, 3]]))
    assert value.loss.item() == pytest.approx(math.log(4), abs=1e-6)
    assert value.aux["perplexity"].item() == pytest.approx(4, abs=1e-5)
    assert value.aux["count"].item() == 2  # the first token is given
    aligned = causal_lm(torch.zeros(1, 3, 4), torch.tensor([[1, 2, 3]]), shift=False)
    assert aligned.loss.item() == pytest.approx(math.log(4), abs=1e-6)
    assert aligned.aux["count"].item() == 3


def test_causal_logits_are_of_the_next_token():
    by_hand = -sum(logs(LOGITS[b, t])[IDS[b, t + 1]] for b in range(3) for t in range(5)) / 15
    assert causal_lm(LOGITS, IDS).loss.item() == pytest.approx(by_hand, abs=1e-6)


def test_a_prefix_of_0_is_the_causal_loss():
    value = prefix_lm(LOGITS, IDS, torch.zeros(3, dtype=torch.long))
    assert value.loss.item() == causal_lm(LOGITS, IDS).loss.item()


def test_only_tokens_from_the_prefix_on_are_predicted():
    prefix = torch.tensor([0, 3, 5])
    terms = [-logs(LOGITS[b, t - 1])[IDS[b, t]] for b in range(3) for t in range(max(1, int(prefix[b])), 6)]
    assert prefix_lm(LOGITS, IDS, prefix).loss.item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)


@pytest.mark.parametrize("prefix", [6, 7, -1])
def test_a_prefix_that_leaves_nothing_is_an_error(prefix):
    with pytest.raises(UserError, match=rf"example 1: a prefix of {prefix} of 6 positions leaves nothing"):
        prefix_lm(LOGITS, IDS, torch.tensor([0, prefix, 2]))


def test_a_prefix_as_long_as_a_padded_text_is_an_error():
    labels = IDS.clone()
    labels[2, 4:] = -100
    prefix_lm(LOGITS, labels, torch.tensor([0, 0, 3]))
    with pytest.raises(UserError, match="example 2: a prefix of 4"):
        prefix_lm(LOGITS, labels, torch.tensor([0, 0, 4]))


def test_label_smoothing_spreads_a_share_over_the_vocabulary():
    rows = [logs(row) for row in LOGITS.flatten(0, 1)]
    target = IDS.flatten().tolist()
    terms = [-(0.9 * row[word] + 0.1 * sum(row) / 7) for row, word in zip(rows, target, strict=True)]
    assert denoise(LOGITS, IDS, label_smoothing=0.1).loss.item() == pytest.approx(sum(terms) / 18, abs=1e-6)


def test_both_kinds_of_examples_are_one_masked_loss():
    kind = torch.tensor([True, False, True])
    value = bidirectional_seq2seq(LOGITS, LABELS, kind)
    assert value.loss.item() == masked_lm(LOGITS, LABELS).loss.item()
    assert value.aux["seq2seq"].item() == pytest.approx(masked_lm(LOGITS[kind], LABELS[kind]).loss.item())
    assert value.aux["bidirectional"].item() == pytest.approx(masked_lm(LOGITS[1:2], LABELS[1:2]).loss.item())


# answers and tasks


def test_soft_scores_are_the_mean_over_the_ten_ways_to_leave_one_out():
    for count in range(11):
        people = [1] * count + [0] * (10 - count)
        ways = [min(1, (sum(people) - left_out) / 3) for left_out in people]
        assert soft_scores(torch.tensor(count)).item() == pytest.approx(sum(ways) / 10)


def test_answers_are_scored_one_by_one_and_summed():
    assert answer_scores(torch.zeros(2, 5), torch.zeros(2, 5)).loss.item() == pytest.approx(5 * math.log(2))
    logits, scores = normal(3, 4), torch.rand(3, 4, generator=torch.Generator().manual_seed(4))
    terms = [
        -(s * math.log(1 / (1 + math.exp(-z))) + (1 - s) * math.log(1 - 1 / (1 + math.exp(-z))))
        for z, s in zip(logits.flatten().tolist(), scores.flatten().tolist(), strict=True)
    ]
    value = answer_scores(logits, scores)
    assert value.loss.item() == pytest.approx(sum(terms) / 3, abs=1e-5)
    usual = functional.binary_cross_entropy_with_logits(logits, scores) * 4
    assert value.loss.item() == pytest.approx(usual.item(), abs=1e-5)
    picked = sum(scores[row, logits[row].argmax()].item() for row in range(3)) / 3
    assert value.aux["score"].item() == pytest.approx(picked)
    half = answer_scores(logits, scores, torch.tensor([True, False, False]))
    assert half.loss.item() == pytest.approx(sum(terms[:4]), abs=1e-5)


def test_one_answer_a_question_ignores_questions_without_one():
    logits = normal(3, 4)
    value = answer_label(logits, torch.tensor([2, -100, 0]))
    assert value.loss.item() == pytest.approx(-(logs(logits[0])[2] + logs(logits[2])[0]) / 2, abs=1e-6)


def test_boxes_become_bins_and_come_back_within_half_a_bin():
    assert box_to_bins(torch.tensor([0, 0.25, 0.5, 1.0])).tolist() == [0, 250, 500, 999]
    boxes = torch.rand(50, 4, generator=torch.Generator().manual_seed(5)).sort(-1).values
    assert (bins_to_box(box_to_bins(boxes)) - boxes).abs().max() <= 0.5 / 999 + 1e-6
    assert box_to_bins(boxes, bins=2).unique().tolist() == [0, 1]


@pytest.mark.parametrize("box", [[0, 0, 1.2, 1], [0.5, 0, 0.4, 1], [0, 0, float("nan"), 1], [-0.1, 0, 1, 1]])
def test_boxes_that_are_no_normalised_xyxy_are_refused_with_their_place(box):
    with pytest.raises(UserError, match=r"box \(1,\).*xyxy in 0..1"):
        box_to_bins(torch.tensor([[0, 0, 1, 1.0], box]))


def test_regions_and_bins_have_their_own_tokens():
    assert regions_to_ids(torch.tensor([0, 35]), first_id=32000, number=36).tolist() == [32000, 32035]
    with pytest.raises(UserError, match=r"outside 0..35"):
        regions_to_ids(torch.tensor([36]), first_id=32000, number=36)
    assert instruct("vqa", "what is it?") == "vqa: what is it?"
    with pytest.raises(UserError, match="no instruction for the task 'vgq'"):
        instruct("vgq", "")


def test_each_example_of_a_multitask_batch_counts_once():
    tasks = torch.tensor([2, 0, 2])
    labels = LABELS.clone()
    labels[0, 1:] = -100
    labels[0, 0] = 3
    each = [masked_lm(LOGITS[row : row + 1], labels[row : row + 1]).loss.item() for row in range(3)]
    value = seq2seq_multitask(LOGITS, labels, tasks)
    assert value.loss.item() == pytest.approx(sum(each) / 3, abs=1e-6)
    expected = [each[1], 0, (each[0] + each[2]) / 2]
    assert value.aux["task_losses"].tolist() == pytest.approx(expected, abs=1e-6)
    assert value.aux["task_counts"].tolist() == [1, 0, 2]
    weighted = seq2seq_multitask(LOGITS, labels, tasks, weights=torch.tensor([3.0, 1.0, 1.0]))
    assert weighted.loss.item() == pytest.approx((each[0] + 3 * each[1] + each[2]) / 3, abs=1e-6)


# regions, patches, frames


def test_regression_of_identical_vectors_is_0_and_else_the_squared_distance():
    features = normal(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert region_regression(features, features, mask).loss.item() == 0
    guess = normal(2, 3, 4, seed=1)
    distances = [(guess[b, r] - features[b, r]).square().sum().item() for b, r in mask.nonzero().tolist()]
    value = region_regression(guess, features, mask)
    assert value.loss.item() == pytest.approx(sum(distances) / 3, rel=1e-5)
    mean = region_regression(guess, features, mask, over_features="mean").loss.item()
    # UNITER's code: the mean over all elements of the masked rows
    assert mean == pytest.approx(functional.mse_loss(guess[mask], features[mask]).item(), rel=1e-5)
    assert frame_regression(guess, features, mask).loss.item() == value.loss.item()


def test_the_detectors_background_is_never_the_class():
    probabilities = torch.tensor([[[0.9, 0.02, 0.08], [0.2, 0.5, 0.3]]])
    assert detector_labels(probabilities).tolist() == [[2, 1]]
    logits = normal(1, 2, 3)
    by_hand = -(logs(logits[0, 0])[2] + logs(logits[0, 1])[1]) / 2
    mask = torch.ones(1, 2).bool()
    assert region_classification(logits, probabilities, mask).loss.item() == pytest.approx(by_hand, abs=1e-6)
    more = probabilities.clone()
    more[..., 0] = 100.0  # whatever column 0 holds
    assert region_classification(logits, more, mask).loss.item() == pytest.approx(by_hand, abs=1e-6)
    labels = torch.tensor([[2, -100]])
    one = region_classification(logits, labels, mask)
    assert one.loss.item() == pytest.approx(-logs(logits[0, 0])[2], abs=1e-6)
    assert one.aux["count"].item() == 1


def test_the_divergence_of_7_3_from_uniform_is_0_0822829():
    probabilities = torch.tensor([[[0.7, 0.3]]])
    value = region_kl(torch.zeros(1, 1, 2), probabilities, torch.ones(1, 1).bool())
    assert value.loss.item() == pytest.approx(0.0822829, abs=1e-7)


def test_divergence_of_certain_detectors_is_finite_and_equals_pytorchs_sum():
    logits = normal(2, 3, 5)
    probabilities = normal(2, 3, 5, seed=1).softmax(-1)
    probabilities[0, 0] = torch.tensor([0, 1.0, 0, 0, 0])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    reference = functional.kl_div(logits[mask].log_softmax(-1), probabilities[mask], reduction="sum") / 3
    assert region_kl(logits, probabilities, mask).loss.item() == pytest.approx(reference.item(), rel=1e-5)
    uniters = functional.kl_div(logits[mask].log_softmax(-1), probabilities[mask], reduction="none").mean()
    ours = region_kl(logits, probabilities, mask, over_classes="mean").loss.item()
    assert ours == pytest.approx(uniters.item(), rel=1e-5)
    assert region_kl(probabilities.log(), probabilities, mask).loss.item() == pytest.approx(0, abs=1e-6)


def test_codes_of_visible_patches_do_not_count():
    logits, codes = normal(2, 4, 6), whole(6, 2, 4)
    mask = torch.tensor([[True, False, False, True], [False, True, False, False]])
    reference = functional.cross_entropy(logits[mask], codes[mask])  # BEiT's
    assert masked_codes(logits, codes, mask).loss.item() == pytest.approx(reference.item(), abs=1e-6)


def test_patches_are_tiles_in_reading_order():
    images = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    tile = images[1, :, 2:4, 4:6]  # the last of two rows of three
    assert torch.equal(patches[1, 5].view(2, 2, 3).permute(2, 0, 1), tile)
    with pytest.raises(UserError, match="patches of 4 pixels do not fill an image of 4 x 6"):
        patchify(images, 4)


def test_normalised_pixels_have_mean_0_and_variance_1():
    pixels = normal(1, 2, 9) * 5 + 3
    mask = torch.tensor([[True, False]])
    # against a prediction of zeros the loss is the mean square of the target: (n - 1) / n of the variance
    assert masked_pixels(torch.zeros(1, 2, 9), pixels, mask).loss.item() == pytest.approx(8 / 9, abs=1e-4)
    raw = masked_pixels(torch.zeros(1, 2, 9), pixels, mask, normalise=False).loss.item()
    assert raw == pytest.approx(pixels[0, 0].square().mean().item(), rel=1e-6)
    flat = masked_pixels(torch.zeros(1, 2, 9), torch.ones(1, 2, 9), mask).loss
    assert flat.item() == 0  # a patch of one colour


def test_equal_scores_with_n_negatives_cost_ln_n_plus_1():
    mask = torch.tensor([[True, False, False, False]])
    value = frame_contrast(torch.zeros(1, 4, 3), normal(1, 4, 3), mask)
    assert value.loss.item() == pytest.approx(math.log(4), abs=1e-6)
    valid = torch.tensor([[True, True, True, False]])
    assert frame_contrast(
        torch.zeros(1, 4, 3), normal(1, 4, 3), mask, valid=valid
    ).loss.item() == pytest.approx(math.log(3), abs=1e-6)


def test_frames_are_told_from_the_unmasked_ones_of_their_video():
    guess, features = normal(2, 5, 3), normal(2, 5, 3, seed=1)
    mask = torch.tensor([[True, True, False, False, False], [False, False, True, False, False]])
    terms = []
    for b, f in mask.nonzero().tolist():
        scores = [float(guess[b, f] @ features[b, f]) / 0.5]
        scores += [float(guess[b, f] @ features[b, j]) / 0.5 for j in range(5) if not mask[b, j]]
        terms.append(-logs(scores)[0])
    value = frame_contrast(guess, features, mask, temperature=0.5)
    assert value.loss.item() == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_the_batch_variant_is_the_released_codes_cross_entropy():
    guess, features = normal(2, 5, 3), normal(2, 5, 3, seed=1)
    mask = torch.tensor([[True, True, False, False, False], [False, False, True, False, False]])
    unmasked = normal(4, 3, seed=2)
    logits = torch.cat([guess[mask] @ features[mask].T, guess[mask] @ unmasked.T], 1)
    reference = functional.cross_entropy(logits, torch.arange(3))
    # masked frames against each other, and outside negatives in place of the unmasked ones
    value = frame_contrast(guess, features, mask, valid=mask, negatives="batch", others=unmasked)
    assert value.loss.item() == pytest.approx(reference.item(), rel=1e-5)
    wider = frame_contrast(guess, features, mask, negatives="batch")
    logits = torch.cat([guess[mask] @ features[mask].T, guess[mask] @ features[~mask].T], 1)
    reference = functional.cross_entropy(logits, torch.arange(3))
    assert wider.loss.item() == pytest.approx(reference.item(), rel=1e-5)
    turned = frame_contrast(guess, features * 7, mask, cosine=True).loss.item()
    assert turned == pytest.approx(
        frame_contrast(guess * 3, features, mask, cosine=True).loss.item(), rel=1e-5
    )


# images from text


def test_text_and_image_have_shares_of_1_8_and_7_8():
    image = torch.tensor([[0, 0, 0, 1, 1, 1]]).bool().repeat(3, 1)
    text = [-logs(LOGITS[b, t])[IDS[b, t + 1]] for b in range(3) for t in (0, 1)]
    codes = [-logs(LOGITS[b, t])[IDS[b, t + 1]] for b in range(3) for t in (2, 3, 4)]
    value = text_to_image_lm(LOGITS, IDS, image)
    assert value.loss.item() == pytest.approx(sum(text) / 6 / 8 + 7 / 8 * sum(codes) / 9, abs=1e-6)
    assert text_to_image_lm(LOGITS, IDS, image, text_weight=None).loss.item() == pytest.approx(
        causal_lm(LOGITS, IDS).loss.item(), abs=1e-6
    )
    assert value.aux["image"].item() == pytest.approx(sum(codes) / 9, abs=1e-6)
    scaled = text_to_image_lm(LOGITS, IDS, image, text_weight=None, text_scale=5.0)
    assert scaled.loss.item() == pytest.approx((5 * sum(text) + sum(codes)) / (5 * 6 + 9), abs=1e-6)
    with pytest.raises(UserError, match=r"in 0\.\.1"):
        text_to_image_lm(LOGITS, IDS, image, text_weight=7)


def test_the_bound_of_a_uniform_posterior_is_the_reconstruction_alone():
    errors = torch.tensor([2.0, 4.0])
    uniform = discrete_elbo(errors, torch.zeros(2, 3, 8))
    assert uniform.loss.item() == pytest.approx(3, abs=1e-6)
    assert uniform.aux["perplexity"].item() == pytest.approx(8, rel=1e-5)
    certain = torch.zeros(2, 3, 8)
    certain[..., 5] = 100
    value = discrete_elbo(errors, certain, beta=0.5)
    assert value.loss.item() == pytest.approx(3 + 0.5 * 3 * math.log(8), rel=1e-6)
    assert value.aux["perplexity"].item() == pytest.approx(1, rel=1e-5)


def test_the_divergence_of_codes_is_a_sum_over_positions_and_a_mean_over_images():
    posterior = normal(2, 3, 4)
    q = posterior.softmax(-1)
    uniform = torch.full((4,), 0.25).log().expand(2, 3, 4)
    reference = functional.kl_div(uniform, q, reduction="sum") / 2
    value = discrete_elbo(torch.zeros(2), posterior)
    assert value.aux["kl"].item() == pytest.approx(reference.item(), rel=1e-5)


def test_the_logit_laplace_density_integrates_to_1():
    x = torch.linspace(0, 1, 20001, dtype=torch.float64)[1:-1]
    density = (-logit_laplace(x[:, None], torch.tensor(0.3), torch.tensor(-0.5), margin=0.0)).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-3)
    edges = logit_laplace(torch.tensor([[0.0, 1.0]]), torch.zeros(2), torch.zeros(2))
    b, near = 1.0, math.log(0.9 / 0.1)
    assert edges.item() == pytest.approx(2 * (near / b + math.log(2 * 0.1 * 0.9)), rel=1e-5)


# knowledge and modalities


def test_objects_attributes_and_relations_have_a_mean_each():
    value = scene_graph_prediction(
        torch.zeros(1, 4, 7), torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 1, 2, 3]])
    )
    assert value.loss.item() == pytest.approx(3 * math.log(7), abs=1e-5)
    kinds = whole(4, 3, 6, seed=8)
    parts = [masked_lm(LOGITS, LABELS.masked_fill(kinds != kind, -100)).loss.item() for kind in (1, 2, 3)]
    value = scene_graph_prediction(LOGITS, LABELS, kinds)
    assert value.loss.item() == pytest.approx(sum(parts), abs=1e-6)
    assert value.aux["relation"].item() == pytest.approx(parts[2], abs=1e-6)


def test_anchors_and_neighbours_are_one_mean_and_reported_apart():
    anchors = MASK
    value = knowledge_masking(LOGITS, LABELS, anchors)
    assert value.loss.item() == masked_lm(LOGITS, LABELS).loss.item()
    apart = masked_lm(LOGITS, LABELS.masked_fill(~anchors, -100)).loss.item()
    assert value.aux["anchors"].item() == pytest.approx(apart, abs=1e-6)


def test_an_unknown_sentiment_of_three_costs_ln_3():
    assert sentiment_prediction(
        torch.zeros(4, 3), torch.tensor([0, 1, 2, -100])
    ).loss.item() == pytest.approx(math.log(3), abs=1e-6)


def test_aspects_are_places_of_the_text_behind_the_labels():
    decoder, source, labels = normal(2, 3, 4), normal(2, 5, 4, seed=1), normal(3, 4, seed=2)
    valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
    logits = place_logits(decoder, source, labels, valid)
    assert logits.shape == (2, 3, 8)
    assert logits[1, 2, 4].item() == pytest.approx(float(decoder[1, 2] @ source[1, 1]), abs=1e-5)
    assert logits[1, :, 5:].eq(-torch.inf).all()
    targets = torch.tensor([[3 + 1, 3 + 4, 2], [3 + 1, 0, -100]])
    terms = [-logs(logits[b, t])[targets[b, t]] for b, t in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]]
    assert aspect_places(logits, targets).loss.item() == pytest.approx(sum(terms) / 5, rel=1e-5)
    with pytest.raises(UserError, match="padding"):
        aspect_places(logits, torch.tensor([[3, 3, 2], [3 + 2, 0, -100]]))


def test_hidden_modalities_have_a_mean_each_and_add_up():
    losses = torch.tensor([[1.0, math.nan, 5.0], [3.0, 4.0, math.inf]])
    hidden = torch.tensor([[True, False, True], [True, True, False]])
    value = modality_decoding(losses, hidden)
    assert value.loss.item() == pytest.approx(2 + 4 + 5)
    assert value.aux["modalities"].tolist() == [2, 4, 5]


def test_audio_that_is_one_off_everywhere_costs_1():
    frames = normal(2, 4, 6)
    mask = torch.tensor([[True, False, True, False], [False, False, False, True]])
    assert masked_audio(frames + 1, frames, mask).loss.item() == pytest.approx(1, abs=1e-6)
    assert masked_audio(frames - 2, frames, mask).loss.item() == pytest.approx(2, abs=1e-6)
    assert masked_audio(frames - 2, frames, mask, distance="squared").loss.item() == pytest.approx(
        4, abs=1e-5
    )
