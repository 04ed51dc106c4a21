"""Mixed images by hand, by loops and by a patchifying convolution; plans by their counts and laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nonet.errors import RunFailed, UserError
from nonet.testing import normal, seeded
from timix import TextAwareMix
from timix.windows import partners, side_range


def mixed_in_loops(images, plan, patch):
    """Pixel by pixel, with the partner's window where the plan says."""
    mixed = images.clone()
    for i, (j, k) in enumerate(zip(plan.partner.tolist(), plan.k.tolist(), strict=True)):
        (y, x), (v, u) = plan.paste_yx[i].tolist(), plan.cut_yx[i].tolist()
        for a in range(k * patch):
            for b in range(k * patch):
                mixed[i, :, y * patch + a, x * patch + b] = images[j, :, v * patch + a, u * patch + b]
    return mixed


def mixed_by_unfolding(images, scores, k, patch):
    """The operator as the paper's code has it, in other words: all scores of every window laid out and added,
    images as rows of patches, and the partner the batch's mirror image."""
    (count, grid, _), size = scores.shape, images.shape[-1]
    spread = (scores - scores.mean((1, 2), keepdim=True)) / scores.flatten(1).std(1)[:, None, None]
    sums = F.unfold(spread[:, None], k).sum(1)
    places = F.unfold(torch.arange(1.0 * grid * grid).view(1, 1, grid, grid), k)[0].long()  # k^2, windows
    rows = F.unfold(images, patch, stride=patch).mT
    mixed = rows.clone()
    for i in range(count):
        j = count - 1 - i
        mixed[i, places[:, sums[i].argmin()]] = rows[j, places[:, sums[j].argmax()]]
    return F.fold(mixed.mT, size, patch, stride=patch)


@pytest.mark.parametrize("k", [5, 8, 12])
def test_pixels_are_those_of_the_released_operator_bit_by_bit(k):
    mix, scores, images = TextAwareMix(16, k / 16, k / 16), normal(6, 16, 16, seed=k), normal(6, 3, 64, 64)
    plan = mix.plan(scores, seeded())
    assert plan.k.tolist() == [k] * 6
    assert torch.equal(mix.pixels(images, plan), mixed_by_unfolding(images, scores, k, 4))


def test_two_images_of_four_by_four_patches_by_hand():
    scores = torch.zeros(2, 4, 4)
    scores[0, 2:, 2:], scores[0, 0, 0] = -5, 9  # the least is below right, the greatest at the upper left
    scores[1, 0:2, 1:3], scores[1, 2, 0] = 7, -8
    plan = TextAwareMix(4, 0.5, 0.5).plan(scores, seeded())
    assert plan.k.tolist() == [2, 2]
    assert plan.lam.tolist() == [0.75, 0.75]
    assert plan.partner.tolist() == [1, 0]
    assert plan.paste_yx.tolist() == [[2, 2], [2, 0]]
    assert plan.cut_yx.tolist() == [[0, 1], [0, 0]]
    images = torch.arange(16.0).view(1, 1, 4, 4) + torch.tensor([0.0, 100.0]).view(2, 1, 1, 1)
    mixed = TextAwareMix(4, 0.5, 0.5).pixels(images, plan)
    assert mixed[0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 101, 102], [12, 13, 105, 106]]
    assert mixed[1, 0].tolist() == [
        [100, 101, 102, 103],
        [104, 105, 106, 107],
        [0, 1, 110, 111],
        [4, 5, 114, 115],
    ]


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(2, 6),
    grid=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    partner=st.sampled_from(["flip", "roll", "derange"]),
    region=st.sampled_from(["maxmin", "aligned", "random", "cutmix"]),
    each=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pixels_are_the_own_ones_outside_of_the_window_and_the_partners_inside(
    count, grid, partner, region, each, seed
):
    mix = TextAwareMix(grid, 0.34, 0.9, partner=partner, region=region, per_sample_k=each)
    plan = mix.plan(normal(count, *grid, seed=seed), seeded(seed))
    images = torch.arange(count * 4 * math.prod(grid)).view(count, 1, 2 * grid[0], 2 * grid[1])
    assert torch.equal(mix.pixels(images, plan), mixed_in_loops(images, plan, 2))
    assert sorted(plan.partner.tolist()) == list(range(count))
    assert (plan.partner != torch.arange(count)).all()
    assert plan.lam.tolist() == pytest.approx([1 - k * k / math.prod(grid) for k in plan.k.tolist()])
    assert each or plan.k.unique().numel() == 1
    if region in ("aligned", "cutmix"):
        assert torch.equal(plan.paste_yx, plan.cut_yx)


