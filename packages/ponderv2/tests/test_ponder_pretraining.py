"""Whole pre-trainings: what is logged, drawn and saved, going on, labels nobody looks at, broken losses."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nonet.data.batching import generator
from nonet.errors import UserError
from nonet.options import build
from nonet.runs import read_metrics
from nonet.testing import call_cli, numbers, one_thread, plain_pages, replaced, threads
from nonet.training.checkpoints import read_checkpoint
from ponderv2 import loss_guard, pretrain_data
from ponderv2.batches import Collate
from ponderv2.commands.pretrain import Options
from ponderv2.held_views import HeldScenes
from ponderv2.model_folders import load_model, read_model, save_model
from ponderv2.pretrain_data import read_pretrain_data, read_text
from ponderv2.pretrain_module import PretrainModule
from ponderv2.pretraining import leaves_weights_out, new_model, state_of
from ponderv2.semantic_heads import LanguageHead
from ponderv2.view_split import held_numbers, spread, training_part

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import WORDS, opener, rooms, write_text

TERMS = ("depth", "color", "sdf", "free", "eikonal")


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with one_thread(), plain_pages():
        yield


@pytest.fixture
def scenes(monkeypatch):
    """Two rooms of one data set; the tests may replace them."""
    found = rooms("scannet")
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(found))
    return found


def pretrained(folder, *words):
    done = call_cli("ponderv2", "pretrain", "--data", "synthetic:2", *WORDS, *words, "--out", folder)
    assert done.returncode == 0, done.stderr
    return done


def options(**values):
    """Options as the words above have them, and some others."""
    own = {
        "data": ("x:y",), "size": "tiny", "volume": (16, 16, 16), "voxel": 0.4, "keep": 1.0, "views": 2,
        "rays": 24, "batch": 2, "hold_out": 4,
    }  # fmt: skip
    return build(Options, [(own | values, "test")])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four steps on made-up rooms."""
    folder = tmp_path_factory.mktemp("pretrain") / "run"
    return folder, pretrained(folder)


# ------------------------------------------------------------------------------------------------- whole runs


def test_a_run_logs_its_terms_and_held_out_views(whole):
    folder, done = whole
    assert done.stdout.strip() == str(folder)
    assert "supervision none: colour and depth alone" in done.stderr
    lines = read_metrics(folder)
    steps = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert line["train/loss"] == pytest.approx(sum(line[f"train/{name}"] for name in TERMS), rel=1e-5)
        assert 0 <= line["train/missed"] < 1
        assert not [name for name in line if "semantic" in name or "point_text" in name]
    validated = [line for line in lines if "val/psnr" in line]
    assert [line["step"] for line in validated] == [2, 4]
    assert {"val/input_psnr", "val/seen", "val/ssim", "val/input_ssim"} <= set(validated[-1])


def test_a_run_leaves_pictures_a_page_and_a_model_that_says_what_it_is(whole):
    folder, _ = whole
    names = sorted(path.name for path in (folder / "views").iterdir())
    assert names == ["0000002-room0000.png", "0000004-room0000.png"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 2
    found = read_model(folder)
    assert found.facts["supervision"] == "none"
    assert found.facts["channels"] == ["color", "normal"]
    assert found.facts["voxel"] == 0.4
    assert found.facts["held_out_views"] == 4  # two of eight views in each of two rooms
    model = load_model(folder)
    assert model.config.volume.shape == (16, 16, 16)
    kept = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(value, kept[f"model.{name}"]) for name, value in model.state_dict().items())


