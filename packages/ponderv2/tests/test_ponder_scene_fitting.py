"""Scenes as they go into a model, and fits of one scene's volume."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.errors import RunFailed, UserError
from nonet.kernels.trilinear import trilinear
from ponderv2.cameras import project
from ponderv2.reading import open_scenes
from ponderv2.scene_fitting import FitPlan, finer_volume, fit_scene, with_rays
from ponderv2.scene_inputs import draw_pixels, scene_input
from ponderv2.synthetic import make_room
from ponderv2.synthetic_layouts import write_rooms

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import small_model

CHANNELS = ("color",)
PLAN = FitPlan(steps=3, rays=16)


@pytest.fixture(scope="module")
def room():
    return make_room(0, views=4, size=(16, 12), points=800)


@pytest.fixture(scope="module")
def encoded(room):
    given = scene_input(room, voxel=0.2, channels=CHANNELS, every=4)
    model = small_model().eval()
    with torch.no_grad():
        return model, model.encode(given.batch), given


def test_views_that_are_held_out_do_not_go_in(room):
    given = scene_input(room, voxel=0.2, channels=CHANNELS, every=3)
    assert [view.name for view in given.inputs] == ["000000", "000002", "000003"]
    assert [view.name for view in given.held_out] == ["000001"]
    few = scene_input(room, voxel=0.2, channels=CHANNELS, every=3, most=2)
    assert [view.name for view in few.inputs] == ["000000", "000003"]
    none = scene_input(room, voxel=0.2, channels=CHANNELS)
    assert len(none.inputs) == 4
    assert none.statement == "No view was held out."
    fewer = scene_input(room, voxel=0.2, channels=CHANNELS, every=5)
    assert len(fewer.inputs) == 4, "as pre-training, which saw all of them"
    assert not fewer.held_out


def test_it_is_said_whether_points_of_held_out_views_went_in(room, tmp_path):
    own = scene_input(room, voxel=0.2, channels=CHANNELS, every=4)
    assert not own.fused
    assert "its own: points that they see were input" in own.statement
    write_rooms("7scenes", [room], tmp_path)
    (scene,) = open_scenes([f"7scenes:{tmp_path}"])
    fused = scene_input(scene, voxel=0.2, channels=CHANNELS, every=4)
    assert fused.fused
    assert "made of the other 3" in fused.statement
    whole = scene_input(scene, voxel=0.2, channels=CHANNELS)
    assert len(fused.sample.cloud) < len(whole.sample.cloud)


def test_cameras_of_a_scene_s_input_still_see_its_points(room):
    given = scene_input(room, voxel=0.2, channels=CHANNELS)
    points = given.sample.cloud.coord
    back = points @ given.to_scene[:3, :3].T + given.to_scene[:3, 3]
    for number, view in enumerate(given.inputs):
        one, other = project(view, points), project(room.view(number), back)
        assert np.allclose(one.u[one.depth > 0.1], other.u[one.depth > 0.1], atol=1e-2)
        assert np.allclose(one.depth, other.depth, atol=1e-4)
    assert room.sdf(back) == pytest.approx(np.zeros(len(back)), abs=1e-4)


def test_a_scene_all_of_whose_views_are_held_out_is_refused(room):
    with pytest.raises(UserError, match=r"holding out every 1\. of 4 views leaves none"):
        scene_input(room, voxel=0.2, channels=CHANNELS, every=1)


def test_rays_are_drawn_over_the_pixels_with_depth_of_all_views(room):
    views = [room.view(number) for number in range(3)]
    views[1].depth[:] = 0
    rays = draw_pixels(views, 4000, np.random.default_rng(0))
    assert len(rays.depth) == 4000
    assert (rays.depth > 0).all()
    centres = [view.camera_to_world[:3, 3].astype(np.float32) for view in views]
    shares = [np.isclose(rays.origin, centre).all(1).mean() for centre in centres]
    pixels = [(view.depth > 0).sum() for view in views]
    assert shares[1] == 0
    assert shares[0] == pytest.approx(pixels[0] / sum(pixels), abs=0.03)
    ends = rays.origin + rays.direction * rays.depth[:, None]
    assert np.abs(room.sdf(ends)).max() < 1e-4
    with pytest.raises(UserError, match="no view has depth"):
        draw_pixels([views[1]], 4, np.random.default_rng(0))


def test_a_fit_lowers_the_loss_and_leaves_the_model_as_it_was(encoded):
    model, volume, given = encoded
    before = copy.deepcopy(model.state_dict())
    fitted = fit_scene(model, volume, given.batch, given.inputs, FitPlan(steps=25, rays=64, rate=0.02))
    assert np.mean(fitted.losses[-5:]) < 0.7 * np.mean(fitted.losses[:2])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = {
        name.split(".")[0]
        for name, value in fitted.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"field", "renderer"}
    assert not torch.equal(fitted.encoded.volume, volume.volume)
    assert not any(weight.requires_grad for weight in fitted.model.parameters())
    assert not fitted.encoded.volume.requires_grad


def test_a_fit_is_the_same_for_a_seed_and_goes_nowhere_without_steps(encoded):
    model, volume, given = encoded
    one, again, other = (
        fit_scene(model, volume, given.batch, given.inputs, replace(PLAN, seed=seed)) for seed in (1, 1, 2)
    )
    assert one.losses == again.losses
    assert torch.equal(one.encoded.volume, again.encoded.volume)
    assert one.losses != other.losses
    still = fit_scene(model, volume, given.batch, (), FitPlan(steps=0))
    assert still.encoded is volume
    assert still.losses == []


def test_a_fit_counts_its_steps_and_takes_a_finer_volume(encoded):
    model, volume, given = encoded
    steps = []
    plan = replace(PLAN, finer=2)
    fitted = fit_scene(model, volume, given.batch, given.inputs, plan, done=lambda: steps.append(1))
    assert len(steps) == len(fitted.losses) == 3
    assert fitted.encoded.volume.shape[2:] == tuple(2 * side for side in volume.volume.shape[2:])


def test_a_loss_that_is_not_finite_names_scene_and_term(encoded):
    model, volume, given = encoded
    broken = volume._replace(volume=volume.volume * float("nan"))
    with pytest.raises(RunFailed, match=r"scene room0000: \w+ is not finite in step 0 of its fit"):
        fit_scene(model, broken, given.batch, given.inputs, PLAN)


def test_a_finer_volume_says_the_same_at_the_middles_of_the_old_cells():
    volume = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    line = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 3)] * 3, indexing="ij"), -1).reshape(1, -1, 3)
    ramp = torch.linspace(0, 1, 5).expand(1, 1, 3, 4, 5).contiguous()
    fine = finer_volume(ramp, 3)
    assert fine.shape == (1, 1, 9, 12, 15)
    assert torch.allclose(trilinear(fine, line), trilinear(ramp, line), atol=1e-6)
    same = finer_volume(volume, 1)
    assert torch.equal(same, volume)
    assert same.data_ptr() != volume.data_ptr()


def test_rays_of_a_batch_are_those_of_its_views(encoded):
    _, _, given = encoded
    batch = with_rays(given.batch, given.inputs, 10, np.random.default_rng(0))
    assert batch.rays.origin.shape == (1, 10, 3)
    assert batch.valid.all()
    assert given.batch.rays is None


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"rays": 0}, {"finer": 0}, {"seed": -1}, {"rate": 0.0}])
def test_a_plan_that_cannot_be_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name} is {value:g}"):
        FitPlan(**wrong)
