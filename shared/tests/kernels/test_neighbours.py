"""Neighbours by comparing all pairs in plain Python.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import math
import os

import pytest
import torch

from nonet.kernels.neighbours import ball_query, farthest_points, nearest
from nonet.testing import devices, needs, normal, whole

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def all_pairs(points, queries, k, radius=math.inf):
    """Distances and indices of the k nearest, ordered by both."""
    rows = []
    for query in queries.tolist():
        pairs = sorted((math.dist(query, point), i) for i, point in enumerate(points.tolist()))
        pairs = [pair for pair in pairs if pair[0] < radius][:k]
        rows.append(pairs + [(math.inf, -1)] * (k - len(pairs)))
    distances = torch.tensor([[pair[0] for pair in row] for row in rows])
    return distances, torch.tensor([[pair[1] for pair in row] for row in rows])


@devices
@pytest.mark.parametrize(
    ("count", "asked", "k"), [(1, 3, 1), (20, 7, 3), (300, 40, 8), (130, 5, 130), (257, 33, 1)]
)
def test_nearest_points_are_those_of_all_pairs(count, asked, k, device):
    points, queries = normal(count, 3), normal(asked, 3, seed=1)
    found = nearest(points.to(device), queries.to(device), k)
    distances, indices = all_pairs(points, queries, k)
    assert torch.equal(found.indices.cpu(), indices)
    torch.testing.assert_close(found.distances.cpu(), distances, rtol=1e-5, atol=1e-6)


@devices
@pytest.mark.parametrize(("radius", "k"), [(0.3, 4), (0.8, 4), (0.8, 40), (9.0, 300), (1e-6, 2)])
def test_a_ball_holds_the_nearest_of_those_within(radius, k, device):
    points, queries = normal(200, 3), normal(25, 3, seed=1)
    found = ball_query(points.to(device), queries.to(device), radius, k)
    distances, indices = all_pairs(points, queries, k, radius)
    assert torch.equal(found.indices.cpu(), indices)
    torch.testing.assert_close(found.distances.cpu(), distances, rtol=1e-5, atol=1e-6)


def test_of_equally_near_points_the_lower_index_comes_first():
    points = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    found = nearest(points, torch.zeros(1, 3), 5)
    assert found.indices.tolist() == [[3, 4, 0, 1, 2]]
    assert found.distances.tolist() == [[0, 0, 1, 1, 1]]


def test_a_point_at_the_radius_is_not_within():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    assert ball_query(points, points[:1], 2.0, 3).indices.tolist() == [[0, 1, -1]]


def test_a_point_is_its_own_nearest():
    points = normal(100, 3)
    found = nearest(points, points, 2)
    assert found.indices[:, 0].tolist() == list(range(100))
    assert not found.distances[:, 0].any()


def test_order_of_points_and_queries_only_renames_neighbours():
    points, queries = normal(90, 3), normal(30, 3, seed=1)
    order, asked = whole(90, 90, seed=2).sort(stable=True).indices, torch.arange(29, -1, -1)
    found, moved = nearest(points, queries, 5), nearest(points[order], queries[asked], 5)
    assert torch.equal(order[moved.indices][asked], found.indices)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_other_precisions_keep_theirs(kind):
    points, queries = normal(60, 3).to(kind), normal(10, 3, seed=1).to(kind)
    found = nearest(points, queries, 4)
    assert found.distances.dtype == kind
    assert torch.equal(found.indices, all_pairs(points.double(), queries.double(), 4)[1])


def farthest_in_loops(points, count, start):
    rows = points.tolist()
    found = [start]
    while len(found) < count:
        left = [i for i in range(len(rows)) if i not in found]
        found.append(max(left, key=lambda i: (min(math.dist(rows[i], rows[j]) ** 2 for j in found), -i)))
    return found


@devices
@pytest.mark.parametrize(
    ("points", "count", "start"), [(1, 1, 0), (30, 30, 4), (200, 20, 0), (200, 20, 1), (64, 5, 63)]
)
def test_farthest_points_are_those_of_loops(points, count, start, device):
    cloud = normal(points, 3, seed=points)
    found = farthest_points(cloud.to(device), count, start)
    assert found.cpu().tolist() == farthest_in_loops(cloud.double(), count, start)


def test_corners_of_a_square_come_before_its_middle():
    points = torch.tensor([[0.5, 0.5, 0], [0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert farthest_points(points, 5, start=1).tolist() == [1, 4, 2, 3, 0]


def test_points_at_one_place_are_all_taken_once():
    assert farthest_points(torch.ones(4, 3), 4, start=2).tolist() == [2, 0, 1, 3]


def test_more_points_than_a_block_are_searched():
    points = torch.zeros(5000, 3)
    points[4100, 0], points[2049, 1] = 3.0, 2.0
    assert farthest_points(points, 3).tolist() == [0, 4100, 2049]


def test_no_queries_and_no_points_give_nothing():
    assert nearest(normal(5, 3), normal(0, 3), 2).indices.shape == (0, 2)
    found = ball_query(normal(0, 3), normal(4, 3), 1.0, 3)
    assert found.indices.tolist() == [[-1] * 3] * 4
    assert found.distances.isinf().all()


def test_what_cannot_be_is_refused():
    points = normal(5, 3)
    for call, error in (
        (lambda: nearest(points, points, 6), "k is 6; of 5 points 1 to 5"),
        (lambda: nearest(points, points, 0), "k is 0"),
        (lambda: nearest(points[:, :2], points, 1), r"points must be \(n, 3\) floats"),
        (lambda: nearest(points, points.long(), 1), r"queries must be \(n, 3\) floats"),
        (lambda: nearest(points, points / torch.tensor([1, 0, 1]), 1), "queries: row 0"),
        (lambda: ball_query(points, points, 0.0, 1), "radius 0.0"),
        (lambda: ball_query(points, points, math.nan, 1), "radius nan"),
        (lambda: farthest_points(points, 6), "count is 6 and start 0; there are 5"),
        (lambda: farthest_points(points, 2, start=5), "start 5"),
        (lambda: farthest_points(points, 2, start=-1), "start -1"),
    ):
        with pytest.raises(ValueError, match=error):
            call()


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
def test_triton_form_compiles_for_a_gpu(compiles):
    from nonet.kernels import neighbours_triton as form

    search, farthest = form._kernels()
    sizes = {"keys": "*i64", "N": "i32", "M": "i32", "k": "i32"}
    constants = {"NONE": form.NONE, "QUERIES": form.QUERIES, "POINTS": form.POINTS, "WIDE": 8}
    assert "st.global" in compiles(search, "*fp32", sizes, constants)
    sizes = {"found": "*i64", "N": "i32", "count": "i32", "start": "i32"}
    assert "st.global" in compiles(farthest, "*fp32", sizes, {"BLOCK": form.BLOCK})
    assert "st.global" in compiles(farthest, "*fp32", sizes, {"BLOCK": form.BLOCK, "start": 1})


@pytest.mark.slow
@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="this is the other form")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)
