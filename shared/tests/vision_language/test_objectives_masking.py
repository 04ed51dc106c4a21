"""Masks are drawn as the papers say, from the generator alone, and never where they must not be."""

import math

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import seeded
from nonet.vision_language.objectives import (
    bidirectional_attention,
    choose,
    choose_anchors,
    choose_modalities,
    choose_prefix,
    choose_segments,
    choose_seq2seq,
    corrupt,
    corrupt_spans,
    hide_modality,
    mask_nodes,
    mask_regions,
    mask_tokens,
    mixed_attention,
    noise_spans,
    one_modality,
    prefix_attention,
    shift_right,
    with_overlapping,
)


def runs(row):
    """Lengths of runs of True."""
    found, length = [], 0
    for value in [*row.tolist(), False]:
        if value:
            length += 1
        elif length:
            found.append(length)
            length = 0
    return found


CANDIDATES = torch.ones(200, 100, dtype=torch.bool)
CANDIDATES[:, 0] = CANDIDATES[:, 90:] = False


def test_15_percent_are_chosen_and_never_a_special_token():
    mask = choose(CANDIDATES, 0.15, seeded())
    assert not mask[~CANDIDATES].any()
    share = mask.sum().item() / CANDIDATES.sum().item()
    assert abs(share - 0.15) < 4 * math.sqrt(0.15 * 0.85 / CANDIDATES.sum().item())


def test_of_the_chosen_80_percent_are_masks_10_other_tokens_and_10_stay():
    ids = torch.full((100, 100), 7)
    masked = corrupt(
        ids, torch.ones_like(ids).bool(), mask_id=1, replacements=torch.tensor([20, 21]), generator=seeded()
    )
    shares = [(masked.ids == value).float().mean().item() for value in (1, 7, 20, 21)]
    assert shares == pytest.approx([0.8, 0.1, 0.05, 0.05], abs=0.012)
    assert (masked.labels == 7).all()


def test_what_is_not_chosen_stays_and_has_no_label():
    ids = torch.randint(10, 99, (8, 40), generator=seeded())
    candidates = torch.rand(8, 40, generator=seeded(1)) < 0.7
    masked = mask_tokens(
        ids, candidates, mask_id=1, replacements=torch.arange(200, 210), generator=seeded(2), share=0.5
    )
    assert (masked.ids[~masked.mask] == ids[~masked.mask]).all()
    assert (masked.labels[~masked.mask] == -100).all()
    assert (masked.labels[masked.mask] == ids[masked.mask]).all()
    assert not masked.mask[~candidates].any()
    assert set(masked.ids[masked.mask & (masked.ids != ids)].tolist()) <= {1, *range(200, 210)}


def test_the_generator_alone_decides():
    first, again, other = (choose(CANDIDATES, 0.3, seeded(seed)) for seed in (5, 5, 6))
    torch.manual_seed(99)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_row_with_candidates_has_at_least_one_mask_and_a_row_without_has_none():
    candidates = torch.zeros(50, 6, dtype=torch.bool)
    candidates[:25, 2:4] = True
    mask = choose(candidates, 1e-9, seeded())
    assert mask.sum(1).tolist() == [1] * 25 + [0] * 25
    assert choose(candidates, 0.0, seeded(), at_least_one=False).sum() == 0
    assert torch.equal(choose(candidates, 1.0, seeded()), candidates)


def test_an_exact_number_is_the_rounded_share_of_the_candidates():
    candidates = torch.arange(40).expand(3, 40) < torch.tensor([[40], [11], [2]])
    assert choose(candidates, 0.25, seeded(), exact=True).sum(1).tolist() == [10, 3, 1]
    assert not (choose(candidates, 0.25, seeded(), exact=True) & ~candidates).any()


def test_whole_words_are_masked_with_all_their_pieces():
    words = torch.tensor([[0, 1, 1, 2, 3, 3, 3, 4]]).repeat(300, 1)
    candidates = torch.ones_like(words).bool()
    candidates[:, 0] = False
    mask = choose(candidates, 0.3, seeded(), groups=words)
    assert (mask[:, 1] == mask[:, 2]).all()
    assert (mask[:, 4] == mask[:, 5]).all()
    assert (mask[:, 5] == mask[:, 6]).all()
    assert not mask[:, 0].any()
    assert 0.25 < mask[:, 3].float().mean() < 0.42  # .3, and a little more where nothing else was chosen


