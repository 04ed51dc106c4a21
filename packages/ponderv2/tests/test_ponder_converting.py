"""Released checkpoints: their equations restated on loops give what the converted models give."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import TinyBatch, TinyRays
from original_forward import Backbone, Renderer, dense_volume, random_state, unit_cube

from nonet.testing import call_cli, normal, seeded
from ponderv2.converting import read_checkpoint, read_tensors, unipad_field
from ponderv2.field import NeuralField
from ponderv2.model_folders import load_backbone, load_model, read_model
from ponderv2.pointcept_names import backbone_names, dense_names, field_names, pointcept_state
from ponderv2.spunet import SpUNet, build_spunet


def saved(path, state, **more):
    """As the released code saves it, with distributed training's prefix and a numpy number beside."""
    whole = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "state_dict": whole, "best_metric_value": np.float64(0.5), **more}, path)
    return path


def voxels(seed=0, sides=(7, 6, 3)):
    full = torch.cartesian_prod(torch.arange(1), *map(torch.arange, sides))
    cells = full[torch.rand(len(full), generator=seeded(seed)) < 0.4]
    return cells, normal(len(cells), 4, seed=seed)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Checkpoints of both forms, and the folders that the command makes of them."""
    folder = tmp_path_factory.mktemp("converted")
    found = {}
    for prompted in (False, True):
        state = random_state(prompted=prompted)
        path, out = saved(folder / f"{prompted}.pth", state), folder / f"model-{prompted}"
        done = call_cli("ponderv2", "convert", path, "--out", out)
        assert done.returncode == 0, done.stderr
        found[prompted] = state, out, done.stdout
    return found


@pytest.mark.parametrize("dataset", [None, "scannet", "s3dis", "structured3d"])
def test_the_backbone_gives_what_the_original_gives(converted, dataset):
    state, out, _ = converted[dataset is not None]
    names = {"scannet": "ScanNet", "s3dis": "S3DIS", "structured3d": "Structured3D", None: None}
    net = build_spunet(read_model(out).backbone()).eval()
    load_backbone(net, out, say=lambda _: None)
    cells, features = voxels()
    expected = Backbone(state, names[dataset])(features, cells)
    with torch.no_grad():
        found = net(features, cells, dataset)
    assert expected.std() > 0.05
    assert torch.allclose(found.double(), expected, atol=1e-4 * float(expected.abs().max()))


def test_rendering_gives_what_the_original_gives(converted):
    state, out, _ = converted[False]
    model = load_model(out)
    assert model.config.volume.legacy, "trained with the released code's coordinates"
    shape, samples, importance = (16, 16, 8), 14, 6
    config = dataclasses.replace(model.config, volume=dataclasses.replace(model.config.volume, shape=shape))
    model.config = config
    model.renderer.placement = model.renderer.placement._replace(samples=samples, importance=importance)
    cells, features = voxels()
    draw = seeded(4)
    coord = (cells[:, 1:] + 0.2 + torch.rand(len(cells), 3, generator=draw) / 2) * 0.3  # on no cell's edge
    target = coord[torch.randint(len(coord), (8,), generator=draw)]
    origin = torch.tensor([1.0, 0.9, 0.8]) + torch.rand(8, 3, generator=draw) * 0.3
    way = torch.nn.functional.normalize(target - origin, dim=1)
    rays = TinyRays(origin[None], way[None], torch.ones(1, 8), torch.ones(1, 8, 3), torch.zeros(1, 8).long())
    box = torch.stack([coord.amin(0), coord.amax(0)])[None]
    batch = TinyBatch(cells, coord, features, box, rays, torch.ones(1, 8).bool(), names=("room",))
    with torch.no_grad():
        encoded = model.encode(batch)
        seen = model.render(encoded, rays)
    cube_coord, loc, scale, lift = unit_cube(coord)
    volume = dense_volume(state, Backbone(state)(features, cells), cube_coord, shape)
    assert torch.allclose(encoded.volume[0].double(), volume, atol=1e-4 * float(volume.abs().max()))
    theirs = Renderer(state, volume, samples, importance)
    assert int((seen.opacity > 0.5).sum()) >= 4, "there is something to see"
    for ray in range(8):
        start = ((origin[ray] - loc) * scale + lift).double()
        expected = theirs(start, way[ray].double())
        for name, value in expected.items():
            found = getattr(seen, name)[0, ray].double()
            assert torch.allclose(found, value, atol=2e-4 * max(1, float(value.abs().max()))), (ray, name)


def test_the_account_names_all_weights(converted):
    state, out, said = converted[True]
    assert "norms: of scannet, s3dis, structured3d, the released order" in said
    assert "contexts: rows for structured3d, scannet, s3dis" in said
    counted = [name for name in state if "tracked" not in name and "laplace" not in name]
    assert f"matched{len(counted) + 2:>11} of {len(counted) + 2}" in said, "a table of 3 rows is 3 contexts"
    facts = read_model(out).facts
    assert facts["converted from"] == "True.pth"
    assert facts["weights"].endswith("matched, 0 missing, 0 unexpected")


def test_our_weights_go_back_under_their_names(converted):
    for prompted in (False, True):
        state, out, _ = converted[prompted]
        model = load_model(out)
        config = model.config
        order = ("structured3d", "scannet", "s3dis") if prompted else None
        pairs = backbone_names(config.backbone, contexts=order, ours="backbone.")
        pairs += dense_names(config.volume) + field_names(config.field)
        back = pointcept_state(pairs, model.state_dict())
        kept = {name: value for name, value in state.items() if "laplace" not in name}
        assert back.keys() == kept.keys()
        for name, value in kept.items():
            assert torch.equal(back[name], value), name


def test_a_fine_tuned_checkpoint_gives_its_backbone(tmp_path):
    state = random_state(prompted=True)
    tuned = {name: value for name, value in state.items() if not name.startswith(("proj_net", "renderer"))}
    tuned |= {"proj_head.weight": torch.zeros(7, 7), "class_embedding": torch.zeros(3, 7)}
    nested = {f"backbone.{name}": value for name, value in tuned.items()} | {"seg_head.bias": torch.zeros(3)}
    for number, content in enumerate((tuned, nested)):
        path = saved(tmp_path / f"{number}.pth", content)
        read = read_checkpoint(path)
        assert read.kind == "backbone"
        assert "proj_head.weight" in " ".join(read.left)
        net = SpUNet(4, stem=6, channels=(8, 10, 10, 7), blocks=(1, 2, 1, 2), context=5,
                     contexts=("s3dis", "structured3d", "scannet"))  # fmt: skip
        account = load_backbone(net, path, say=lambda _: None)
        assert not account.missing
        assert torch.equal(net.contexts["s3dis"], state["embedding_table.weight"][2])
        second = net.stem.norm.of["structured3d"].running_mean
        assert torch.equal(second, state["backbone.conv_input.bn.bns.2.running_mean"])
        done = call_cli("ponderv2", "convert", path, "--out", tmp_path / f"net{number}")
        assert done.returncode == 0, done.stderr
        assert read_model(tmp_path / f"net{number}").kind == "backbone"


def test_the_order_of_data_sets_may_be_given(tmp_path):
    state = random_state(prompted=True)
    words = ["convert", str(saved(tmp_path / "a.pth", state)), "--out", str(tmp_path / "a")]
    words += ["--datasets", "one", "two", "three", "--contexts", "three", "two", "one"]
    assert call_cli("ponderv2", *words).returncode == 0
    found = read_model(tmp_path / "a").state
    assert torch.equal(found["backbone.contexts.one"], state["embedding_table.weight"][2])
    mean = found["backbone.stem.norm.of.two.running_mean"]
    assert torch.equal(mean, state["backbone.conv_input.bn.bns.1.running_mean"])


def test_mistakes_end_in_one_line_and_leave_nothing(tmp_path):
    state = random_state(prompted=True)
    good = saved(tmp_path / "good.pth", state)
    few = {name: value for name, value in state.items() if ".enc." not in name or "block0.conv2" in name}
    kernel = {**state, "backbone.conv_input.conv.weight": torch.zeros(5, 5, 5, 4, 6)}
    unipad = {"pts_bbox_head.render_model.field." + name.removeprefix("renderer.field."): value
              for name, value in state.items() if name.startswith("renderer.field.")}  # fmt: skip
    cases = [
        ([str(tmp_path / "none.pth")], "no such file"),
        ([str(saved(tmp_path / "few.pth", few))], "To go on all the same, give --allow-partial"),
        ([str(saved(tmp_path / "old.pth", kernel))], "expected (out, 5, 5, 5, in) of spconv 2"),
        ([str(saved(tmp_path / "uni.pth", unipad))], "a checkpoint of UniPAD"),
        ([str(saved(tmp_path / "other.pth", {"fc.weight": torch.zeros(2)}))], "its tensors begin with fc"),
        ([str(good), "--datasets", "a", "b"], "has norms for 3 data sets, and --datasets names a, b"),
        ([str(good), "--contexts", "a", "b", "c"], "--contexts names a, b, c, and the norms are of"),
    ]
    (tmp_path / "text.pth").write_text("no checkpoint")
    cases.append(([str(tmp_path / "text.pth")], "not a file that torch.save wrote"))
    for words, said in cases:
        done = call_cli("ponderv2", "convert", *words, "--out", tmp_path / "out")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()
    words = ["convert", str(tmp_path / "few.pth"), "--out", str(tmp_path / "out"), "--allow-partial"]
    done = call_cli("ponderv2", *words)
    assert done.returncode == 0, done.stderr
    assert "backbone.encoder" in done.stdout


def test_unipads_colours_take_their_inputs_in_another_order(tmp_path):
    """The same perceptron, fed in UniPAD's order: direction, features, gradient, geometry."""
    C, H, hidden, draw = 6, 4, 5, seeded()
    prefix, state = "pts_bbox_head.render_model.field.", {}
    for name, inputs, out, count in (("sdf_decoder", C, 1 + H, 6), ("rgb_decoder", C + H + 6, 3, 4)):
        shapes = {"fc_p": (hidden, 3)}
        shapes |= {f"fc_c.{n}": (hidden, inputs) for n in range(count)}
        shapes |= {f"lin{n}": (out if n == count - 1 else hidden, hidden) for n in range(count)}
        for layer, shape in shapes.items():
            state[f"{prefix}{name}.{layer}.weight"] = torch.randn(shape, generator=draw) / 2
            state[f"{prefix}{name}.{layer}.bias"] = torch.randn(shape[:1], generator=draw)
    state[f"{prefix}deviation_network.variance"] = torch.tensor([0.3])
    config, ours = unipad_field(read_tensors(saved(tmp_path / "u.pth", state)), tmp_path)
    assert (config.hidden, config.geometry, config.sdf_layers, config.color_layers) == (hidden, H, 6, 4)
    field = NeuralField(config, C).requires_grad_(False)
    named = {name.removeprefix("field."): value for name, value in ours.items() if name.startswith("field.")}
    field.load_state_dict(named)
    points, way, features, gradient = (torch.randn(9, n, generator=draw) for n in (3, 3, C, 3))
    geometry = torch.randn(9, H, generator=draw)
    x = points @ state[f"{prefix}rgb_decoder.fc_p.weight"].T + state[f"{prefix}rgb_decoder.fc_p.bias"]
    inputs = torch.cat([way, features, gradient, geometry], 1)
    for n in range(4):
        take, layer = f"{prefix}rgb_decoder.fc_c.{n}", f"{prefix}rgb_decoder.lin{n}"
        x = x + inputs @ state[f"{take}.weight"].T + state[f"{take}.bias"]
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        x = x.relu() if n < 3 else x
    found = field.color(points, torch.cat([gradient, features, geometry, way], 1))
    assert torch.allclose(found, x, atol=1e-4)