def test_mixed_embeddings_are_the_embeddings_of_mixed_pixels_bit_by_bit():
    patchify = torch.nn.Conv2d(3, 32, 8, 8)
    images, mix = normal(5, 3, 48, 48), TextAwareMix(6, per_sample_k=True)
    plan = mix.plan(normal(5, 6, 6, seed=1), seeded())
    with torch.no_grad():
        from_pixels = patchify(mix.pixels(images, plan)).flatten(2).mT
        from_tokens = mix.tokens(patchify(images).flatten(2).mT, plan)
    assert torch.equal(from_pixels, from_tokens)


def test_aligned_windows_are_pasted_where_the_text_aware_ones_were_cut():
    scores = normal(4, 8, 8)
    plans = [TextAwareMix(8, region=region).plan(scores, seeded()) for region in ("maxmin", "aligned")]
    assert torch.equal(plans[0].cut_yx, plans[1].cut_yx)
    assert torch.equal(plans[1].paste_yx, plans[1].cut_yx)
    assert not torch.equal(plans[0].paste_yx, plans[0].cut_yx)


def test_windows_at_16_patches_have_sides_5_to_12_and_cover_three_tenths():
    mix, scores = TextAwareMix(16), torch.zeros(2, 16, 16)
    sides = [mix.plan(scores, np.random.default_rng(i)).k[0].item() for i in range(200)]
    assert sorted(set(sides)) == [5, 6, 7, 8, 9, 10, 11, 12]
    areas = [k * k / 256 for k in range(5, 13)]
    assert (areas[0], areas[-1], sum(areas) / 8) == pytest.approx((0.0977, 0.5625, 0.303), abs=5e-4)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-100, 100), seed=st.integers(0, 99))
def test_scale_and_offset_of_scores_change_nothing(factor, offset, seed):
    scores, mix = normal(4, 9, 9, seed=seed, dtype=torch.float64), TextAwareMix(9)
    plan = mix.plan(scores, seeded(seed))
    found = mix.plan(factor * scores + offset, seeded(seed))
    assert torch.equal(plan.paste_yx, found.paste_yx)
    assert torch.equal(plan.cut_yx, found.cut_yx)


def test_of_equal_windows_the_first_one_row_by_row_is_taken():
    mix = TextAwareMix(5, 0.4, 0.4)
    plan = mix.plan(torch.full((2, 5, 5), 0.3), seeded())  # the released code divides by a deviation of 0
    assert not plan.paste_yx.any()
    assert not plan.cut_yx.any()
    scores = torch.zeros(2, 5, 5)
    scores[:, 3:, :2] = scores[:, 1:3, 3:] = 0.1  # the greatest sum twice, lower left and upper right
    scores[:, 0, :] = scores[:, 3:, 3:] = -0.7  # the least one at the right below
    scores[:, 0, 0] = scores[:, 0, 2] = 0.0
    plan = mix.plan(scores, seeded())
    assert plan.cut_yx.tolist() == [[1, 3], [1, 3]]
    assert plan.paste_yx.tolist() == [[3, 3], [3, 3]]