@pytest.mark.parametrize("longest", [1, 4, 10])
def test_segments_cover_the_share_of_tokens_far_from_the_left_edge(longest):
    mask = choose_segments(torch.ones(300, 120, dtype=torch.bool), 0.3, seeded(), longest=longest)
    assert mask[:, longest:].float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_a_single_segment_has_up_to_ten_tokens_and_every_length_occurs():
    mask = choose_segments(torch.ones(2000, 60, dtype=torch.bool), 0.0005, seeded())
    alone = [runs(row)[0] for row in mask if len(runs(row)) == 1 and not row[-10:].any()]
    assert set(alone) >= set(range(1, 11))
    assert sum(length > 10 for length in alone) < 0.02 * len(alone)  # two that touch


def test_segments_end_at_tokens_that_are_no_candidates():
    candidates = torch.ones(400, 30, dtype=torch.bool)
    candidates[:, 10] = False
    alone = torch.zeros_like(candidates)
    alone[:, 6:10] = True  # segments that begin just before the barrier
    assert not choose_segments(alone, 0.5, seeded(), longest=10)[:, 10:].any()
    assert not choose_segments(candidates, 0.5, seeded(), longest=10)[:, 10].any()


def test_one_modality_at_a_time_is_masked():
    text, regions = torch.ones(400, 5).bool(), torch.ones(400, 3).bool()
    kept_text, kept_regions = one_modality(text, regions, seeded())
    assert (kept_text.any(1) ^ kept_regions.any(1)).all()
    assert 0.4 < kept_text.any(1).float().mean() < 0.6
    whole, other = one_modality(text, regions, seeded(), whole_batch=True)
    assert whole.all() ^ other.all()


def test_boxes_that_overlap_a_masked_one_are_masked_with_it():
    boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 8], [5, 0, 15, 10], [50, 50, 60, 60], [0, 0, 0, 0.0]]])
    mask = torch.tensor([[True, False, False, False, False]])
    # intersections over unions with the first: .8, 1/3, 0, 0
    assert with_overlapping(mask, boxes).tolist() == [[True, True, False, False, False]]
    assert with_overlapping(mask, boxes, above=0.3).tolist() == [[True, True, True, False, False]]
    assert with_overlapping(mask, boxes, above=0.8).tolist() == [[True, False, False, False, False]]
    valid = torch.tensor([[True, False, True, True, True]])
    assert with_overlapping(mask, boxes, valid=valid).tolist() == [[True, False, False, False, False]]
    assert not with_overlapping(torch.zeros_like(mask), boxes).any()


def test_masked_regions_are_zero_vectors_and_the_input_is_not_touched():
    features = torch.ones(2, 3, 4)
    mask = torch.tensor([[True, False, False], [False, False, True]])
    shown = mask_regions(features, mask)
    assert shown.sum(-1).tolist() == [[0, 4, 4], [4, 4, 0]]
    assert features.min() == 1


def test_lxmerts_regions_are_zero_in_80_percent_and_of_another_region_in_10():
    features = torch.arange(1, 20001.0).view(100, 200, 1)
    mask = torch.ones(100, 200, dtype=torch.bool)
    shown = mask_regions(features, mask, as_zero=0.8, as_other=0.1, generator=seeded())
    assert (shown == 0).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (shown == features).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.isin(shown, torch.cat([features.flatten(), torch.zeros(1)])).all()
    with pytest.raises(UserError, match="need a generator"):
        mask_regions(features, mask, as_zero=0.8)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: choose(CANDIDATES, 1.5, seeded()), "1.5; it must be in 0..1"),
        (lambda: choose_segments(CANDIDATES, 1.0, seeded()), "in 0..1 without 1"),
        (
            lambda: choose(CANDIDATES, 0.5, seeded(), exact=True, groups=CANDIDATES.long()),
            "exclude each other",
        ),
        (lambda: choose_modalities(CANDIDATES, seeded(), share=-0.1), "it must be in 0..1"),
    ],
)
def test_impossible_shares_are_refused(call, text):
    with pytest.raises(UserError, match=text):
        call()