def test_an_interrupted_run_goes_on_bit_for_bit(whole, tmp_path, monkeypatch):
    folder, _ = whole
    step = PretrainModule.training_step

    def interrupted(self, batch, number):
        if self.global_step == 2:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainModule, "training_step", interrupted)
        done = call_cli("ponderv2", "pretrain", "--data", "synthetic:2", *WORDS, "--out", tmp_path / "cut")
        assert done.returncode == 130
        how = f"go on with the same options and --resume {tmp_path / 'cut'}"
        assert done.stderr.splitlines()[-1] == f"ponderv2 pretrain: interrupted; {how}"
    done = call_cli("ponderv2", "pretrain", "--data", "synthetic:2", *WORDS, "--resume", tmp_path / "cut")
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / "cut") == numbers(folder)
    one, two = (load_file(each / "model" / "model.safetensors") for each in (folder, tmp_path / "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_that_goes_on_otherwise_is_refused(whole):
    folder, _ = whole
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = ("--data", "synthetic:2", *WORDS, "--supervision", "none", "--mask-ratio", "0.5")
    done = call_cli("ponderv2", "pretrain", *words, "--resume", folder)
    assert done.returncode == 2
    assert "mask_ratio is 0.5 here but 0.0 in the checkpoint" in done.stderr
    assert "resumed" not in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("more", "message"), [
    (("--coordinates", "legacy"), "coordinates is legacy here but None in the checkpoint"),
    (("--losses.depth", "3"), "losses.depth is 3.0 here but 1.0 in the checkpoint"),
    (("--trainer.seed", "3"), "trainer.seed is 3 here but 0 in the checkpoint"),
    (("--rates.optimizer", "sgd"), "rates.optimizer is sgd here but adamw in the checkpoint"),
    (("--channels", "color"), "channels is color here but color normal in the checkpoint"),
    (("--data", "synthetic:2:1"), "data is synthetic:2:1 here but synthetic:2 in the checkpoint"),
])  # fmt: skip
def test_no_option_may_change_when_a_run_goes_on(more, message, whole):
    folder, _ = whole
    words = replaced(["pretrain", "--data", "synthetic:2", *WORDS], *more)
    done = call_cli("ponderv2", *words, "--resume", folder)
    assert done.returncode == 2
    assert message in done.stderr


def test_where_a_run_computes_and_how_its_length_is_given_may_change():
    one, two = options(batch=2), options(batch=2, epochs=3.0, out="elsewhere", trainer={"workers": 2})
    steps = replace(one.trainer, steps=6)
    assert state_of(one, steps) == state_of(two, replace(two.trainer, steps=6))
    assert state_of(one, one.trainer) != state_of(one, steps)


def test_coordinates_are_those_of_the_model_to_begin_with(tmp_path, whole):
    folder, done = whole
    assert "bring their own clouds: points that held-out views see are part of the input" in done.stderr
    said = []
    legacy = new_model(options(coordinates="legacy"), ("scannet",), 0)
    assert legacy.config.volume.legacy
    assert not load_model(folder).config.volume.legacy
    save_model(tmp_path / "legacy", legacy, {})
    init = {"init": str(tmp_path / "legacy"), "volume": None}
    assert new_model(options(**init), ("scannet",), 0, said.append).config.volume.legacy
    assert not [line for line in said if "coordinates" in line]
    other = new_model(options(coordinates="correct", **init), ("scannet",), 0, said.append)
    assert not other.config.volume.legacy
    assert [line for line in said if "has legacy coordinates, and goes on with correct ones" in line]


def test_init_brings_its_sizes_and_weights(whole, scenes, tmp_path):
    folder, _ = whole
    source = load_model(folder)
    model = new_model(options(init=str(folder), volume=None), ("scannet",), 0)
    assert model.config.volume.shape == (16, 16, 16)
    assert torch.equal(
        model.backbone.state_dict()["stem.conv.weight"], source.state_dict()["backbone.stem.conv.weight"]
    )
    with pytest.raises(UserError, match="volume is given"):
        new_model(options(init=str(folder), volume=(32, 32, 32)), ("scannet",), 0)
    with pytest.raises(UserError, match=r"channels are color, and .* learned from color normal: give these"):
        new_model(options(init=str(folder), volume=None, channels=("color",)), ("scannet",), 0)
    with pytest.raises(UserError, match=r"channels are normal color, and .* learned from color normal"):
        new_model(options(init=str(folder), volume=None, channels=("normal", "color")), ("scannet",), 0)
    said = []
    new_model(options(init=str(folder), volume=None), ("scannet",), 0, said.append)
    assert not [line for line in said if "voxels" in line]
    new_model(options(init=str(folder), volume=None, voxel=0.3), ("scannet",), 0, said.append)
    assert f"warning: voxels of 0.3 m, but {folder} was trained on 0.4 m" in said
    save_model(tmp_path / "unsaid", source, {})  # as of a checkpoint that was converted
    with pytest.raises(UserError, match="channels make 3 numbers"):
        new_model(options(init=str(tmp_path / "unsaid"), volume=None, channels=("color",)), ("scannet",), 0)
    with pytest.raises(UserError, match="has norms for one norm for all"):
        new_model(options(init=str(folder), volume=None, prompt="ppt"), ("scannet",), 0)


# ----------------------------------------------------------------------------------------------------- labels


def test_without_supervision_no_label_leaves_the_data(scenes):
    data = read_pretrain_data(options(), lambda text: None)
    batch = data.collate([data.train[(0, 0)], data.train[(0, 1)]])
    assert batch.semantic is None
    assert batch.instance is None
    assert (batch.rays.label == -1).all()
    assert read_text(options(), data.classes) == {}


def test_labels_of_images_come_with_their_text_vectors(scenes, tmp_path):
    chosen = options(supervision="labels2d", text=str(write_text(tmp_path / "text.npz")))
    data = read_pretrain_data(chosen, lambda text: None)
    batch = data.collate([data.train[(0, 0)]])
    assert (batch.rays.label >= 0).any()
    text = read_text(chosen, data.classes)["scannet"]
    assert text.shape == (5, 8)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(5))


