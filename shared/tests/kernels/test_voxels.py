"""Keys by hand, voxels by dictionaries, and means in plain loops."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from nonet.kernels.voxels import (
    Voxelised,
    grid_fragments,
    grid_sample,
    key_order,
    pack_keys,
    scatter_mean,
    unpack_keys,
    voxelise,
)
from nonet.testing import data_folder, normal, seeded, threads, whole


def by_dictionary(points, size, scene):
    """Voxels and the points of each, in Python's numbers."""
    places = [
        (at, *(int(np.floor(np.float64(value) / size)) for value in row))
        for at, row in zip(scene.tolist(), points.numpy(), strict=True)
    ]
    lowest = {at: [min(p[a] for p in places if p[0] == at) for a in (1, 2, 3)] for at in set(scene.tolist())}
    found: dict = {}
    for number, (at, *cell) in enumerate(places):
        cell = [value - low for value, low in zip(cell, lowest[at], strict=True)]
        found.setdefault((at, *cell), []).append(number)
    return dict(sorted(found.items()))


def test_a_key_is_the_packed_numbers():
    assert pack_keys(torch.tensor([[0, 0, 1, 2]])).tolist() == [65538]
    assert pack_keys(torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0]])).tolist() == [2**48, 2**32]


def test_keys_go_back_and_ascend_as_voxels_do():
    most = torch.tensor([32767, 65535, 65535, 65535])
    cells = torch.cat([whole(65536, 500, 4) % (most + 1), most[None], torch.zeros(1, 4, dtype=torch.int64)])
    keys = pack_keys(cells)
    assert torch.equal(unpack_keys(keys), cells)
    assert cells[keys.argsort()].tolist() == sorted(cells.tolist())
    assert int(keys.max()) == 2**63 - 1


def test_voxels_out_of_range_are_refused():
    for cells, error in (
        ([[0, 0, -1, 0]], "a voxel has the coordinate -1"),
        ([[0, 0, 65536, 0]], r"reach scene 0, x, y, z \[0, 65536, 0\]: a key holds 32768 scenes of 65536"),
        ([[32768, 0, 0, 0]], "reach scene 32768"),
        ([[0, 0, 0]], r"voxels \(1, 3\) torch.int64: expected \(M, 4\)"),
        ([[0.0, 0, 0, 0]], "torch.float32: expected"),
    ):
        with pytest.raises(ValueError, match=error):
            pack_keys(torch.tensor(cells))


@pytest.mark.parametrize("size", [0.05, 0.3, 10.0])
def test_voxels_are_those_of_a_dictionary(size):
    points, scene = normal(400, 3), whole(3, 400).sort().values
    wanted = by_dictionary(points, size, scene)
    found = voxelise(points, size, scene=scene)
    assert [tuple(cell) for cell in found.cells.tolist()] == list(wanted)
    assert found.counts.tolist() == [len(members) for members in wanted.values()]
    for voxel, members in enumerate(wanted.values()):
        assert (found.inverse == voxel).nonzero()[:, 0].tolist() == members


def test_scenes_in_any_order_have_the_same_voxels():
    points, scene, order = normal(300, 3), whole(4, 300), torch.randperm(300, generator=seeded())
    wanted, found = voxelise(points, 0.2, scene=scene), voxelise(points[order], 0.2, scene=scene[order])
    assert torch.equal(found.cells, wanted.cells)
    assert torch.equal(found.inverse, wanted.inverse[order])


def test_borders_are_at_multiples_of_the_size():
    points = torch.tensor([[-0.01, 0.0, 0.19], [0.0, 0.1, 0.21], [0.05, 0.19, 0.2]])
    assert voxelise(points, 0.1).cells[:, 1:].tolist() == [[0, 0, 0], [1, 1, 1]]
    far = points.double() + torch.tensor([10.0, -20.0, 30.0])  # whole voxels away
    assert voxelise(far, 0.1).counts.tolist() == [1, 2]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points_and_flat_clouds_are_clouds(count):
    found = voxelise(torch.full((count, 3), 7.5), 0.1)
    assert found.cells.tolist() == [[0, 0, 0, 0]][:count]
    assert found.counts.tolist() == [count][:count]
    assert found.inverse.tolist() == [0] * count
    flat = normal(50, 3)
    flat[:, 2] = 0
    assert not voxelise(flat, 0.1).cells[:, 3].any()


def test_points_that_do_not_fit_are_refused():
    points = normal(3, 3)
    broken = points.clone()
    broken[1, 2] = float("nan")
    for call, error in (
        (lambda: voxelise(points[:, :2], 0.1), r"points \(3, 2\)"),
        (lambda: voxelise(points, 0.0), "the voxel's size is 0.0"),
        (lambda: voxelise(points, float("nan")), "the voxel's size is nan"),
        (lambda: voxelise(broken, 0.1), "1 points are not finite"),
        (lambda: voxelise(points, 1e-6), "a scene is .* voxels of 1e-06 m wide: 65536 is the limit"),
        (lambda: voxelise(points, 0.1, scene=torch.zeros(2, dtype=torch.int64)), "do not fit 3 points"),
        (lambda: voxelise(points, 0.1, scene=torch.tensor([0, -1, 0])), "scenes -1 to 0"),
    ):
        with pytest.raises(ValueError, match=error):
            call()