def test_chances_beyond_one_are_refused():
    ids = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(UserError, match="sum <= 1"):
        corrupt(
            ids, ids.bool(), mask_id=1, replacements=ids[0], generator=seeded(), as_mask=0.8, as_other=0.3
        )


# attention


def test_a_prefix_of_0_is_causal_and_one_of_all_positions_is_bidirectional():
    valid = torch.ones(2, 5, dtype=torch.bool)
    mask = prefix_attention(torch.tensor([0, 5]), valid)
    assert torch.equal(mask[0], torch.ones(5, 5).tril().bool())
    assert torch.equal(mask[1], bidirectional_attention(valid)[1])


def test_the_seq2seq_mask_lets_the_source_see_itself_and_the_target_what_is_behind_it():
    valid = torch.tensor([[True, True, True, True, False]])
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    assert prefix_attention(torch.tensor([2]), valid)[0].int().tolist() == expected


def test_examples_of_a_batch_have_either_mask():
    valid = torch.ones(2, 4, dtype=torch.bool)
    mask = mixed_attention(torch.tensor([1, 1]), valid, torch.tensor([True, False]))
    assert mask[0, 0].tolist() == [True, False, False, False]
    assert mask[1].all()
    assert choose_seq2seq(4000, seeded()).float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_prefixes_are_uniform_between_the_image_and_the_last_token():
    lengths = torch.full((6000,), 8)
    drawn = choose_prefix(lengths, seeded(), least=torch.full((6000,), 3))
    counts = torch.bincount(drawn, minlength=9)
    assert counts[:3].sum() == 0
    assert counts[8] == 0
    assert (counts[3:8] - 1200).abs().max() < 150
    with pytest.raises(UserError, match="nothing to predict"):
        choose_prefix(torch.tensor([4]), seeded(), least=4)


# span corruption


def test_corrupted_spans_are_those_of_the_worked_example():
    ids = torch.tensor([[11, 12, 13, 14, 15], [11, 12, 13, 0, 0]])
    spans = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]]).bool()
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    sentinels = torch.tensor([99, 98, 97])
    with_end = corrupt_spans(ids, spans, valid, sentinels=sentinels, pad_id=0, end_id=1)
    assert with_end.ids.tolist() == [[11, 99, 14, 98], [99, 12, 13, 0]]
    assert with_end.labels.tolist() == [[99, 12, 13, 98, 15, 97, 1], [99, 11, 98, 1, -100, -100, -100]]
    plain = corrupt_spans(ids, spans, valid, sentinels=sentinels, pad_id=0, closing=False)
    assert plain.labels.tolist() == [[99, 12, 13, 98, 15], [99, 11, -100, -100, -100]]
    assert shift_right(plain.labels, start_id=5, pad_id=0).tolist() == [
        [5, 99, 12, 13, 98],
        [5, 99, 11, 0, 0],
    ]
    with pytest.raises(UserError, match="3 sentinels are needed and 2 given"):
        corrupt_spans(ids, spans, valid, sentinels=sentinels[:2], pad_id=0)


def test_the_text_can_be_put_together_again_from_ids_and_labels():
    lengths = torch.randint(2, 41, (60,), generator=seeded())
    valid = torch.arange(40) < lengths[:, None]
    ids = torch.randint(1, 500, (60, 40), generator=seeded(1)).masked_fill(~valid, 0)
    spans = noise_spans(lengths, 40, seeded(2), share=0.3)
    sentinels = torch.arange(1000, 1040)
    source, labels = corrupt_spans(ids, spans, valid, sentinels=sentinels, pad_id=0)
    for row in range(60):
        holes, key = {}, None
        for token in labels[row][labels[row] != -100].tolist():
            if token >= 1000:
                key = token
                holes[key] = []
            else:
                holes[key].append(token)
        text = [new for token in source[row].tolist() for new in holes.get(token, [token]) if new]
        assert text == ids[row, : lengths[row]].tolist()


