"""The whole model: it learns, in metres and in any mode of torch, and comes back from its folder."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import SMALL, TinyRays, room_batch, small_config, small_model

from nonet.testing import devices, seeded
from ponderv2.block_mask import BlockMask
from ponderv2.model_config import SIZES, PonderConfig, SpUNetConfig, VolumeConfig, from_dict, size, to_dict
from ponderv2.model_folders import load_backbone, load_model, read_model, save_model, write_folder
from ponderv2.ponder import Encoded, build_ponder
from ponderv2.spunet import build_spunet


@pytest.fixture(scope="module")
def batch():
    return room_batch()


@pytest.fixture(scope="module")
def seen(batch):
    """A model in evaluation, what it made of the batch, and what it renders."""
    model = small_model(field={"semantic": 6}, volume={"occupancy": True}).eval()
    with torch.no_grad():
        encoded = model.encode(batch)
        return model, encoded, model.render(encoded, batch.rays)


def test_a_few_steps_make_what_is_rendered_more_like_what_was_seen():
    batch, model = room_batch(rays=48), small_model(volume={"occupancy": True}).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    draw, history = seeded(), []
    for _ in range(40):
        terms = model.losses(model(batch, draw), batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: float(term.detach()) for name, term in terms.items()})
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == []
    for name in ("depth", "color", "sdf"):
        assert history[-1][name] < 0.8 * history[0][name], name
    assert float(model.renderer.k.detach()) != pytest.approx(20.09, abs=0.05), "the sharpness is learned"


def test_metres_go_in_and_come_out(batch, seen):
    model, encoded, drawn = seen
    scale = encoded.cube.scale
    assert torch.allclose(scale, torch.tensor([1 / 3.75] * 2), atol=1e-3), "rooms of 4 m"
    metres = model.render_rays(encoded, batch.rays.origin, batch.rays.direction)
    assert torch.allclose(metres.depth, drawn.depth / scale[:, None], atol=1e-5)
    assert torch.allclose(metres.distances, drawn.distances / scale[:, None, None], atol=1e-5)
    points = batch.rays.origin[:, :, None] + batch.rays.direction[:, :, None] * metres.distances[..., None]
    ways = batch.rays.direction[:, :, None].expand_as(points).flatten(1, 2)
    with torch.no_grad():
        found = model.query(encoded, points.flatten(1, 2), ways)
    assert torch.allclose(found.sdf.view_as(metres.sdf), metres.sdf, atol=1e-4)
    assert torch.allclose(found.gradient.view_as(metres.gradient), metres.gradient, atol=1e-3)
    color = (metres.weights[..., None] * found.color.view(*metres.weights.shape, 3)).sum(2).clamp(0, 1)
    assert torch.allclose(color, metres.color, atol=1e-4)
    semantic = (metres.weights[..., None] * found.semantic.view(*metres.weights.shape, 6)).sum(2)
    assert torch.allclose(semantic, metres.semantic, atol=1e-4)
    straight = model.query(encoded, points.flatten(1, 2)[:, :5])
    faced = -torch.nn.functional.normalize(straight.gradient, dim=-1).detach()
    again = model.query(encoded, points.flatten(1, 2)[:, :5], faced)
    assert torch.allclose(straight.color, again.color, atol=1e-5)


def test_slopes_are_those_of_differences(seen):
    model, encoded, _ = seen
    points = torch.rand(2, 200, 3, generator=seeded(8)) * 2 + 0.5
    step = 1e-3
    with torch.no_grad():
        found = model.query(encoded, points)
        for axis in range(3):
            shift = torch.zeros(3)
            shift[axis] = step
            difference = model.query(encoded, points + shift).sdf - model.query(encoded, points - shift).sdf
            off = (difference / (2 * step) - found.gradient[..., axis]).abs()
            assert float(off.median()) < 2e-3, "but for the few that cross into another cell"


def test_inference_mode_and_no_grad_draw_the_same(batch, seen):
    model, _, drawn = seen
    with torch.inference_mode():
        same = model(batch)
    assert torch.equal(same.color, drawn.color)
    assert torch.equal(same.gradient, drawn.gradient)
    assert not any(part.requires_grad for part in (same.color, drawn.color, drawn.gradient, drawn.semantic))
    with torch.enable_grad():
        assert model(batch).gradient.requires_grad


def test_one_scene_is_drawn_as_it_is_in_a_batch(batch, seen):
    model, encoded, drawn = seen
    first = batch.cells[:, 0] == 0
    alone = dataclasses.replace(
        batch,
        cells=batch.cells[first],
        coord=batch.coord[first],
        features=batch.features[first],
        box=batch.box[:1],
        rays=TinyRays(*(part[:1] for part in batch.rays)),
        names=("room 0",),
    )
    with torch.no_grad():
        assert torch.allclose(model(alone).depth, drawn.depth[:1], atol=1e-5)
        one = Encoded(encoded.volume[1:], encoded.cube.take(1), encoded.features)
        second = TinyRays(*(part[1:] for part in batch.rays))
        assert torch.allclose(model.render(one, second).depth, drawn.depth[1:], atol=1e-5)


def test_a_generator_for_each_scene_shakes_it_the_same_in_any_batch(batch):
    model = small_model().train().requires_grad_(False)
    encoded = model.eval().encode(batch)
    model.train()
    both = model.render(encoded, batch.rays, [seeded(3), seeded(4)])
    one = Encoded(encoded.volume[1:], encoded.cube.take(1), encoded.features)
    second = model.render(one, TinyRays(*(part[1:] for part in batch.rays)), [seeded(4)])
    assert torch.allclose(both.distances[1:], second.distances, atol=1e-6)
    assert not torch.allclose(both.distances[:1], second.distances, atol=1e-3)


def test_under_autocast_rendering_stays_exact(batch, seen):
    model, encoded, drawn = seen
    half = Encoded(encoded.volume.bfloat16(), encoded.cube, encoded.features)
    with torch.no_grad():
        exact = model.render(Encoded(half.volume.float(), encoded.cube, encoded.features), batch.rays)
        with torch.autocast("cpu", torch.bfloat16):
            found = model.render(half, batch.rays)
    assert found.color.dtype == found.weights.dtype == torch.float32
    assert torch.equal(found.depth, exact.depth)
    assert not torch.equal(exact.depth, drawn.depth)


def test_hidden_voxels_change_training_alone(batch):
    torch.manual_seed(0)
    model = build_ponder(small_config(), mask=BlockMask(3, ratio=0.9, size=2))
    plain = small_model()
    plain.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(model.eval().encode(batch).volume, plain.eval().encode(batch).volume)
        hidden = model.train().encode(batch, seeded()).features
        assert not torch.allclose(hidden, plain.train().encode(batch).features)


def test_a_cloud_in_one_place_is_refused_by_its_name(batch):
    box = batch.box.clone()
    box[1, 1] = box[1, 0]
    with pytest.raises(ValueError, match="scene room 1: all points of the cloud lie in one place"):
        small_model().encode(dataclasses.replace(batch, box=box))


def test_a_folder_gives_the_model_back(tmp_path, batch):
    model = small_model(
        volume={"legacy": True}, field={"semantic": 4}, backbone={"datasets": ("scannet", "s3dis")}
    )
    facts = {"voxel": 0.25, "channels": ["color"]}
    save_model(tmp_path / "model", model, facts)
    found = read_model(tmp_path / "model")
    assert (found.kind, found.facts) == ("ponder", facts)
    assert found.backbone() == model.config.backbone
    note = json.loads((tmp_path / "model" / "config.json").read_text())
    assert note["config"]["volume"]["legacy"] is True
    said = []
    same = load_model(tmp_path / "model", say=said.append)
    assert said == []
    assert same.config == model.config
    assert not same.training
    with torch.no_grad():
        assert torch.equal(same(batch).color, model.eval()(batch).color)
    with pytest.raises(ValueError, match="exists already"):
        save_model(tmp_path / "model", model)


def test_a_backbone_begins_with_that_of_another_model(tmp_path):
    model = small_model()
    save_model(tmp_path / "model", model)
    torch.manual_seed(7)
    new, said = build_spunet(SMALL.backbone), []
    account = load_backbone(new, tmp_path / "model", say=said.append)
    assert account.matched == len([name for name in new.state_dict() if "tracked" not in name])
    assert said[0].startswith("matched")
    assert torch.equal(new.stem.conv.weight, model.backbone.stem.conv.weight)
    from safetensors.torch import save_file

    save_file(model.backbone.state_dict(), tmp_path / "net.safetensors")
    assert (
        load_backbone(build_spunet(SMALL.backbone), tmp_path / "net.safetensors", say=said.append).missing
        == ()
    )
    other = build_spunet(dataclasses.replace(SMALL.backbone, datasets=("scannet",)))
    with pytest.raises(ValueError, match=r"the weights do not fit the model.*give --allow-partial"):
        load_backbone(other, tmp_path / "model", say=said.append)
    partial = load_backbone(other, tmp_path / "model", allow_partial=True, say=said.append)
    assert "stem.norm.of.scannet.weight" in partial.missing
    assert "stem.norm.plain.weight" in partial.unexpected
    assert torch.equal(other.stem.conv.weight, model.backbone.stem.conv.weight)


def test_folders_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ValueError, match="not of a model of ponderv2"):
        read_model(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 9, "kind": "ponder", "config": {}}')
    with pytest.raises(ValueError, match="format is 9, this version reads 1"):
        read_model(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"`ponderv2 convert .*w.pth --out FOLDER` reads it"):
        read_model(tmp_path / "w.pth")
    write_folder(tmp_path / "head", kind="semseg", config={}, state={"a": torch.zeros(2)}, card="#")
    with pytest.raises(ValueError, match="kind semseg, which has nothing to render with"):
        load_model(tmp_path / "head")
    with pytest.raises(ValueError, match="without a sparse U-Net"):
        read_model(tmp_path / "head").backbone()
    with pytest.raises(ValueError, match=r"no tensors under backbone\.\*"):
        load_backbone(build_spunet(SMALL.backbone), tmp_path / "head")


def test_configs_survive_json_and_refuse_what_cannot_be():
    for name in SIZES:
        config = size(name, in_channels=3, datasets=("scannet",), semantic=512)
        assert from_dict(PonderConfig, json.loads(json.dumps(to_dict(config))), "x") == config
    with pytest.raises(ValueError, match="cannot be halved 3 times; each side has at least 16 cells"):
        VolumeConfig(shape=(128, 128, 8))
    with pytest.raises(ValueError, match="8 numbers of channels and 7 of blocks"):
        SpUNetConfig(blocks=(1,) * 7)
    with pytest.raises(ValueError, match="VolumeConfig knows no"):
        from_dict(PonderConfig, {"volume": {"shpe": 3}}, "config.json")
    with pytest.raises(ValueError, match=r"'a\.b' cannot name a data set"):
        SpUNetConfig(datasets=("a.b",))


@devices
def test_devices_agree(device, batch, seen):
    model, _, drawn = seen
    moved = dataclasses.replace(
        batch,
        **{name: getattr(batch, name).to(device) for name in ("cells", "coord", "features", "box", "valid")},
        rays=TinyRays(*(part.to(device) for part in batch.rays)),
    )
    try:
        with torch.no_grad():
            found = model.to(device)(moved)
    finally:
        model.to("cpu")
    assert torch.allclose(found.depth.cpu(), drawn.depth, atol=2e-3)
    assert torch.allclose(found.color.cpu(), drawn.color, atol=2e-3)