def test_a_plan_is_that_of_its_generator():
    scores, mix = normal(7, 8, 8), TextAwareMix(8, partner="derange", per_sample_k=True)
    plans = [mix.plan(scores, seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(plans[0].partner, plans[1].partner)
    assert torch.equal(plans[0].k, plans[1].k)
    assert not torch.equal(plans[0].k, plans[2].k)


def test_a_generator_gives_one_number_whatever_the_batch():
    generators = [seeded(), seeded()]
    TextAwareMix(8).plan(normal(3, 8, 8), generators[0])
    TextAwareMix(8, region="mixup").plan(normal(9, 8, 8), generators[1])
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


@pytest.mark.parametrize("how", ["flip", "derange"])
def test_an_odd_batch_has_no_image_that_meets_itself(how):
    for seed in range(30):
        found = partners(5, how, np.random.default_rng(seed))
        assert sorted(found) == [0, 1, 2, 3, 4]
        assert (found != np.arange(5)).all()


def test_one_image_is_not_mixed_and_a_warning_says_so():
    mix, images = TextAwareMix(4), normal(1, 3, 8, 8)
    with pytest.warns(UserWarning, match="one image is not mixed"):
        plan = mix.plan(normal(1, 4, 4), seeded())
    mix.plan(normal(1, 4, 4), seeded())  # another warning would be an error
    assert torch.equal(mix.pixels(images, plan), images)
    assert plan.lam.tolist() == [1.0]


def test_a_part_of_the_batch_is_mixed_alone():
    mix, images = TextAwareMix(4), normal(6, 3, 8, 8)
    plan = mix.plan(normal(6, 4, 4), seeded())
    rows = torch.tensor([4, 1])
    part = plan.only(rows)
    assert torch.equal(mix.pixels(images, part), mix.pixels(images, plan)[rows])
    filled = part.fill(images, mix.pixels(images, part))
    assert torch.equal(filled[[0, 2, 3, 5]], images[[0, 2, 3, 5]])
    assert torch.equal(filled[[4, 1]], mix.pixels(images, part))


def test_mixup_weights_whole_images_and_mixgen_takes_their_mean():
    images, scores = normal(4, 3, 8, 8), torch.zeros(4, 4, 4)
    mixgen = TextAwareMix(4, region="mixgen")
    plan = mixgen.plan(scores, seeded())
    torch.testing.assert_close(mixgen.pixels(images, plan), (images + images.flip(0)) / 2)
    mixup = TextAwareMix(4, region="mixup", partner="roll")
    plan = mixup.plan(scores, seeded())
    wanted = [w * images[i] + (1 - w) * images[(i + 1) % 4] for i, w in enumerate(plan.lam.tolist())]
    torch.testing.assert_close(mixup.pixels(images, plan), torch.stack(wanted))
    assert plan.lam.unique().numel() == 4


def test_few_scores_that_are_not_finite_count_as_0_and_many_end_the_run():
    mix, scores = TextAwareMix(16), normal(2, 16, 16)
    scores[0, 0, 0], scores[1, 3, 3] = torch.nan, torch.inf
    sound = scores.nan_to_num(0, 0, 0)
    plan, wanted = mix.plan(scores, seeded()), TextAwareMix(16).plan(sound, seeded())
    assert torch.equal(plan.cut_yx, wanted.cut_yx)
    assert mix.bad_scores == mix.look() == 2
    scores[0, :2] = torch.nan
    with pytest.raises(RunFailed, match="33 of 512 patch scores are NaN or infinite"):
        mix.plan(scores, seeded())


def test_images_that_do_not_divide_into_patches_are_refused_with_sizes_that_do():
    mix = TextAwareMix(16)
    plan = mix.plan(normal(2, 16, 16), seeded())
    with pytest.raises(UserError, match="images 225 pixels high have no 16 equal patches: 224 or 240"):
        mix.pixels(normal(2, 3, 225, 224), plan)
    with pytest.raises(UserError, match="make them 16 x 32: patches must be square"):
        mix.pixels(normal(2, 3, 256, 512), plan)
    with pytest.raises(UserError, match="the plan is for 2 images of 16 x 16 patches, and these are 3"):
        mix.pixels(normal(3, 3, 16, 16), plan)
    with pytest.raises(UserError, match="leave class tokens out"):
        mix.tokens(normal(2, 257, 8), plan)
    with pytest.raises(UserError, match=r"scores of shape \(2, 256\)"):
        mix.plan(normal(2, 256), seeded())


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.1, 0.5), "r_min 0.1 of 6 patches is less than one: give 0.167 or more"),
        ((0.5, 1.0), "r_max 1 would paste a whole picture"),
        ((0.6, 0.5), "r_min 0.6 is above r_max 0.5"),
        ((0.4, math.nan), "r_min 0.4 is above r_max nan"),
    ],
)
def test_sides_that_make_no_sense_are_refused(shares, message):
    with pytest.raises(UserError, match=message):
        side_range((6, 9), *shares)


def test_sides_are_clamped_on_demand_and_rounding_loses_no_patch():
    assert side_range((6, 9), 0.1, 1.0, clamp=True) == (1, 5)
    assert side_range((100, 100), 0.29, 0.57) == (29, 57)  # 28.999999999999996 in floating point


@pytest.mark.parametrize("wrong", [{"region": "middle"}, {"partner": "none"}])
def test_unknown_words_are_refused_with_those_there_are(wrong):
    with pytest.raises(UserError, match=r"say (maxmin|flip), "):
        TextAwareMix(4, **wrong)