def test_limited_annotations_hide_labels_of_images_and_of_all_other_points(scenes, tmp_path):
    (tmp_path / "few.json").write_text(json.dumps({scene.name: [5, 9] for scene in scenes}))
    chosen = options(
        supervision="labels2d", text=str(write_text(tmp_path / "t.npz")), prompt="ppt", keep=0.2,
        la_file=str(tmp_path / "few.json"),
    )  # fmt: skip
    data = read_pretrain_data(chosen, lambda text: None)
    batch = data.collate([data.train[(0, 0)], data.train[(0, 1)]])
    assert (batch.rays.label == -1).all()
    assert sorted(batch.index[batch.semantic >= 0].tolist()) == [5, 5, 9, 9]


def module_for(chosen, data, text):
    torch.manual_seed(0)
    model = new_model(chosen, tuple(data.scenes), 8 if text else 0)
    head = LanguageHead(model.config.backbone.width, text) if text and chosen.prompt == "ppt" else None
    module = PretrainModule(
        model, chosen.rates, steps=4, seed=0, text=text, point_head=head, point_weight=chosen.point_text
    )
    module.generators = lambda scenes, number: [torch.Generator().manual_seed(i) for i in range(scenes)]
    return module


def test_the_loss_of_points_against_class_names_is_learned_from(monkeypatch, tmp_path):
    """The released code computes it, and leaves it out of the loss."""
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(rooms("scannet", "s3dis")))
    chosen = options(supervision="labels2d", text=str(write_text(tmp_path / "t.npz")), prompt="ppt")
    data = read_pretrain_data(chosen, lambda text: None)
    text = read_text(chosen, data.classes)
    module = module_for(chosen, data, text)
    batch = data.collate([data.train[(0, 2)]])
    assert batch.dataset == "s3dis"
    _, terms = module.rendered_terms(batch, 0)
    assert set(terms) == {*TERMS, "semantic", "point_text"}
    terms["point_text"].backward()
    weights = dict(module.model.backbone.named_parameters())
    assert weights["stem.conv.weight"].grad.abs().sum() > 0
    assert weights["stem.norm.of.s3dis.weight"].grad is not None
    assert weights["stem.norm.of.scannet.weight"].grad is None
    encoded = module.model.encode(batch)
    feature = torch.nn.functional.normalize(module.point_head.project(encoded.features), dim=1)
    scores = 100 * feature @ text["s3dis"].T
    expected = torch.nn.functional.cross_entropy(scores, batch.semantic)
    torch.testing.assert_close(terms["point_text"].detach(), expected.detach(), rtol=1e-4, atol=1e-4)


def test_data_parallelism_is_told_where_a_step_gives_some_weights_no_gradient(scenes, tmp_path):
    """With each loss left out in turn, against the gradients themselves."""
    labels = {"supervision": "labels2d", "text": str(write_text(tmp_path / "t.npz"))}
    data = read_pretrain_data(options(**labels), lambda text: None)
    batch = data.collate([data.train[(0, 0)]])
    told = {}
    for name in ("none", *TERMS, "semantic"):
        chosen = options(**labels, losses={} if name == "none" else {name: 0.0})
        module = module_for(chosen, data, read_text(chosen, data.classes))
        _, terms = module.rendered_terms(batch, 0)
        sum(terms.values()).backward()
        without = [key for key, weight in module.model.named_parameters() if weight.grad is None]
        told[name] = leaves_weights_out(chosen, module.model)
        assert told[name] or not without, name
    assert told["semantic"]
    assert told["color"]
    assert not told["none"]
    assert not leaves_weights_out(options(losses={"semantic": 0.0}), new_model(options(), ("scannet",), 0))
    assert leaves_weights_out(options(), new_model(options(prompt="ppt"), ("scannet", "s3dis"), 0))


