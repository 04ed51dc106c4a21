"""Groups of touching points against all pairs; offsets and objects of hand cases."""

import numpy as np
import pytest
import torch

from nonet.testing import seeded
from ponderv2 import point_groups
from ponderv2.offset_targets import offset_losses, offset_targets
from ponderv2.point_groups import touching_groups


def by_all_pairs(points, kinds, radius):
    """Flood fill over all pairs of points."""
    close = (np.square(points[:, None] - points[None]).sum(-1) <= radius**2) & (kinds[:, None] == kinds)
    groups = np.full(len(points), -1)
    for start in range(len(points)):
        if groups[start] < 0:
            number, front = groups.max() + 1, [start]
            groups[start] = number
            while front:
                for other in np.flatnonzero(close[front.pop()] & (groups < 0)):
                    groups[other] = number
                    front.append(other)
    return groups


def clouds():
    random = np.random.default_rng(0)
    yield "spread", random.uniform(0, 6, (300, 3)), random.integers(0, 2, 300)
    heaps = random.integers(0, 4, 300)
    yield "heaps", random.normal(0, 0.2, (300, 3)) + heaps[:, None] * 1.3, random.integers(0, 2, 300)
    yield (
        "far from the origin",
        random.uniform(0, 4, (200, 3)) + np.array([-1e3, 5e2, 3e3]),
        np.zeros(200, int),
    )
    yield "flat", random.uniform(0, 9, (250, 3)) * [1, 1, 0], random.integers(-3, 1, 250)
    yield "doubles", np.repeat(random.uniform(0, 3, (60, 3)), 3, 0), np.zeros(180, int)


@pytest.mark.parametrize(("name", "points", "kinds"), list(clouds()))
@pytest.mark.parametrize("pairs", [1 << 22, 8])
def test_groups_are_those_of_all_pairs(name, points, kinds, pairs, monkeypatch):
    monkeypatch.setattr(point_groups, "PAIRS", pairs)  # how many distances are held changes nothing
    for radius in (0.25, 0.6, 1.0):
        assert touching_groups(points, kinds, radius).tolist() == by_all_pairs(points, kinds, radius).tolist()


def test_points_at_the_radius_touch_and_those_beyond_do_not():
    points = np.array([[0, 0, 0], [1, 0, 0], [2.001, 0, 0]], float)
    assert touching_groups(points, np.zeros(3, int), 1.0).tolist() == [0, 0, 1]
    assert touching_groups(points, np.array([0, 1, 0]), 2.5).tolist() == [0, 1, 0]


def test_a_heap_of_points_costs_no_list_of_pairs():
    """20,000 points in one ball have 2e8 pairs; cells hold a thousand of them at a time."""
    points = np.random.default_rng(1).normal(0, 0.1, (20_000, 3))
    assert touching_groups(points, np.zeros(20_000, int), 1.5).max() == 0


def test_none_one_and_what_cannot_be():
    assert touching_groups(np.zeros((0, 3)), np.zeros(0, int), 1.0).tolist() == []
    assert touching_groups(np.ones((1, 3)), np.zeros(1, int), 1.0).tolist() == [0]
    with pytest.raises(ValueError, match="radius is 0"):
        touching_groups(np.ones((1, 3)), np.zeros(1, int), 0.0)
    with pytest.raises(ValueError, match="not finite"):
        touching_groups(np.full((1, 3), np.nan), np.zeros(1, int), 1.0)
    with pytest.raises(ValueError, match="too wide for a radius of 1e-09"):
        touching_groups(np.array([[0.0, 0, 0], [1e3, 1e3, 1e3]]), np.zeros(2, int), 1e-9)


def test_offsets_lead_to_the_mean_or_to_the_middle_of_the_box():
    """Object 5 of scene 0 has voxels at x 0, 0 and 3: its mean is 1, the middle of its box 1.5. Object 5 of
    scene 1 is another one."""
    coord = torch.tensor([[0.0, 0, 0], [0, 2, 0], [3, 1, 0], [9, 9, 9], [7, 0, 0]])
    scene, instance = torch.tensor([0, 0, 0, 0, 1]), torch.tensor([5, 5, 5, -1, 5])
    mean = offset_targets(coord, scene, instance, middle="mean")
    assert mean.offset.tolist() == [[1, 1, 0], [1, -1, 0], [-2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert mean.known.tolist() == [True, True, True, False, True]
    box = offset_targets(coord, scene, instance, middle="box")
    assert box.offset[:3, 0].tolist() == [1.5, 1.5, -1.5]
    none = offset_targets(coord, scene, torch.full((5,), -1), middle="mean")
    assert not none.known.any()
    assert not none.offset.any()


def test_losses_of_offsets_by_hand():
    """One voxel is right, one points the other way by (2, 0, 0), one belongs to no object."""
    coord = torch.tensor([[0.0, 0, 0], [2, 0, 0], [5, 5, 5]])
    targets = offset_targets(coord, torch.zeros(3, dtype=torch.long), torch.tensor([0, 0, -1]), middle="mean")
    found = torch.tensor([[1.0, 0, 0], [1, 0, 0], [9, 9, 9]], requires_grad=True)
    losses = offset_losses(found, targets)
    assert losses["offset_l1"].item() == pytest.approx(1.0)  # (0 + 2) / 2
    assert losses["offset_direction"].item() == pytest.approx(0.0, abs=1e-6)  # (-1 + 1) / 2
    sum(losses.values()).backward()
    assert not found.grad[2].any()
    nothing = offset_losses(found, targets._replace(known=torch.zeros(3, dtype=torch.bool)))
    assert [value.item() for value in nothing.values()] == [0, 0]


def test_no_voxel_of_an_object_is_no_division_by_zero():
    found = torch.zeros(2, 3, requires_grad=True)
    targets = offset_targets(torch.rand(2, 3, generator=seeded()), torch.zeros(2, dtype=torch.long),
                             torch.tensor([0, 1]), middle="mean")  # fmt: skip
    losses = offset_losses(found, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert torch.isfinite(found.grad).all()
