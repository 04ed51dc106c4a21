"""The verbs reconstruct, render and bench, on a small model and made-up rooms in files."""

import html
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nonet.testing import call_cli, replaced
from ponderv2.mesh_scoring import read_reference
from ponderv2.model_folders import save_model
from ponderv2.synthetic import make_room
from ponderv2.synthetic_layouts import write_rooms

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import small_model

TURN = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
"""from a made-up room to that of a 7-Scenes folder, whose y points down"""
FACTS = {"voxel": 0.2, "channels": ["color"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a room of four views, and a data set of two rooms."""
    folder = tmp_path_factory.mktemp("drawing")
    save_model(folder / "model", small_model(), FACTS)
    rooms = [make_room(number, views=4, size=(24, 18), points=600) for number in range(2)]
    write_rooms("7scenes", rooms[:1], folder / "one")
    write_rooms("7scenes", rooms, folder / "two")
    return folder


def mesh_words(folder, out, *more):
    words = ["reconstruct", "--model", folder / "model", "--data", f"7scenes:{folder / 'one'}", "--out", out]
    words += [
        "--steps",
        30,
        "--rays",
        128,
        "--rate",
        0.02,
        "--spacing",
        0.25,
        "--samples",
        2000,
        "--device",
        "cpu",
    ]
    return replaced(words, *more)


def picture_words(folder, out, *more):
    words = ["render", "--model", folder / "model", "--data", f"7scenes:{folder / 'one'}", "--out", out]
    return replaced([*words, "--hold-out", 4, "--device", "cpu"], *more)


def refused(words, *told, cwd):
    before = sorted(cwd.rglob("*"))
    done = call_cli("ponderv2", *words, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in told:
        assert word in done.stderr
    assert sorted(cwd.rglob("*")) == before


def test_a_mesh_is_written_in_the_scene_s_metres_and_scored(folder, tmp_path):
    words = mesh_words(
        folder, "room.ply", "--reference", "tsdf", "--reference-voxel", 0.1, "--distance", 0.3, "--scores",
        "scores.json", "--hold-out", 4,
    )  # fmt: skip
    done = call_cli("ponderv2", *words, cwd=tmp_path, env={"NONET_PROGRESS": "plain"})
    assert done.returncode == 0, done.stderr
    mesh = read_reference(tmp_path / "room.ply").moved(TURN.T)
    room = make_room(0, views=4, size=(24, 18), points=600)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    size = np.array([room.room.width, room.room.length, room.room.height])
    assert (low > -0.5).all()
    assert (high < size + 0.5).all()
    assert (high - low).max() > 0.5 * size.max()
    told = json.loads((tmp_path / "scores.json").read_text())
    assert set(told["scores"]) == {"accuracy", "completeness", "chamfer", "precision", "recall", "f_score"}
    assert 0 < told["scores"]["f_score"] <= 1
    assert len(told["losses"]) == 30
    assert len(told["held_out"]) == 1
    assert "made of the other 3" in told["statement"]
    assert told["statement"] in done.stdout
    assert "scoring: 72 of 72 parts (100%)" in done.stderr
    assert f"f_score: {told['scores']['f_score']:.4f}" in done.stdout


def test_a_mesh_is_there_before_it_is_scored(folder, tmp_path, monkeypatch):
    """Whoever stops a long scoring keeps what was made; how far it is was told."""
    from ponderv2 import mesh_scoring

    def stopped(*_, **__):
        assert (tmp_path / "room.ply").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(mesh_scoring, "mesh_scores", stopped)
    words = mesh_words(
        folder, "room.ply", "--reference", "tsdf", "--reference-voxel", 0.1, "--scores", "s.json"
    )
    done = call_cli("ponderv2", *words, cwd=tmp_path, env={"NONET_PROGRESS": "plain"})
    assert done.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["room.ply"]
    assert len(read_reference(tmp_path / "room.ply").faces)
    assert "mesh: room.ply" in done.stdout
    assert "fusing the reference: 4 of 4 frames" in done.stderr


def test_a_mesh_of_a_file_is_a_reference_too(folder, tmp_path):
    first = call_cli("ponderv2", *mesh_words(folder, "room.ply"), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    words = mesh_words(folder, "again.obj", "--reference", "room.ply", "--distance", 0.4)
    done = call_cli("ponderv2", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "f_score: 1.0000" in done.stdout
    assert (tmp_path / "again.obj").read_text().startswith("# metres\nv ")


def test_held_out_views_are_drawn_and_scored(folder, tmp_path):
    words = picture_words(folder, "drawn", "--steps", 3, "--rays", 32, "--finer", 2)
    done = call_cli("ponderv2", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "drawn" / "scores.json").read_text())
    assert list(told["views"]) == ["frame-000002"]
    assert told["mean"]["psnr"] == pytest.approx(told["views"]["frame-000002"]["psnr"])
    assert np.isfinite(told["mean"]["psnr"])
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    kinds = ("color", "depth", "normal", "mask")
    assert names == {f"frame-000002.{kind}.png" for kind in kinds} | {"scores.json", "report.html"}
    with Image.open(tmp_path / "drawn" / "frame-000002.depth.png") as depth:
        assert depth.size == (24, 18)
        assert np.asarray(depth).dtype == np.uint16
    assert told["statement"] in html.unescape((tmp_path / "drawn" / "report.html").read_text())


def test_lpips_is_computed_of_held_out_views_when_it_is_asked_for(folder, tmp_path, monkeypatch):
    from ponderv2 import view_rendering

    def distance(image, truth, network):  # no weights come with the network
        assert network == "squeeze"
        return float(np.abs(image - truth).mean())

    monkeypatch.setattr(view_rendering, "perceptual_distance", distance)
    room = make_room(0, views=4, size=(40, 32), points=600)
    write_rooms("7scenes", [room], tmp_path / "large")
    words = picture_words(folder, "drawn", "--data", f"7scenes:{tmp_path / 'large'}", "--lpips", "squeeze")
    done = call_cli("ponderv2", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "drawn" / "scores.json").read_text())
    with Image.open(tmp_path / "drawn" / "frame-000002.color.png") as drawn:
        apart = np.abs(np.asarray(drawn) / 255 - room.view(2).color / 255).mean()
    assert told["views"]["frame-000002"]["lpips"] == pytest.approx(apart, abs=0.01)
    assert told["mean"]["lpips"] == told["views"]["frame-000002"]["lpips"]
    assert f"lpips {told['mean']['lpips']:.4g}" in done.stdout


def test_lpips_without_photographs_or_with_few_pixels_is_refused(folder, tmp_path):
    np.savetxt(tmp_path / "poses.txt", np.eye(4))
    words = picture_words(folder, "drawn", "--poses", "poses.txt", "--lpips", "alex")
    refused(words, "lpips", "new poses", cwd=tmp_path)
    refused(picture_words(folder, "drawn", "--lpips", "alex"), "32 x 32", "24 x 18", cwd=tmp_path)


def test_it_is_said_where_pre_training_may_have_seen_what_is_scored(folder, tmp_path):
    """Of four views the third is held out here; a run that holds every tenth out keeps all four."""
    told = {}
    for trained in (None, 0, 4, 10):
        name = str(trained)
        save_model(tmp_path / name, small_model(), FACTS | ({} if trained is None else {"hold_out": trained}))
        words = picture_words(folder, f"drawn-{name}", "--model", tmp_path / name)
        done = call_cli("ponderv2", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        told[trained] = json.loads((tmp_path / f"drawn-{name}" / "scores.json").read_text())["statement"]
        assert told[trained] in done.stdout
    learned = "of a scene that it learned from, it"
    assert told[None] == (
        f"{told[4]} The model's folder does not say which views pre-training held out: {learned} may have "
        "seen these, too."
    )
    assert told[0] == f"{told[4]} Pre-training held no view out: {learned} saw these, too."
    assert told[10] == (
        f"{told[4]} Pre-training held out other views (hold-out 10): {learned} saw 1 of these 1, too."
    )


def test_new_poses_are_drawn_at_the_size_that_is_asked_for(folder, tmp_path):
    pose = TURN @ make_room(0, views=4, size=(24, 18), points=600).poses[1]
    np.savetxt(tmp_path / "poses.txt", np.concatenate([pose, pose]))
    words = picture_words(folder, "drawn", "--poses", "poses.txt", "--size", 20, 10, "--shrink", 2)
    done = call_cli("ponderv2", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "drawn" / "scores.json").read_text())
    assert told["mean"] is None
    assert told["statement"] == "No view was held out."
    with Image.open(tmp_path / "drawn" / "pose-0001.color.png") as one:
        assert one.size == (10, 5)
        with Image.open(tmp_path / "drawn" / "pose-0000.color.png") as other:
            assert np.array_equal(np.asarray(one), np.asarray(other))


def test_other_cells_than_those_of_training_can_be_asked_for(folder, tmp_path):
    words = picture_words(folder, "drawn", "--volume", 8, 8, 4)
    done = call_cli("ponderv2", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused(picture_words(folder, "other", "--volume", 3, 8, 4), "cannot be halved", cwd=tmp_path)


def test_a_scene_is_named_where_there_are_several(folder, tmp_path):
    two = ("--data", f"7scenes:{folder / 'two'}")
    refused(picture_words(folder, "drawn", *two), "has 2 scenes; name one with --scene", cwd=tmp_path)
    refused(
        picture_words(folder, "drawn", *two, "--scene", "attic"), "no scene attic", "there is", cwd=tmp_path
    )


@pytest.mark.parametrize(("more", "told"), [
    (("--out", "room.stl"), "a mesh is written as .ply or .obj"),
    (("--reference", "room.obj"), "it is tsdf or a .ply file"),
    (("--reference", "absent.ply"), "absent.ply"),
    (("--spacing", 0), "spacing is 0 metres"),
    (("--hold-out", 1), "hold_out is 1"),
    (("--steps", 0, "--finer", 2), "a finer volume has to be fitted"),
    (("--views", 0), "views is 0"),
    (("--samples", 0), "samples is 0"),
    (("--data", "7scenes:nowhere"), "nowhere"),
    (("--model", "nothing"), "nothing"),
])  # fmt: skip
def test_a_mesh_that_cannot_be_made_is_refused(more, told, folder, tmp_path):
    refused(mesh_words(folder, "room.ply", *more), told, cwd=tmp_path)


@pytest.mark.parametrize(("more", "told"), [
    (("--hold-out", 1), "hold_out is 1"),
    (("--hold-out", 20), "none of its 4 views is held out"),
    (("--size", 4, 4), "size belongs to new poses"),
    (("--poses", "absent.txt"), "absent.txt: no such file"),
    (("--text", "words.npz"), "learned nothing from labels"),
    (("--classes", "chair"), "--text"),
    (("--shrink", 0), "shrink is 0"),
])  # fmt: skip
def test_pictures_that_cannot_be_drawn_are_refused(more, told, folder, tmp_path):
    refused(picture_words(folder, "drawn", *more), told, cwd=tmp_path)


def test_pictures_are_never_written_into_a_folder_that_holds_something(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    refused(picture_words(folder, "mine"), "mine: exists; name a new folder", cwd=tmp_path)


def test_a_model_is_measured_part_by_part(folder, tmp_path):
    words = ["bench", "--model", folder / "model", "--points", 300, "--rays", 8, 16, "--grid", 50]
    done = call_cli("ponderv2", *words, "--rounds", 1, "--device", "cpu", "--out", "b.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "b.json").read_text())
    assert [part["part"] for part in told["parts"]] == [
        "backbone", "backbone, with gradients", "volume", "8 rays", "8 rays, with losses and gradients",
        "16 rays", "16 rays, with losses and gradients", "distances",
    ]  # fmt: skip
    assert all(0 < part["least"] <= part["seconds"] <= part["most"] for part in told["parts"])
    assert all(part["part"] in done.stdout for part in told["parts"])
    assert told["machine"]["cores"] >= 1


@pytest.mark.parametrize(("more", "told"), [
    (("--rays", 0), "rays is 0"), (("--rays", 4, 4), "name each once"), (("--rounds", 0), "rounds is 0"),
    (("--data", "rgbd:nowhere"), "nowhere"),
])  # fmt: skip
def test_a_measurement_that_cannot_be_made_is_refused(more, told, folder, tmp_path):
    words = ["bench", "--model", folder / "model", "--points", 300, "--rays", 8, "--device", "cpu"]
    refused(replaced(words, *more), told, cwd=tmp_path)
