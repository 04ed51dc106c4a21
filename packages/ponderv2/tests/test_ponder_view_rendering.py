"""Pictures of a ball that is known exactly, and how pictures are scored."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ponderv2.cameras import directions, look_at, pinhole, unproject
from ponderv2.scenes import View
from ponderv2.view_rendering import (
    Picture,
    ViewScore,
    blank_view,
    mean_score,
    render_view,
    score_view,
    shrunk,
)  # fmt: skip
from ponderv2.view_sheet import COLUMNS, GAP, class_colors, depth_image, label_image, view_sheet

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from ball_model import BOX, MIDDLE, RADIUS, ball_model, ball_view

K = pinhole(40, 30, 75.0)
POSE = look_at(MIDDLE + np.array([1.4, 0.5, 0.3]), MIDDLE + np.array([0, 0.1, 0]))


@pytest.fixture(scope="module")
def ball():
    model, encoded = ball_model()
    view = ball_view(POSE, K, (30, 40))
    return view, render_view(model, encoded, view)


def inner(view):
    """Pixels that see the ball and whose neighbours do, too: at its rim a sharp surface is a step."""
    seen = view.depth > 0
    for axis in (0, 1):
        for shift in (1, -1):
            seen = seen & np.roll(view.depth > 0, shift, axis)
    return seen


def test_depth_is_planar_and_in_metres(ball):
    view, picture = ball
    seen = inner(view)
    assert seen.sum() > 150
    assert np.abs(picture.depth - view.depth)[seen].max() < 0.02
    v, u = np.nonzero(seen)
    along = view.depth[seen] * np.linalg.norm(directions(view, u, v), axis=1)
    assert np.abs(picture.depth[seen] - along).max() > 0.1  # it is not the length of the ray
    points = unproject(view, u, v, picture.depth[seen])
    assert np.abs(np.linalg.norm(points - MIDDLE, axis=1) - RADIUS).max() < 0.02


def test_colours_and_normals_are_those_of_the_ball(ball):
    view, picture = ball
    seen = inner(view)
    assert np.abs(picture.color - view.color / 255.0)[seen].max() < 0.05
    v, u = np.nonzero(seen)
    normals = (unproject(view, u, v, view.depth[seen]) - MIDDLE) / RADIUS
    assert np.abs(picture.normal[seen] - normals).max() < 0.08


def test_the_mask_is_where_the_ball_is_and_the_rest_is_empty(ball):
    view, picture = ball
    assert (picture.mask != (view.depth > 0)).mean() < 0.05
    assert (picture.depth[~picture.mask] == 0).all()
    assert (picture.normal[~picture.mask] == 0).all()
    assert picture.opacity.max() < 1 + 1e-3
    assert picture.label is None


def test_a_camera_that_looks_away_sees_nothing():
    model, encoded = ball_model()
    away = ball_view(look_at(MIDDLE + np.array([3, 0, 0]), MIDDLE + np.array([6, 0, 0])), K, (6, 8))
    picture = render_view(model, encoded, away)
    assert not picture.mask.any()
    assert (picture.color == 0).all()
    assert score_view(picture, away).seen != score_view(picture, away).seen  # nothing to see: not a number


def test_chunks_change_nothing(ball):
    model, encoded = ball_model()
    view, picture = ball
    again = render_view(model, encoded, view, chunk=77)
    for one, other in zip(picture, again, strict=True):
        assert one is None if other is None else np.allclose(one, other, atol=1e-6)


def test_labels_are_the_nearest_text_vectors():
    model, encoded = ball_model()
    view = ball_view(POSE, K, (30, 40))
    ways = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]])
    picture = render_view(model, encoded, view, text=ways)
    seen = inner(view) & picture.mask
    v, u = np.nonzero(seen)
    normals = (unproject(view, u, v, view.depth[seen]) - MIDDLE) / RADIUS
    likeness = np.sort(normals @ ways.numpy().T, 1)
    clear = likeness[:, -1] - likeness[:, -2] > 0.15
    assert clear.sum() > 80
    assert (picture.label[seen][clear] == (normals @ ways.numpy().T).argmax(1)[clear]).all()
    assert (picture.label[~picture.mask] == -1).all()


def test_several_scenes_are_refused():
    model, encoded = ball_model()
    with pytest.raises(ValueError, match="2 scenes are encoded"):
        render_view(model, encoded._replace(volume=torch.zeros(2, 2, 4, 4, 4)), ball_view(POSE, K, (6, 8)))


def picture_of(view, color=0.0, depth=0.0):
    return Picture(
        view.color / np.float32(255) + np.float32(color), view.depth + np.float32(depth),
        np.zeros((*view.depth.shape, 3), np.float32), np.ones(view.depth.shape, np.float32), None,
    )  # fmt: skip


def test_scores_of_a_picture_that_is_off_by_a_known_amount():
    random = np.random.default_rng(0)
    color = random.integers(0, 200, (24, 32, 3), dtype=np.uint8)
    view = View("v", color, random.uniform(1, 3, (24, 32)).astype(np.float32), None, K, np.eye(4))
    found = score_view(picture_of(view, color=0.1, depth=0.25), view)
    assert found.psnr == pytest.approx(20.0, abs=1e-3)
    assert found.psnr_seen == pytest.approx(20.0, abs=1e-3)
    assert found.depth_error == pytest.approx(0.25, abs=1e-6)
    assert found.relative_error == pytest.approx((0.25 / view.depth).mean(), rel=1e-5)
    assert found.seen == 1
    assert score_view(picture_of(view), view).ssim == pytest.approx(1.0, abs=1e-6)


def test_pixels_without_true_depth_or_without_anything_rendered_have_no_depth_error():
    view = View("v", np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.float32), None, K, np.eye(4))
    view.depth[0] = 0
    picture = picture_of(view, depth=0.5)
    picture.opacity[1] = 0.4
    picture.depth[1] = 0
    found = score_view(picture, view)
    assert found.depth_error == pytest.approx(0.5)
    assert found.whole_error == pytest.approx((8 * 0.5 + 4 * 1.0) / 12)
    assert found.seen == pytest.approx(8 / 12)
    assert np.isnan(found.ssim)  # it compares windows of 11 pixels


def test_a_few_pixels_have_no_psnr_of_their_own():
    """Of 768 pixels 7 are under a hundredth, and 8 are not. What is drawn is 0.1 off."""
    color = np.full((24, 32, 3), 100, np.uint8)
    view = View("v", color, np.ones((24, 32), np.float32), None, K, np.eye(4))
    found = []
    for count in (0, 7, 8):
        picture = picture_of(view, color=0.1)
        picture.opacity[:] = 0
        picture.opacity[0, :count] = 1
        found.append(score_view(picture, view).psnr_seen)
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx(20.0, abs=1e-3)


def test_a_mean_leaves_out_what_is_no_number():
    nan = float("nan")
    mean = mean_score([ViewScore(20, nan, 0.5, 0.1, nan, 2, 1), ViewScore(30, nan, 0.7, nan, nan, 4, 0)])
    assert mean[0] == 25
    assert mean.ssim == pytest.approx(0.6)
    assert mean.depth_error == 0.1
    assert np.isnan(mean.psnr_seen)
    assert np.isnan(mean.relative_error)
    assert mean.plain() == {
        "psnr": 25, "psnr_seen": None, "ssim": pytest.approx(0.6), "depth_error": 0.1, "relative_error": None,
        "whole_error": 3, "seen": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_a_shrunk_view_looks_along_rays_of_the_whole_one(factor):
    view = ball_view(POSE, K, (30, 40))
    small = shrunk(view, factor)
    height, width = 30 // factor, 40 // factor
    assert small.depth.shape == (height, width)
    v, u = (grid.ravel() for grid in np.mgrid[0:height, 0:width])
    whole_v, whole_u = v * factor + factor // 2, u * factor + factor // 2
    assert np.allclose(directions(small, u, v), directions(view, whole_u, whole_v))
    assert np.array_equal(small.depth.ravel(), view.depth[whole_v, whole_u])
    block = view.color[:factor, :factor].reshape(-1, 3).mean(0)
    assert np.abs(small.color[0, 0] - block).max() <= 0.5


def test_an_image_cannot_be_shrunk_to_nothing():
    with pytest.raises(ValueError, match="cannot be shrunk by 31"):
        shrunk(ball_view(POSE, K, (30, 40)), 31)


def test_a_sheet_has_a_row_for_each_view(ball):
    view, picture = ball
    sheet = view_sheet([(view, picture)] * 2)
    assert sheet.width == len(COLUMNS) * (160 + GAP) - GAP
    assert sheet.height == 16 + 2 * (120 + GAP) - GAP
    first = np.asarray(sheet)[16 : 16 + 120 : 4, :160:4]
    assert np.array_equal(first, view.color)


def test_colours_of_depth_and_of_classes():
    depth = np.array([[0, 1.0, 2.0, 9.0]], np.float32)
    image = depth_image(depth, 1.0, 2.0)[0]
    assert image[0].tolist() == [128, 128, 128]
    assert image[1].sum() < image[2].sum()
    assert image[2].tolist() == image[3].tolist()
    colors = class_colors(np.arange(200))
    assert len({tuple(color) for color in colors.tolist()}) == 200
    assert label_image(np.array([[-1]])).tolist() == [[[128, 128, 128]]]


def test_a_blank_view_has_the_size_and_camera_that_it_was_given():
    view = blank_view("new", K, POSE, (3, 5))
    assert view.color.shape == (3, 5, 3)
    assert np.array_equal(view.camera_to_world, POSE)
    assert BOX.shape == (2, 3)
