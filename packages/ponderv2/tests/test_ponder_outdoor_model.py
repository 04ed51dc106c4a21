"""The outdoor models: LiDAR and cameras to a volume, rays out of it, losses, folders, and learning."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from nonet.testing import devices, full_precision
from ponderv2.model_config import SIZES, SpUNetConfig
from ponderv2.model_folders import load_backbone, read_model
from ponderv2.nuscenes import open_nuscenes
from ponderv2.outdoor_batches import OutdoorDataset, collate_outdoor
from ponderv2.outdoor_building import image_factor, open_streets
from ponderv2.outdoor_config import OutdoorConfig, OutdoorDetectorConfig, sized
from ponderv2.outdoor_detection import build_outdoor_detector
from ponderv2.outdoor_folders import load_outdoor, load_outdoor_detector, save_outdoor
from ponderv2.outdoor_model import build_outdoor_model, range_cube
from ponderv2.outdoor_options import OutdoorOptions

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))

from made_up_streets import write_nuscenes

OPTIONS = OutdoorOptions(
    low=(-20.0, -20.0, -3.0), high=(20.0, 20.0, 3.0), voxel=(1.0, 1.0, 0.5), cells=(20, 20, 4), rays=40,
    ray_near=2.0, ray_far=18.0, mask_block=4, samples=16, fine_samples=8, volume_width=8, near=0.2,
    image_backbone="convnext_atto", frozen_stages=0, pyramid_width=8, depth_bins=20, image_scale=1.0,
)  # fmt: skip
BACKBONE = SpUNetConfig(in_channels=4, stem=8, channels=(8, 16, 16, 8), blocks=(1, 1, 1, 1))


def config(modality, **changes):
    return OutdoorConfig(modality=modality, backbone=BACKBONE, outdoor=replace(OPTIONS, **changes))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    write_nuscenes(folder)
    return open_nuscenes(folder)


def batch_of(scenes, modality, epoch=0, **how):
    dataset = OutdoorDataset(scenes, OPTIONS, modality, seed=0, **how)
    return collate_outdoor([dataset[(epoch, 0)], dataset[(epoch, 1)]])


def made(modality, **changes):
    torch.manual_seed(0)
    return build_outdoor_model(config(modality, **changes))


def test_the_scale_is_the_same_along_all_axes():
    cube = range_cube(OutdoorOptions(), 1, torch.device("cpu"))
    assert cube.scale.tolist() == pytest.approx([1 / 54])
    assert cube.low.tolist() == pytest.approx([-1, -1, -5 / 54])
    assert cube.high.tolist() == pytest.approx([1, 1, 3 / 54])
    there = torch.tensor([[[54.0, 27, 3], [0, 0, 0]]])
    assert torch.allclose(cube.to_cube(there), there / 54)


@pytest.mark.parametrize("modality", ["lidar", "camera"])
def test_rays_come_back_with_depth_in_the_units_of_the_losses(scenes, modality):
    each, far = (40, 18.0) if modality == "lidar" else (60, 5.0)  # metres; few points are so near
    dataset = OutdoorDataset(scenes, replace(OPTIONS, rays=each, ray_far=far), modality, seed=0)
    model, batch = made(modality).eval(), collate_outdoor([dataset[(0, 0)], dataset[(0, 1)]])
    with torch.no_grad():
        encoded = model.encode(batch)
        rendered = model.render(encoded, batch.rays)
        metres = model.render_rays(encoded, batch.rays.origin, batch.rays.direction)
    assert encoded.volume.shape == (2, 8, 4, 20, 20)
    assert rendered.depth.shape == (2, each if modality == "lidar" else 2 * each)
    assert rendered.hit.all()
    assert torch.allclose(metres.depth, rendered.depth * 20, rtol=1e-4)
    assert metres.depth.max() < 30
    terms = model.losses(rendered, batch)
    assert set(terms) == {"depth", "color"}
    known = batch.rays.depth > 0
    error = float((rendered.depth - batch.rays.depth / 20).abs()[known].mean())
    assert float(terms["depth"]) == pytest.approx(10 * error, rel=1e-4)
    assert known.all() == (modality == "lidar")


def test_rays_without_a_colour_do_not_teach_colours(scenes):
    model, batch = made("lidar"), batch_of(scenes, "lidar")
    assert 0 < batch.colored.sum() < batch.colored.numel()
    rendered = model(batch)
    colored = batch.colored
    term = model.losses(rendered, batch)["color"]
    error = (rendered.color - batch.rays.color).abs().mean(-1)[colored].mean()
    assert float(term.detach()) == pytest.approx(10 * float(error.detach()), rel=1e-4)
    (gradient,) = torch.autograd.grad(term, rendered.color)
    assert not gradient[~colored].any()
    assert gradient[colored].any()
    none = replace(batch, colored=torch.zeros_like(colored))
    assert float(model.losses(rendered, none)["color"].detach()) == 0


def test_depth_alone_has_no_loss_of_colour_and_distances_can_be_asked_for(scenes):
    batch = batch_of(scenes, "lidar")
    model = made("lidar", color_weight=0.0)
    assert set(model.losses(model(batch), batch)) == {"depth"}
    model = made("lidar", sdf_weight=10.0, free_weight=1.0, eikonal_weight=0.01)
    assert set(model.losses(model(batch), batch)) == {"depth", "color", "sdf", "free", "eikonal"}
    assert model.terms.truncation == pytest.approx(0.54 / 20)


@pytest.mark.parametrize("modality", ["lidar", "camera"])
def test_every_trained_weight_gets_a_gradient(scenes, modality):
    model, batch = made(modality, eikonal_weight=0.01), batch_of(scenes, modality)
    torch.stack(list(model.losses(model(batch), batch).values())).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    assert model.backbone.state_dict()


def test_masked_patches_do_not_reach_the_volume(scenes):
    model, batch = made("camera").eval(), batch_of(scenes, "camera")
    cameras = batch.cameras
    hidden = ~cameras.visible.repeat_interleave(32, 2).repeat_interleave(32, 3)[:, :, None]
    assert hidden.any()
    other = replace(
        batch, cameras=replace(cameras, images=torch.where(hidden, 255 - cameras.images, cameras.images))
    )
    with torch.no_grad():
        assert torch.equal(model.encode(batch).volume, model.encode(other).volume)
        seen = replace(batch, cameras=replace(cameras, visible=None))
        assert not torch.equal(model.encode(batch).volume, model.encode(seen).volume)


def test_frames_of_a_batch_do_not_mix(scenes):
    for modality in ("lidar", "camera"):
        model = made(modality).eval()
        dataset = OutdoorDataset(scenes, OPTIONS, modality, seed=0)
        items = [dataset[(0, 0)], dataset[(0, 1)]]
        with torch.no_grad():
            both = model.encode(collate_outdoor(items)).volume
            second = model.encode(collate_outdoor(items[1:])).volume
        assert torch.allclose(both[1], second[0], atol=1e-4)
        assert not torch.allclose(both[0], second[0], atol=1e-2)


def test_voxels_land_in_the_cells_that_hold_them(scenes):
    model, batch = made("lidar").eval(), batch_of(scenes, "lidar", masks=False)
    with torch.no_grad():
        seen = model.encode(batch).features.view(2, 4, 20, 20, -1)
    occupied = seen.abs().sum(-1) > 0
    steps = torch.tensor([40 / 19, 40 / 19, 2.0])
    cell = ((batch.coord - torch.tensor([-20.0, -20, -3])) / steps).round().long()
    frame = batch.cells[:, 0]
    expected = torch.zeros_like(occupied)
    expected[frame, cell[:, 2], cell[:, 1], cell[:, 0]] = True
    assert torch.equal(occupied, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "steps"), [("lidar", 24), ("camera", 16)])
def test_rendering_two_streets_is_learned(scenes, modality, steps):
    model = made(modality).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    history = []
    for step in range(steps):
        batch = batch_of(scenes, modality, epoch=step)
        terms = model.losses(model(batch), batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    for name in ("depth", "color"):
        first, last = (np.mean([row[name] for row in part]) for part in (history[:3], history[-3:]))
        assert last < 0.75 * first, name


@pytest.mark.parametrize("modality", ["lidar", "camera"])
def test_a_folder_gives_the_same_model_back(scenes, tmp_path, modality):
    model, batch = made(modality).eval(), batch_of(scenes, modality)
    save_outdoor(tmp_path / "model", model, {"data": "streets"})
    again = load_outdoor(tmp_path / "model")
    assert again.street.outdoor == model.street.outdoor
    if modality == "camera":
        with pytest.raises(UserError, match="without a sparse U-Net"):
            read_model(tmp_path / "model").backbone()
    else:
        assert read_model(tmp_path / "model").backbone() == BACKBONE
    with torch.no_grad():
        assert torch.equal(again(batch).depth, model(batch).depth)
    detector = build_outdoor_detector(detector_config(modality, "centre"))
    load_backbone(detector.features.backbone, tmp_path / "model", say=lambda _: None)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(detector.features.backbone.state_dict()[name], tensor), name
    with pytest.raises(UserError, match="a model of kind outdoor; name one of `finetune det"):
        load_outdoor_detector(tmp_path / "model")
    assert "rendering streets" in (tmp_path / "model" / "README.md").read_text()


def detector_config(modality, head):
    return OutdoorDetectorConfig(
        modality=modality, backbone=BACKBONE, outdoor=OPTIONS, head=head, classes=("car", "pedestrian"),
        width=16, queries=9, layers=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("modality", "head"), [("lidar", "centre"), ("lidar", "queries"), ("camera", "centre")]
)
def test_detectors_find_boxes_and_come_back_from_their_folders(scenes, tmp_path, modality, head):
    torch.manual_seed(0)
    detector = build_outdoor_detector(detector_config(modality, head))
    batch = batch_of(scenes, modality, rays=False, masks=False)
    boxes = tuple(replace(each, label=(each.label > 0).astype(int)) for each in batch.true_boxes())
    batch = replace(batch, boxes=boxes)
    outputs = detector(batch)
    terms = detector.losses(outputs, batch)
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in detector.parameters())
    assert next(detector.features.parameters()).grad.any()
    save_outdoor(tmp_path / "model", detector)
    again = load_outdoor_detector(tmp_path / "model")
    detector.eval()
    with torch.no_grad():
        ours, theirs = detector.detect(detector(batch)), again.detect(again(batch))
    assert len(ours) == 2
    for one, two in zip(ours, theirs, strict=True):
        assert np.array_equal(one.center, two.center)
        assert (np.diff(one.score) <= 0).all()
    assert detector.truth(batch)[0].labels.tolist() == [0, 0, 0, 1]


@devices
@pytest.mark.parametrize("modality", ["lidar", "camera"])
def test_devices_agree(scenes, modality, device):
    model, batch = made(modality).eval(), batch_of(scenes, modality)
    detector = build_outdoor_detector(detector_config(modality, "centre")).eval()
    boxes = batch_of(scenes, modality, rays=False, masks=False)
    with torch.no_grad(), full_precision():
        here, outputs = model(batch), detector(boxes)
        there, others = model.to(device)(batch.to(device)), detector.to(device)(boxes.to(device))
    assert torch.allclose(there.depth.cpu(), here.depth, atol=1e-3)
    assert torch.allclose(others[0].cpu(), outputs[0], atol=1e-3)
    assert len(detector.detect(others)) == len(detector.detect(outputs)) == 2


def test_frames_without_boxes_do_not_teach_a_detector(scenes):
    detector = build_outdoor_detector(detector_config("lidar", "centre"))
    batch = replace(batch_of(scenes, "lidar", rays=False), boxes=None)
    with pytest.raises(UserError, match="frame0, frame1: frames without boxes"):
        detector.losses(detector(batch), batch)


def test_the_images_network_learns_more_slowly():
    factor = image_factor(OPTIONS, "camera")
    names = [name for name, _ in made("camera").named_parameters()]
    slow = {name for name in names if factor(f"model.{name}") != 1}
    assert slow == {name for name in names if name.startswith("backbone.encoder.")}
    assert {factor(name) for name in slow} == {0.1}
    sweeps = image_factor(OPTIONS, "lidar")
    assert {sweeps(name) for name, _ in made("lidar").named_parameters()} == {1.0}


def test_sizes_and_what_does_not_fit():
    parts = sized("lidar", "tiny", OPTIONS)
    assert parts["backbone"] == replace(SIZES["tiny"].backbone, in_channels=4)
    with pytest.raises(UserError, match="no size huge"):
        sized("lidar", "huge", OPTIONS)
    with pytest.raises(UserError, match="no classes"):
        OutdoorDetectorConfig()
    with pytest.raises(UserError, match="multiple of 8"):
        OutdoorDetectorConfig(classes=("car",), width=20)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"low": (0.0, 0.0, 3.0)}, "low 3 m is not below high 3 m along z"),
        ({"voxel": (0.1, 0.0, 0.1)}, "voxels of 0 m along y"),
        ({"mask_ratio": 1.0}, r"outdoor\.mask_ratio is 1"),
        ({"rays": 0}, r"outdoor\.rays is 0"),
        ({"color_weight": -1.0}, r"outdoor\.color_weight is -1"),
        ({"ray_near": 60.0}, "ray_near 60 m"),
        ({"image_scale": 0.0}, "image_scale lies in"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, text):
    with pytest.raises(UserError, match=text):
        OutdoorOptions(**change)


def test_sources_are_of_streets(tmp_path):
    write_nuscenes(tmp_path)
    assert len(open_streets([f"nuscenes:{tmp_path}:train", f"nuscenes:{tmp_path}"])) == 4
    with pytest.raises(UserError, match=r"data scannet:scans: streets are nuscenes:PATH\[:SPLIT\]"):
        open_streets(["scannet:scans"])