def test_a_run_on_several_data_sets_takes_turns_and_learns_from_points(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(rooms("scannet", "s3dis")))
    seen = []
    step = PretrainModule.training_step
    monkeypatch.setattr(
        PretrainModule,
        "training_step",
        lambda self, batch, number: seen.append(batch.dataset) or step(self, batch, number),
    )
    words = ("--supervision", "labels2d", "--text", write_text(tmp_path / "t.npz"), "--prompt", "ppt")
    done = pretrained(
        tmp_path / "run",
        *words,
        "--ratios",
        "scannet=2",
        "s3dis=1",
        "--trainer.steps",
        "3",
        "--val-scenes",
        "0",
    )
    assert seen == ["scannet", "scannet", "s3dis"]
    assert "labels of points are learned from, too" in done.stderr
    for line in read_metrics(tmp_path / "run"):
        parts = [line[f"train/{name}"] for name in (*TERMS, "semantic", "point_text")]
        assert line["train/loss"] == pytest.approx(sum(parts), rel=1e-5)
    found = read_model(tmp_path / "run")
    assert found.config["backbone"]["datasets"] == ["scannet", "s3dis"]
    assert found.facts["classes"]["s3dis"][0] == "floor"


def test_a_batch_of_two_data_sets_is_refused(monkeypatch):
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(rooms("scannet", "s3dis")))
    data = read_pretrain_data(options(prompt="ppt"), lambda text: None)
    with pytest.raises(UserError, match="mixes the data sets scannet, s3dis"):
        data.collate([data.train[(0, 0)], data.train[(0, 2)]])
    for epoch in range(3):
        for items in data.batches.epoch(epoch):
            assert len({int(item) % 4 // 2 for item in items}) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"supervision": "labels2d"}, "needs text"),
        ({"text": "x.npz"}, "text is for supervision labels2d"),
        ({"la_file": "x.json"}, "la_file is for supervision labels2d"),
        ({"supervision": "labels2d", "text": "x.npz", "la_file": "x.json"}, "la_file hides labels of images"),
        ({"ratios": ("scannet:2",)}, "no NAME=NUMBER"),
        ({"hold_out": 1}, "hold_out is 1"),
        ({"mask_ratio": 1.0}, "mask_ratio is 1"),
        ({"modality": "lidar", "prompt": "ppt"}, "prompt is for rooms"),
        ({"channels": ()}, "channels are empty"),
        ({"data": ()}, "data names no scenes"),
    ],
)
def test_options_that_do_not_fit_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        options(**values)


def test_what_the_data_lack_is_said_before_training(scenes, tmp_path):
    with pytest.raises(UserError, match=r"kitti:x: kitti shows streets, .* give --modality lidar or camera"):
        read_pretrain_data(options(data=("kitti:x",)), lambda text: None)
    with pytest.raises(UserError, match=r"ratios name s3dis, and the data sets are scannet"):
        read_pretrain_data(options(ratios=("s3dis=2",)), lambda text: None)
    with pytest.raises(UserError, match=r"has no strength"):
        read_pretrain_data(options(channels=("strength",)), lambda text: None)
    view = type(scenes[0]).view
    scenes[0].view = lambda index: replace(view(scenes[0], index), label=None)
    chosen = options(supervision="labels2d", text=str(write_text(tmp_path / "t.npz")))
    with pytest.raises(UserError, match="its views have no labels"):
        read_pretrain_data(chosen, lambda text: None)


# ------------------------------------------------------------------------------------------- held-out views


def test_held_out_views_are_every_so_many_th_and_training_has_the_others():
    assert held_numbers(10, 4) == [2, 6]
    assert held_numbers(3, 4) == []
    assert held_numbers(8, 0) == []
    (scene,) = rooms("scannet", each=1, views=8)
    assert training_part(scene, 4).view_names == tuple(scene.view_names[i] for i in (0, 1, 3, 4, 5, 7))
    assert training_part(scene, 0) is scene


def test_spread_takes_ends_first_and_loses_none():
    assert spread([1, 2, 3, 4, 5], 2) == [1, 5, 2, 3, 4]
    assert spread([7], 3) == [7]


def test_validated_views_are_those_held_out_and_one_that_is_not():
    (scene,) = rooms("scannet", each=1, views=8)
    scenes = HeldScenes([scene], every=4, voxel=0.4, channels=("color",), side=16)
    assert scenes.whole() == 1, "a made-up room has a cloud of its own"
    held = scenes[(0, 0)]
    assert [view.name for view in held.held] == ["000002", "000006"]
    assert [view.name for view in held.seen] == ["000004"]
    assert held.held[0].depth.shape == (12, 16)


