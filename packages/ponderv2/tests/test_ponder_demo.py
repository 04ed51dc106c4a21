"""The verb `demo` and its parts, at the smallest size."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nonet.testing import call_cli
from ponderv2 import demonstration
from ponderv2.demonstration import Plan, made_up_rooms, mesh_picture, new_model, pretrain
from ponderv2.meshes import Mesh

TINY = Plan(
    rooms=3, test=2, points=400, voxel=0.3, views=1, rays=8, batch=2, steps=2,
    shrink=8, spacing=0.4,
)  # fmt: skip


@pytest.fixture(scope="module")
def rooms():
    return made_up_rooms(TINY, 0)


def test_rooms_of_all_parts_differ(rooms):
    assert {name: len(part) for name, part in rooms.items()} == {"pretrain": 3, "test": 2}
    every = [room for part in rooms.values() for room in part]
    assert len({room.name for room in every}) == 5
    assert len({room.room.width for room in every}) == 5
    other = made_up_rooms(TINY, 1)
    assert not {room.name for part in other.values() for room in part} & {room.name for room in every}


def test_pre_training_is_the_same_twice_and_changes_every_part(rooms):
    models = [new_model(0) for _ in range(2)]
    start = {name: value.clone() for name, value in models[0].state_dict().items()}
    steps = []
    losses = [pretrain(model, rooms["pretrain"], TINY, 0, lambda: steps.append(1)) for model in models]
    assert losses[0] == losses[1]
    assert len(steps) == 4
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    changed = {
        name.split(".")[0]
        for name, value in models[0].state_dict().items()
        if not torch.equal(value, start[name])
    }
    assert changed == {"backbone", "dense", "field", "renderer"}


def test_the_demo_writes_numbers_pictures_a_mesh_and_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstration, "DEMO", TINY)
    done = call_cli("ponderv2", "demo", "--out", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "colours are still nearly flat after 2 steps" in done.stdout
    first, second = (done.stderr.index(f"drawing {what}") for what in ("rooms with random", "the same rooms"))
    assert first < second
    told = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert told["package"] == "ponderv2"
    assert (told["before"], told["after"]) == tuple(
        told["views"][key]["whole_error"] for key in ("before", "after")
    )
    assert (tmp_path / "demo" / "mesh.ply").read_bytes().startswith(b"ply\n")
    for name in told["pictures"]:
        with Image.open(tmp_path / "demo" / name) as picture:
            assert picture.width > 300
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert page.count("data:image/png;base64,") == 2
    again = call_cli("ponderv2", "demo", "--out", "demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["after"] == told["after"]


def test_the_demo_leaves_other_folders_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    done = call_cli("ponderv2", "demo", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_triangle_is_drawn_where_the_camera_sees_it_and_not_from_behind(rooms):
    room = rooms["test"][0]
    pose = room.view(0).camera_to_world
    corners = np.array([[-0.2, -0.2, 1.0], [0, 0.3, 1.0], [0.3, -0.2, 1.0]])
    places = (corners @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
    colors = np.full((3, 3), (250, 0, 0), np.uint8)
    drawn = {}
    for side, faces in (("front", [[0, 1, 2]]), ("back", [[0, 2, 1]])):
        picture = mesh_picture(Mesh(places, np.array(faces), None, colors), room, times=2)
        red, *others = np.moveaxis(np.asarray(picture)[:, 2 * 64 + 2 :].astype(int), -1, 0)
        drawn[side] = (red > 0.3 * 250 - 1) & (sum(others) == 0)  # lit, at least by three tenths
    sides = sorted(int(part.sum()) for part in drawn.values())
    assert sides[0] == 0
    v, u = np.nonzero(drawn["front"] | drawn["back"])
    focal, centre = 2 * room.intrinsics[0, 0], 2 * room.intrinsics[0, 2] + 0.5
    assert u.min() == pytest.approx(centre - 0.2 * focal, abs=1.5)
    assert u.max() == pytest.approx(centre + 0.3 * focal, abs=1.5)
    assert len(v) > 40