def test_order_of_keys_is_the_stable_one():
    keys = whole(50, 1000)
    assert torch.equal(key_order(keys), keys.sort(stable=True).indices)
    assert key_order(keys.sort().values) is None


def test_a_sample_has_one_point_of_each_voxel():
    points = normal(500, 3)
    cells, inverse, counts = voxelise(points, 0.4)
    assert int(counts.max()) > 3
    firsts = [int((inverse == voxel).nonzero()[0]) for voxel in range(len(cells))]
    assert grid_sample(points, 0.4).tolist() == firsts
    for generator in (seeded(3), np.random.default_rng(3)):
        found = grid_sample(points, 0.4, generator=generator)
        assert inverse[found].tolist() == list(range(len(cells)))
        assert found.tolist() != firsts
    again = grid_sample(points, 0.4, generator=seeded(3))
    assert torch.equal(again, grid_sample(points, 0.4, generator=seeded(3)))


def test_every_point_of_a_voxel_is_drawn_alike():
    points = torch.zeros(4000, 3)
    points[:, 0] = torch.arange(4000) // 4  # 1000 voxels of 4 points
    drawn = torch.bincount(grid_sample(points, 1.0, generator=seeded()) % 4, minlength=4)
    assert drawn.tolist() == pytest.approx([250] * 4, abs=60)  # 4 standard deviations


def test_fragments_cover_every_point():
    points, scene = normal(300, 3), whole(2, 300)
    _, inverse, counts = voxelise(points, 0.5, scene=scene)
    fragments = grid_fragments(points, 0.5, scene=scene)
    assert len(fragments) == int(counts.max())
    for fragment in fragments:
        assert inverse[fragment].tolist() == list(range(len(counts)))
    assert torch.cat(fragments).unique().tolist() == list(range(300))
    assert grid_fragments(points[:0], 0.5) == []


@pytest.mark.parametrize("ordered", [False, True])
def test_means_are_those_of_loops(ordered):
    values, index = normal(200, 5, dtype=torch.float64), whole(40, 200)
    index[index == 7] = 8  # group 7 is empty
    index = index.sort().values if ordered else index
    wanted = torch.zeros(40, 5, dtype=torch.float64)
    for group in range(40):
        rows = values[index == group]
        if len(rows):
            wanted[group] = rows.mean(0)
    torch.testing.assert_close(scatter_mean(values, index, 40), wanted)
    assert not scatter_mean(values, index, 40)[7].any()


@pytest.mark.parametrize("ordered", [False, True])
def test_gradient_of_means_is_that_of_differences(ordered):
    index = whole(6, 12).sort().values if ordered else whole(6, 12)
    values = normal(12, 3, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: scatter_mean(x, index, 6), values)


def test_means_are_the_same_for_any_number_of_threads():
    values, index = normal(20_000, 16), whole(3000, 20_000)
    found = []
    for count in (1, 2, 2):
        with threads(count):
            found.append(scatter_mean(values, index, 3000))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


def test_half_precision_is_averaged_in_full():
    values = torch.ones(5000, 1, dtype=torch.bfloat16)
    assert (
        scatter_mean(values, torch.zeros(5000, dtype=torch.int64), 1).item() == 1
    )  # a sum in it stops at 256


def test_means_of_nothing_and_of_groups_that_are_not_there():
    assert not scatter_mean(normal(0, 3), torch.zeros(0, dtype=torch.int64), 4).any()
    with pytest.raises(ValueError, match="groups 0 to 5: expected 0 to 4"):
        scatter_mean(normal(2, 3), torch.tensor([0, 5]), 5)
    with pytest.raises(ValueError, match=r"index \(3,\)"):
        scatter_mean(normal(2, 3), torch.tensor([0, 1, 2]), 5)


def test_the_real_cloud_has_the_voxels_that_numpy_finds():
    points = torch.from_numpy(np.load(data_folder("spconv-cloud", "benchmark-pc.npz"))["pc"].copy())
    found = voxelise(points, 0.1)
    wanted, counts = np.unique(np.floor(points.double().numpy() / 0.1), axis=0, return_counts=True)
    assert isinstance(found, Voxelised)
    assert (found.cells[:, 1:].numpy() == wanted - wanted.min(0)).all()
    assert (found.counts.numpy() == counts).all()
    assert (len(found.cells), int(found.counts.sum())) == (125_565, 198_130)