# ---------------------------------------------------------------------------------------------- broken losses


def test_a_broken_scene_ends_the_run_with_its_name_and_the_good_state_kept(tmp_path, monkeypatch):
    """From step 3 on one room's rays are NaN: the state after step 2 is kept, running statistics too."""
    folder = tmp_path / "run"
    step = PretrainModule.training_step
    states = []

    def poisoned(self, batch, number):
        if self.global_step < 2:
            return step(self, batch, number)
        states.append({name: value.clone() for name, value in self.state_dict().items()})
        place = batch.names.index("room0001")
        batch.rays.color[place] = float("nan")
        return step(self, batch, number)

    monkeypatch.setattr(PretrainModule, "training_step", poisoned)
    done = call_cli(
        "ponderv2", "pretrain", "--data", "synthetic:2", *WORDS, "--out", folder, "--val-scenes", "0"
    )
    assert done.returncode == 1
    assert "step 3: loss term color is not finite, at scene room0001" in done.stderr
    note = json.loads((folder / "nonfinite.json").read_text())
    assert note == {"step": 3, "loss term": ["color"], "scenes": ["room0001"]}
    kept = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert kept["global_step"] == 2
    assert all(torch.equal(kept["state_dict"][name], value) for name, value in states[0].items())


def test_suspects_are_those_with_broken_input_before_those_that_render_badly(scenes):
    data = read_pretrain_data(options(), lambda text: None)
    batch = data.collate([data.train[(0, 0)], data.train[(0, 1)]])
    first, second = batch.names
    assert loss_guard.suspects(batch) == (first, second)
    broken = batch.features.clone()
    broken[batch.cells[:, 0] == 1] = float("inf")
    assert loss_guard.suspects(replace(batch, features=broken)) == (second,)
    color = batch.rays.color.clone()
    color[0, 3] = float("nan")
    assert loss_guard.suspects(batch, batch.rays._replace(color=color)) == (first,)


# --------------------------------------------------------------------------------------------- sameness


def test_one_and_two_threads_and_a_second_time_agree(scenes):
    chosen = options(mask_ratio=0.5)
    data = read_pretrain_data(chosen, lambda text: None)
    batch = data.collate([data.train[(0, 0)], data.train[(0, 1)]])

    def losses():
        module = module_for(chosen, data, {})
        _, terms = module.rendered_terms(batch, 0)
        sum(terms.values()).backward()
        return torch.stack(
            [value.detach() for value in terms.values()]
        ), module.model.backbone.stem.conv.weight.grad

    one, again = losses(), losses()
    with threads(2):
        two = losses()
    assert all(torch.equal(first, second) for first, second in zip(one, again, strict=True))
    torch.testing.assert_close(one[0], two[0], atol=1e-5, rtol=1e-5)
    apart = float((one[1] - two[1]).norm() / one[1].norm())
    assert apart < 1e-5


def test_the_renderer_is_exact_under_autocast(scenes):
    """Only the backbone and the volume's U-Net may be in bf16: what is rendered of one volume is the same."""
    data = read_pretrain_data(options(), lambda text: None)
    module = module_for(options(), data, {})
    batch = data.collate([data.train[(0, 0)]])
    encoded = module.model.encode(batch)
    draws = [torch.Generator().manual_seed(3)]
    exact = module.model.render(encoded, batch.rays, generator=draws)
    draws[0].manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = module.model.render(encoded, batch.rays, generator=draws)
        terms = module.model.losses(mixed, batch)
    for name in ("color", "depth", "sdf", "gradient"):
        assert getattr(mixed, name).dtype == torch.float32
        assert torch.equal(getattr(mixed, name), getattr(exact, name))
    assert all(value.dtype == torch.float32 for value in terms.values())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, terms = module.rendered_terms(batch, 0)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())


def test_items_do_not_depend_on_who_asks_when(scenes):
    data = read_pretrain_data(options(), lambda text: None)
    first = data.train[(3, 1)]
    np.random.default_rng(0)
    generator(0, "something else")
    again = read_pretrain_data(options(), lambda text: None).train[(3, 1)]
    assert np.array_equal(first.sample.cloud.coord, again.sample.cloud.coord)
    assert np.array_equal(first.rays.origin, again.rays.origin)
    assert Collate(("color",))([first]).names == ("room0001",)
