"""Views that lose all their depth when images are shrunk are left out and counted."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms

from nonet.errors import UserError
from ponderv2.packing import pack_scene


def with_depth_at(place, scene, numbers, monkeypatch):
    """The scene, whose views of those numbers have depth at one pixel only."""
    view = scene.view

    def changed(number):
        found = view(number)
        if number not in numbers:
            return found
        depth = np.zeros_like(found.depth)
        depth[place] = 1.5
        return replace(found, depth=depth)

    monkeypatch.setattr(scene, "view", changed, raising=False)
    return scene


@pytest.fixture
def scene():
    (found,) = rooms("scannet", each=1, views=3)
    return found


def packed(scene, side=16):
    return pack_scene(scene, None, side=side, view_step=1, hold_out=0)


def test_a_view_without_depth_at_the_smaller_size_is_counted(scene, monkeypatch):
    """32 x 24 pixels become 16 x 12, which have the depth of every second pixel from 1 on."""
    whole = packed(scene)
    counts = packed(with_depth_at((4, 4), scene, [1], monkeypatch))
    assert (whole.views, counts.views) == (3, 2)
    assert dict(scene.skipped) == {"no depth when shrunk": 1}
    (line,) = scene.remarks
    assert line == f"scene {scene.name}, view {scene.view_names[1]}: no depth at 16 x 12 pixels"
    assert sum(counts.pixels.values()) < sum(whole.pixels.values()), "its labels are not packed either"


def test_a_view_that_keeps_a_pixel_is_packed(scene, monkeypatch):
    assert packed(with_depth_at((5, 5), scene, [1], monkeypatch)).views == 3
    assert packed(with_depth_at((4, 4), scene, [2], monkeypatch), side=0).views == 3
    assert not scene.skipped


def test_a_scene_that_loses_all_its_views_is_refused(scene, monkeypatch):
    with pytest.raises(UserError, match="none of its 3 views can be used"):
        packed(with_depth_at((4, 4), scene, range(3), monkeypatch))
    assert dict(scene.skipped) == {"no depth when shrunk": 3}
