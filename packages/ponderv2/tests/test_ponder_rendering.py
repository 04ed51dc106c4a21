"""Rendering along rays: fields that are known in closed form, and loops that restate the formulas."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import Analytic, plane, small_model, sphere

from nonet.testing import normal, seeded
from ponderv2.model_config import SIZES
from ponderv2.ponder import Encoded
from ponderv2.ray_samples import even_edges, intersect, opacity, place_samples, search_weights, surface_edges
from ponderv2.render_losses import RayTargets, RenderLosses
from ponderv2.renderer import Renderer

LOW, HIGH = torch.full((3,), -0.55), torch.full((3,), 0.55)
DOWN = torch.tensor([0.0, 0.0, -1.0])


def renderer(k=20.09, **changes):
    return (
        Renderer(**{"samples": 96, "importance": 36, "sharpness": math.log(k) / 10} | changes)
        .requires_grad_(False)
        .eval()
    )


def rays_at(points, origin):
    way = points - origin
    return origin.expand_as(points)[None], (way / way.norm(dim=-1, keepdim=True))[None]


def look(field, origins, directions, k=20.09, **changes):
    return renderer(k, **changes)(field, origins, directions, LOW, HIGH)


def looking_down(count=40, height=0.4):
    spots = torch.rand(count, 2, generator=seeded(1)) - 0.5
    origins = torch.cat([spots, torch.full((count, 1), height)], 1)[None]
    return origins, DOWN.expand_as(origins)


def test_sharpness_begins_at_e_to_the_third():
    assert float(Renderer().k.detach()) == pytest.approx(math.e**3, rel=1e-6)
    assert float(Renderer(sharpness=2.0).k.detach()) == 1e6, "clipped"


@pytest.mark.parametrize("field", [plane(0.05), sphere(0.3)], ids=["plane", "sphere"])
def test_depth_goes_to_the_truth_as_the_surface_sharpens(field):
    if field.distance(torch.zeros(3)) < -0.2:  # the ball, seen from a corner
        aim = torch.nn.functional.normalize(normal(50, 3), dim=1) * 0.2
        origins, directions = rays_at(aim, torch.tensor([0.5, 0.5, 0.5]))
        along = (origins * directions).sum(-1)
        truth = -along - (along**2 - origins.square().sum(-1) + 0.09).sqrt()
    else:
        origins, directions = looking_down()
        truth = origins[..., 2] - 0.05
    errors = [
        float((look(field, origins, directions, k, samples=200, importance=0).depth - truth).abs().max())
        for k in (5, 10, 20, 80)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.05
    assert errors[-1] < 1e-3
    assert float((look(field, origins, directions, 500).depth - truth).abs().max()) < 1e-3, "as by default"


def test_a_normal_is_that_of_the_surface():
    seen = look(plane(), *looking_down(), k=500)
    assert torch.allclose(seen.normal, torch.tensor([0.0, 0.0, 1.0]).expand_as(seen.normal), atol=2e-3)


def test_weights_are_shares_that_sum_to_one_at_most():
    origins = normal(1, 200, 3) * 0.3
    directions = torch.nn.functional.normalize(normal(1, 200, 3, seed=1), dim=-1)
    for field in (plane(), sphere(), Analytic(lambda points: (points * 9).sin().sum(-1) / 5)):
        weights = look(field, origins, directions, k=100).weights
        assert weights.min() >= 0
        assert weights.max() <= 1
        assert weights.sum(-1).max() <= 1 + 2e-5


def test_a_ray_that_begins_in_a_wall_has_the_colour_of_its_first_sample():
    inside = Analytic(
        lambda points: torch.full_like(points[..., 0], -1.0) + 0 * points[..., 0], torch.sigmoid
    )
    origins, directions = looking_down(height=0.5)
    seen = look(inside, origins, directions, k=100)
    first = origins + directions * seen.distances[..., :1]
    assert torch.allclose(seen.weights[..., 0], torch.ones(1, 40), atol=1e-4)
    assert torch.allclose(seen.color, first.sigmoid(), atol=1e-4)
    assert torch.allclose(seen.distances[..., 0], torch.full((1, 40), 0.01), atol=1e-6), "the nearest place"


def test_opacity_of_a_hand_case():
    found = opacity(torch.tensor(0.0), torch.tensor(-1.0), torch.tensor(0.2), 20.0)
    before, after = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    assert float(found) == pytest.approx((before - after + 1e-5) / (before + 1e-5), rel=1e-6)
    assert float(found) == pytest.approx(0.8647, abs=1e-4)


def test_a_ray_meets_the_box_where_its_sides_are():
    origins = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0], [0.1, 0.2, 0.3], [0.0, 0.0, 2.0]])
    directions = torch.tensor([[0.0, 0, -1], [0, 0, 1], [1, 0, 0], [0.6, 0, -0.8]])
    near, far, hit = intersect(origins, directions, LOW, HIGH, 0.01)
    assert hit.tolist() == [True, False, True, False]
    assert torch.allclose(near, torch.tensor([1.45, 0, 0.01, 0]), atol=1e-5)
    assert torch.allclose(far, torch.tensor([2.55, 0, 0.45, 0]), atol=1e-5)


def test_rays_that_miss_are_counted_and_cost_nothing():
    origins, directions = looking_down()
    directions = directions.clone()
    directions[:, 30:] *= -1
    origins = origins.clone()
    origins[:, 30:, 2] = 3.0
    seen = look(plane(), origins, directions)
    assert seen.missed == 10
    assert not seen.hit[:, 30:].any()
    assert all(part[:, 30:].abs().max() == 0 for part in (seen.color, seen.depth, seen.weights, seen.sdf))
    depth = torch.rand(1, 40, generator=seeded())
    target = RayTargets(
        depth, torch.rand(1, 40, 3, generator=seeded()), torch.full((1, 40), -1), seen.hit | True
    )
    losses = RenderLosses()(seen, target)
    kept = look(plane(), origins[:, :30], directions[:, :30])
    few = RayTargets(*(part[:, :30] for part in target))
    for name, value in RenderLosses()(kept, few).items():
        assert torch.allclose(losses[name], value), name
    padded = target._replace(valid=torch.arange(40)[None] < 20)
    fewer = RayTargets(*(part[:, :20] for part in target))
    first = look(plane(), origins[:, :20], directions[:, :20])
    for name, value in RenderLosses()(first, fewer).items():
        assert torch.allclose(RenderLosses()(seen, padded)[name], value), f"{name} counts padding"


def test_a_true_distance_costs_nothing():
    origins, directions = looking_down()
    depth = origins[..., 2]
    seen = look(plane(), origins, directions, k=2500)
    target = RayTargets(depth, seen.color, torch.full((1, 40), -1), seen.hit)
    losses = RenderLosses()(seen, target)
    assert set(losses) == {"depth", "color", "sdf", "free", "eikonal"}
    for name in ("sdf", "free", "eikonal", "color"):
        assert losses[name] < 1e-5, name
    assert RenderLosses()(seen, target._replace(depth=depth + 0.02))["sdf"] == pytest.approx(0.2, rel=1e-3)
    doubled = look(Analytic(lambda points: 2 * points[..., 2]), origins, directions)
    assert float(RenderLosses()(doubled, target)["eikonal"]) == pytest.approx(0.01, rel=1e-4)


def test_the_true_distance_of_a_ball_costs_nothing_along_rays_to_its_middle():
    """There r - R is the way that is left to the surface; on other rays that way is longer."""
    out = torch.nn.functional.normalize(normal(60, 3, seed=2), dim=1)
    origins = (out * 0.52)[None]  # within the box, whose sides are 0.55 from the middle
    depth = torch.full((1, 60), 0.52 - 0.3)
    seen = look(sphere(0.3), origins, -out[None], k=500)
    assert bool(seen.hit.all())
    target = RayTargets(depth, seen.color, torch.full((1, 60), -1), seen.hit)
    losses = RenderLosses()(seen, target)
    for name in ("sdf", "free", "eikonal"):
        assert float(losses[name]) < 1e-5, name
    for radius in (0.28, 0.32):  # 0.02 too small or too large, which is weighted by 10
        wrong = RenderLosses()(look(sphere(radius), origins, -out[None], k=500), target)
        assert float(wrong["sdf"]) == pytest.approx(0.2, rel=1e-3)
        assert (float(wrong["free"]) > 1e-4) == (radius > 0.3), "of distances that are too short alone"
        assert float(wrong["eikonal"]) < 1e-5
    aside = torch.nn.functional.normalize(torch.linalg.cross(out, DOWN.expand_as(out)), dim=1)
    slanted, directions = rays_at(aside * 0.2, torch.tensor([0.0, 0.0, 0.52]))
    along = (slanted * directions).sum(-1)
    truth = -along - (along**2 - 0.52**2 + 0.3**2).sqrt()
    past = look(sphere(0.3), slanted, directions, k=500)
    found = RenderLosses()(past, RayTargets(truth, past.color, torch.full((1, 60), -1), past.hit))
    assert float(found["sdf"]) > 0.01
    assert float(found["eikonal"]) < 1e-5


def test_losses_are_those_of_a_loop():
    seen = look(Analytic(lambda points: (points * 5).sin().sum(-1) / 4), *looking_down(6), k=60)
    draw = seeded(3)
    depth = torch.rand(1, 6, generator=draw) * (torch.arange(6) != 2)
    color = torch.rand(1, 6, 3, generator=draw)
    target = RayTargets(depth, color, torch.full((1, 6), -1), seen.hit)
    sdf, free, apart, slopes, T = [], [], [], [], 0.1
    for ray in range(6):
        D = float(depth[0, ray])
        apart += [abs(float(seen.depth[0, ray]) - D)] if D > 0 else []
        for t, s, g in zip(seen.distances[0, ray], seen.sdf[0, ray], seen.gradient[0, ray], strict=True):
            slopes.append((float(g.norm()) - 1) ** 2)
            if D > 0 and abs(float(t) - D) <= T:
                sdf.append(abs(float(t + s) - D))
            if D > 0 and float(t) < D - T:
                free.append(max(0.0, T - float(s)))
    losses = RenderLosses(depth=2, color=3, sdf=4, free=5, eikonal=6, truncation=T)(seen, target)
    expected = {
        "depth": 2 * sum(apart) / 5,
        "color": 3 * float((seen.color - color).abs().mean()),
        "sdf": 4 * sum(sdf) / len(sdf),
        "free": 5 * sum(free) / len(free),
        "eikonal": 6 * sum(slopes) / len(slopes),
    }
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_the_semantic_loss_is_the_cross_entropy_of_rays_against_rays():
    model = small_model(field={"semantic": 7}).requires_grad_(False)
    origins, directions = looking_down(12)
    volume = normal(1, 12, 8, 16, 16)
    field = model.field.at(volume, cube_of(model))
    seen = renderer()(field, origins, directions, LOW, HIGH)
    text = torch.nn.functional.normalize(normal(4, 7, seed=2), dim=1)
    label = torch.tensor([[0, 1, -1, 3, 3, 0, -1, 1, 1, 0, 3, 2]])
    depth = torch.full((1, 12), 0.4)
    depth[0, 7] = 0
    losses = RenderLosses(semantic=0.1)(seen, RayTargets(depth, seen.color, label, seen.hit), text)
    told = [ray for ray in range(12) if label[0, ray] >= 0 and depth[0, ray] > 0]
    vectors = torch.nn.functional.normalize(seen.semantic[0, told], dim=1)
    logits = vectors @ text[label[0, told]].T / 0.01  # rays by rays, as in the released code
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(len(told)))
    found = float(losses["semantic"].detach())
    assert found == pytest.approx(0.1 * float(expected.detach()), rel=1e-4)
    with pytest.raises(ValueError, match="label 3, and there are 3 text vectors"):
        RenderLosses()(seen, RayTargets(depth, seen.color, label, seen.hit), text[:3])


def cube_of(model):
    from ponderv2.unit_cube import UnitCube

    return UnitCube.of_boxes(torch.tensor([[[0.0, 0, 0], [4, 4, 2]]]), legacy=model.config.volume.legacy)


def test_meaning_is_summed_before_the_last_layer_as_after_it():
    model = small_model(field={"semantic": 7, "semantic_layers": 2}).requires_grad_(False)
    origins, directions = looking_down(5)
    field = model.field.at(normal(1, 12, 8, 16, 16), cube_of(model))
    seen = renderer()(field, origins, directions, LOW, HIGH)
    points = origins[:, :, None] + directions[:, :, None] * seen.distances[..., None]
    found = field.values(points.flatten(1, 2), directions[:, :, None].expand_as(points).flatten(1, 2))
    each = model.field.semantic.layers[-1](found.hidden).view(1, 5, -1, 7)
    assert torch.allclose(seen.semantic, (seen.weights[..., None] * each).sum(2), atol=1e-5)


def test_samples_of_evaluation_are_even():
    edges = even_edges((2, 5), torch.zeros(()), "none", None)
    assert edges.tolist() == [[0, 0.25, 0.5, 0.75, 1]] * 2


@pytest.mark.parametrize("shaken", ["sample", "ray"])
def test_shaken_samples_stay_between_the_middles_beside_them(shaken):
    edges = even_edges((3, 7, 5), torch.zeros(()), shaken, seeded())
    low = torch.tensor([0, 0.125, 0.375, 0.625, 0.875])
    high = torch.tensor([0.125, 0.375, 0.625, 0.875, 1])
    assert bool(((edges >= low) & (edges <= high)).all())
    share = (edges - low) / (high - low)
    assert bool((share.std(-1) < 1e-5).all()) == (shaken == "ray")
    again = even_edges((3, 7, 5), torch.zeros(()), shaken, [seeded(n) for n in range(3)])
    alone = even_edges((1, 7, 5), torch.zeros(()), shaken, [seeded(2)])
    assert torch.equal(again[2:], alone), "a scene's draws are its own"


def literal_search(sdf, delta, k):
    """Weights of one ray, one interval after the other."""
    weights, clear, earlier = [], 1.0, 0.0
    for i in range(len(sdf) - 1):
        slope = (sdf[i + 1] - sdf[i]) / (delta[i] + 1e-5)
        steep = max(-1e3, min(0.0, min(slope, earlier)))
        earlier = slope
        middle = (sdf[i] + sdf[i + 1]) / 2
        before = 1 / (1 + math.exp(-(middle - steep * delta[i] / 2) * k))
        after = 1 / (1 + math.exp(-(middle + steep * delta[i] / 2) * k))
        alpha = (before - after + 1e-5) / (before + 1e-5)
        weights.append(alpha * clear)
        clear *= 1 - alpha + 1e-7
    return [*weights, 0.0]


def literal_edges(share, weights, shifts):
    """Edges of new intervals of one ray, one height after the other."""
    total = sum(weights)
    missing = max(0.0, 1e-5 - total)
    heights, height = [0.0], 0.0
    for weight in weights:
        height += (weight + missing / len(weights)) / (total + missing)
        heights.append(min(1.0, height))
    edges, bins = [], len(shifts)
    for number, shift in enumerate(shifts):
        wanted = number / bins + shift / bins
        above = sum(each <= wanted for each in heights)
        below, above = max(above - 1, 0), min(above, len(heights) - 1)
        rise = heights[above] - heights[below]
        part = (wanted - heights[below]) / (rise if rise >= 1e-5 else 1.0)
        edges.append(share[below] + min(1.0, max(0.0, part)) * (share[above] - share[below]))
    return edges


def test_up_sampling_is_that_of_a_loop():
    share = even_edges((1, 6, 17), torch.zeros((), dtype=torch.float64), "sample", seeded())
    sdf = normal(1, 6, 16, dtype=torch.float64) / 10
    sdf[0, 4] = 1.0  # nothing on this ray
    delta = share.diff(dim=-1) * 1.7
    weights = search_weights(sdf, delta, 64.0)
    for ray in range(6):
        expected = literal_search(sdf[0, ray].tolist(), delta[0, ray].tolist(), 64.0)
        assert weights[0, ray].tolist() == pytest.approx(expected, abs=1e-9)
    drawn = torch.rand(1, 6, 8, generator=seeded(5), dtype=torch.float64)
    for shaken, shifts in (("none", torch.full((1, 6, 8), 0.5)), ("sample", drawn)):
        edges = surface_edges(share, weights, 7, shaken, seeded(5))
        for ray in range(6):
            expected = literal_edges(
                share[0, ray].tolist(), weights[0, ray].tolist(), shifts[0, ray].tolist()
            )
            assert edges[0, ray].tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("steps", [1, 2])
def test_added_samples_gather_at_the_surface(steps):
    origins, directions = looking_down()
    placement = renderer(importance=36, steps=steps).placement
    near, far, _ = intersect(origins, directions, LOW, HIGH, 0.01)
    edges = place_samples(plane(), origins, directions, near, far, placement)
    assert edges.shape == (1, 40, 96 + 36 + 1)
    assert bool((edges.diff(dim=-1) >= 0).all())
    close = ((edges - 0.4).abs() < 0.06).sum(-1)
    assert bool((close >= 36).all()), f"of 132, {int(close.min())} lie at the surface"


@pytest.mark.parametrize("legacy", [False, True])
def test_gradients_of_rendering_and_losses_are_those_of_differences(legacy):
    """In float64, through the eikonal term and hence the second gradients of sampling."""
    model = small_model(volume={"legacy": legacy}, field={"semantic": 5}).double().requires_grad_(False)
    origins, directions = looking_down(3)
    origins, directions = origins.double(), directions.double()
    cube = cube_of(model).map(lambda tensor: tensor.double())
    text = torch.nn.functional.normalize(normal(2, 5, dtype=torch.float64), dim=1)
    target = RayTargets(
        torch.tensor([[0.3, 0.4, 0.35]], dtype=torch.float64),
        torch.rand(1, 3, 3, dtype=torch.float64, generator=seeded()),
        torch.tensor([[0, 1, 0]]),
        torch.ones(1, 3, dtype=torch.bool),
    )
    terms = RenderLosses(eikonal=1.0, truncation=0.2, temperature=0.5)
    place = renderer(samples=8, importance=0).double()
    volume = normal(1, 12, 3, 4, 4, dtype=torch.float64, seed=4) / 2

    def loss(volume, v):
        place.sharpness.data = v.detach()
        drawn = torch.func.functional_call(
            place,
            {"sharpness": v},
            (model.field.at(volume, cube), origins, directions, *(cube.low, cube.high)),
        )
        return sum(terms(drawn, target, text).values())

    v = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    volume.requires_grad_()
    assert torch.autograd.gradcheck(loss, (volume, v), atol=1e-5, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_slopes_at_points_are_metres_by_metre(legacy):
    """Also where the released code's errors are repeated, whose field has another unit of length."""
    model = small_model(volume={"legacy": legacy}).double().eval().requires_grad_(False)
    cube = cube_of(model).map(lambda tensor: tensor.double())
    encoded = Encoded(normal(1, 12, 8, 16, 16, dtype=torch.float64), cube, torch.zeros(0))
    points = torch.rand(1, 40, 3, generator=seeded(4), dtype=torch.float64) * torch.tensor([3.0, 3, 1]) + 0.5
    slopes = model.query(encoded, points).gradient
    step = 1e-7
    for axis in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[axis] = step
        after, before = (model.query(encoded, points + way * shift).sdf for way in (1, -1))
        torch.testing.assert_close(slopes[..., axis], (after - before) / (2 * step), rtol=1e-4, atol=1e-5)


def test_all_sizes_build_and_the_paper_has_its_numbers():
    paper = SIZES["paper"]
    assert (paper.renderer.samples, paper.renderer.importance, paper.losses.truncation) == (96, 36, 0.05)
    assert (paper.field.sdf_layers, paper.field.color_layers, paper.volume.out) == (2, 1, 128)