def test_noise_spans_have_t5s_number_of_tokens_and_of_spans():
    lengths = torch.tensor([100, 40, 20, 7, 2, 1])
    for seed in range(20):
        spans = noise_spans(lengths, 100, seeded(seed))
        # round(.15 n), at least 1 and at most n - 1; round(that / 3) spans
        assert spans.sum(1).tolist() == [15, 6, 3, 1, 1, 0]
        assert [len(runs(row)) for row in spans] == [5, 2, 1, 1, 1, 0]
        assert not spans[:, 0].any()


def test_every_composition_of_a_span_is_equally_likely():
    spans = noise_spans(torch.full((3000,), 30), 30, seeded(), share=0.2, mean_length=3)  # 6 in 2 spans
    first = torch.tensor([runs(row)[0] for row in spans])
    counts = torch.bincount(first, minlength=6)[1:]
    assert len(counts) == 5
    assert (counts - 600).abs().max() < 90


# scene graphs, knowledge, modalities


def test_only_nodes_of_the_scene_graph_are_masked_and_30_percent_of_them():
    kinds = torch.tensor([[0, 1, 1, 0, 2, 3, 0, 1]]).repeat(3000, 1)
    nodes = torch.tensor([[0, 1, 1, 0, 2, 3, 0, 4]]).repeat(3000, 1)
    ids = torch.arange(10, 18).repeat(3000, 1)
    masked = mask_nodes(ids, kinds, nodes, mask_id=1, replacements=torch.tensor([50]), generator=seeded())
    assert not masked.mask[:, [0, 3, 6]].any()
    assert torch.equal(masked.mask[:, 1], masked.mask[:, 2])
    # 30 %, and one of four nodes where chance chose none (.7^4)
    assert masked.mask[:, 4].float().mean().item() == pytest.approx(0.3 + 0.7**4 / 4, abs=0.03)


def test_neighbours_are_masked_with_their_anchor():
    candidates = torch.tensor([[True, False, False, True, False]]).repeat(100, 1)
    links = torch.zeros(100, 5, 5, dtype=torch.bool)
    links[:, 0, 3] = links[:, 0, 1] = links[:, 2, 3] = True
    candidates[:, 3] = False
    anchors, neighbours = choose_anchors(candidates, links, seeded())
    assert anchors.all(0).tolist() == [True, False, False, False, False]
    assert not neighbours.any()  # neither may be masked
    candidates[:, 3] = candidates[:, 1] = True
    anchors, neighbours = choose_anchors(candidates, links, seeded())
    assert torch.equal(neighbours[:, 3], anchors[:, 0] & ~anchors[:, 3])
    assert not (anchors & neighbours).any()
    assert not choose_anchors(candidates, links, seeded(), chance=0.0)[1].any()


def test_a_neighbour_is_masked_with_the_chance_of_its_link():
    candidates = torch.zeros(4000, 3, dtype=torch.bool)
    candidates[:, :] = True
    links = torch.zeros(4000, 3, 3, dtype=torch.bool)
    links[:, 0, 1] = True
    chance = torch.full((4000, 3, 3), 0.25)
    anchors, neighbours = choose_anchors(candidates, links, seeded(), share=0.3, chance=chance)
    open_to = anchors[:, 0] & ~anchors[:, 1]
    assert neighbours[open_to, 1].float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_a_hidden_modality_is_never_the_last_one():
    present = torch.tensor([[True, True, True], [True, False, False], [False, True, True]]).repeat(500, 1)
    hidden = choose_modalities(present, seeded(), share=1.0)
    assert not (hidden & ~present).any()
    assert (hidden.sum(1) == (present.sum(1) - 1)).all()
    few = choose_modalities(present, seeded(), share=0.3)[0::3].float().mean(0)
    assert few.tolist() == pytest.approx([0.3 - 0.009] * 3, abs=0.06)


def test_a_hidden_modality_gives_way_to_zeros_or_a_learned_vector():
    features = torch.ones(2, 3, 4)
    hidden = torch.tensor([True, False])
    assert hide_modality(features, hidden).sum((1, 2)).tolist() == [0, 12]
    vector = torch.full((4,), 2.0, requires_grad=True)
    shown = hide_modality(features, hidden, stand_in=vector)
    assert shown.sum((1, 2)).tolist() == [24, 12]
    shown.sum().backward()
    assert vector.grad.tolist() == [3.0] * 4
