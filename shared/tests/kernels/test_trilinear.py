"""Trilinear sampling in loops and by torch's operator; both orders of gradients by differences."""

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from nonet.kernels import trilinear as module
from nonet.kernels.trilinear import trilinear
from nonet.testing import devices, needs, normal, seeded, threads

FORMS = ["gather", "grid_sample"]


def points_around(*shape, seed=0, reach=1.3):
    """Points within and a little beyond a volume, float64."""
    return (torch.rand(*shape, 3, generator=seeded(seed), dtype=torch.float64) * 2 - 1) * reach


def in_loops(volume, points, align_corners):
    """Values by hat functions over all places of the volume, in Python numbers."""
    B, C, *sizes = volume.shape
    found = torch.zeros(B, points.shape[1], C, dtype=torch.float64)
    for b, p in itertools.product(range(B), range(points.shape[1])):
        places = []
        for value, size in zip(points[b, p].flip(0).tolist(), sizes, strict=True):
            places.append((value + 1) / 2 * (size - 1) if align_corners else ((value + 1) * size - 1) / 2)
        for corner in itertools.product(*(range(size) for size in sizes)):
            weight = math.prod(max(0.0, 1 - abs(a - i)) for a, i in zip(places, corner, strict=True))
            if weight:
                found[b, p] += weight * volume[(b, slice(None), *corner)]
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("align_corners", [True, False])
def test_values_are_those_of_loops(form, align_corners):
    volume, points = normal(2, 3, 2, 4, 5, dtype=torch.float64), points_around(2, 40)
    found = trilinear(volume, points, align_corners=align_corners, form=form)
    torch.testing.assert_close(found, in_loops(volume, points, align_corners), rtol=1e-12, atol=1e-12)


@devices
@pytest.mark.parametrize("form", FORMS)
def test_a_linear_field_is_reproduced_exactly(form, device):
    z, y, x = torch.meshgrid(
        *(torch.linspace(-1, 1, n, dtype=torch.float64) for n in (3, 6, 4)), indexing="ij"
    )
    volume = torch.stack([2 * x - y + 3 * z + 0.5, x, y, z])[None].to(device)
    points = points_around(1, 200, reach=1).to(device).requires_grad_()
    found = trilinear(volume, points, form=form)
    px, py, pz = points[0].T
    wanted = torch.stack([2 * px - py + 3 * pz + 0.5, px, py, pz], 1)
    torch.testing.assert_close(found[0], wanted, rtol=1e-12, atol=1e-12)
    (slopes,) = torch.autograd.grad(found[..., 0].sum(), points)
    wanted = torch.tensor([2.0, -1, 3], dtype=torch.float64, device=device).expand(1, 200, 3)
    torch.testing.assert_close(slopes, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_places_of_the_volume_have_their_own_values(form):
    volume = normal(1, 2, 3, 3, 3, dtype=torch.float64)
    axis = torch.tensor([-1.0, 0, 1], dtype=torch.float64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).reshape(1, 27, 3)
    assert torch.equal(trilinear(volume, points, form=form)[0].T, volume.reshape(2, 27))


@devices
@pytest.mark.parametrize("align_corners", [True, False])
def test_gradients_are_those_of_differences(align_corners, device):
    volume = normal(2, 2, 3, 2, 4, dtype=torch.float64).to(device).requires_grad_()
    points = points_around(2, 6).to(device).requires_grad_()

    def sampled(volume, points):
        return trilinear(volume, points, align_corners=align_corners, form="gather")

    assert gradcheck(sampled, (volume, points))
    assert gradgradcheck(sampled, (volume, points))


def eikonal_step(volume, points, form):
    """Gradients of a loss on values and on the length of their slopes, to volume and points."""
    volume, points = volume.detach().clone().requires_grad_(), points.detach().clone().requires_grad_()
    values = trilinear(volume, points, form=form)
    field = torch.nn.functional.softplus(values, beta=4).sum(-1)
    (slopes,) = torch.autograd.grad(field.sum(), points, create_graph=True)
    loss = ((slopes.square().sum(-1) + 1e-6).sqrt() - 1).square().mean() + values.square().mean()
    return loss.detach(), *torch.autograd.grad(loss, (volume, points))


@pytest.mark.skipif(module._version() < module.SINCE, reason="torch's operator is twice differentiable later")
@pytest.mark.parametrize(("kind", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_an_eikonal_step_has_the_gradients_of_torchs_operator(kind, near):
    volume, points = normal(2, 24, 5, 6, 7).to(kind), points_around(2, 1500).to(kind)
    ours, theirs = (eikonal_step(volume, points, form) for form in FORMS)
    for mine, peer in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, peer, rtol=near, atol=near * float(peer.abs().max()))


def test_without_numba_the_numbers_are_the_same(monkeypatch):
    volume, points = normal(2, 24, 5, 6, 7, dtype=torch.float64), points_around(2, 300)
    wanted = eikonal_step(volume, points, "gather")
    monkeypatch.setattr(module, "_numba_is_installed", lambda: False)
    for mine, other in zip(eikonal_step(volume, points, "gather"), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_slopes_alone_form_no_gradient_of_the_volume(monkeypatch):
    monkeypatch.setattr(module, "_spread", lambda *_: pytest.fail("the volume's gradient was formed"))
    volume = normal(1, 4, 4, 4, 4).requires_grad_()
    points = points_around(1, 9).float().requires_grad_()
    values = trilinear(volume, points, form="gather")
    (slopes,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    assert slopes.requires_grad


@pytest.mark.parametrize("form", FORMS)
def test_beyond_the_volume_are_zeros(form):
    volume = torch.ones(1, 2, 3, 4, 5)
    far = [2.0, -3.0, 1e9, -1e30, float("inf"), float("-inf")]
    points = torch.zeros(1, 3 * len(far), 3)
    for number, value in enumerate(far):
        for axis in range(3):
            points[0, 3 * number + axis, axis] = value
    if form == "grid_sample":
        points = points[:, :9]  # torch turns larger places into undefined integers
    assert not trilinear(volume, points, form=form).any()


def test_points_that_are_no_numbers_do_not_reach_beyond_the_table():
    points = torch.full((1, 2, 3), float("nan")).requires_grad_()
    volume = torch.ones(1, 2, 3, 4, 5).requires_grad_()
    found = trilinear(volume, points, form="gather")
    found.sum().backward()
    assert found.shape == (1, 2, 2)
    assert volume.grad.shape == volume.shape


def test_half_a_cell_beyond_the_end_is_half_the_value():
    volume = torch.full((1, 1, 1, 1, 4), 8.0)
    points = torch.tensor([[[1 + 1 / 3, 0, 0]]])  # cells are 2/3 apart with align_corners
    torch.testing.assert_close(trilinear(volume, points, form="gather"), torch.tensor([[[4.0]]]))


def test_an_axis_of_one_place_has_no_slope():
    volume = normal(1, 2, 1, 4, 4, dtype=torch.float64)
    points = points_around(1, 20, reach=0.9).requires_grad_()
    (slopes,) = torch.autograd.grad(trilinear(volume, points, form="gather").sum(), points)
    assert not slopes[..., 2].any()
    assert slopes[..., :2].any()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_sampled_in_full(kind):
    volume, points = normal(1, 4, 4, 4, 4).to(kind), points_around(1, 30).float()
    found = trilinear(volume, points, form="gather")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), in_loops(volume.double(), points, True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing(form):
    volume, points = normal(1, 4, 4, 4, 4), points_around(1, 30).float()
    plain = eikonal_step(volume, points, form)
    with torch.autocast("cpu", torch.bfloat16):
        cast = eikonal_step(volume, points, form)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_where_torch_is_told_to_be_deterministic_its_operator_is_not_taken(deterministic, monkeypatch):
    monkeypatch.setattr(module, "_version", lambda: module.SINCE)
    assert [module._best(on_gpu) for on_gpu in (False, True)] == ["gather", "gather"]
    torch.use_deterministic_algorithms(False)
    assert [module._best(on_gpu) for on_gpu in (False, True)] == ["gather", "grid_sample"]


@needs("numba")
def test_memory_format_and_threads_change_no_bit():
    volume, points = normal(1, 40, 8, 8, 8), points_around(1, 3000).float()
    with threads(1):
        one = eikonal_step(volume, points, "gather")
    with threads(2):
        two = eikonal_step(volume.contiguous(memory_format=torch.channels_last_3d), points, "gather")
    assert all(torch.equal(a, b) for a, b in zip(one[1:], two[1:], strict=True))


def test_volumes_of_a_batch_do_not_meet():
    volume, points = normal(3, 4, 4, 5, 6), points_around(3, 50).float()
    whole = trilinear(volume, points)
    each = [trilinear(volume[b : b + 1], points[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(whole, torch.cat(each), rtol=1e-6, atol=1e-6)


def test_no_points_and_no_gradient_are_fine():
    volume = normal(2, 3, 4, 4, 4).requires_grad_()
    assert trilinear(volume, torch.zeros(2, 0, 3), form="gather").shape == (2, 0, 3)
    found = trilinear(volume, points_around(2, 5).float(), form="gather")
    (gradient,) = torch.autograd.grad(found.sum(), volume)
    assert gradient.sum() <= 2 * 5 * 3 + 1e-4


def test_shapes_and_forms_that_do_not_fit_are_refused():
    for volume, points in (
        (normal(2, 3, 4, 4), normal(2, 5, 3)),
        (normal(2, 3, 4, 4, 4), normal(3, 5, 3)),
        (normal(2, 3, 4, 4, 4), normal(2, 5, 2)),
        (normal(2, 3, 4, 4, 4), normal(5, 3)),
    ):
        with pytest.raises(ValueError, match=r"volume \(B, C, Z, Y, X\) and points \(B, P, 3\)"):
            trilinear(volume, points)
    with pytest.raises(ValueError, match="no form 'cubic'"):
        trilinear(normal(1, 3, 4, 4, 4), normal(1, 5, 3), form="cubic")


@pytest.mark.gpu
@needs("cuda")
@pytest.mark.parametrize("form", FORMS)
def test_an_eikonal_step_on_a_gpu_is_that_of_the_cpu(form):
    if form == "grid_sample" and module._version() < module.SINCE:
        pytest.skip(f"torch's operator has no second gradient before {'.'.join(map(str, module.SINCE))}")
    volume, points = normal(2, 24, 9, 8, 7), points_around(2, 5000).float()
    wanted = eikonal_step(volume, points, "gather")
    found = eikonal_step(volume.cuda(), points.cuda(), form)
    for mine, peer in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.cpu(), peer, rtol=1e-4, atol=1e-4 * float(peer.abs().max()))


@pytest.mark.gpu
@needs("cuda")
def test_a_deterministic_eikonal_step_on_a_gpu_is_the_same_to_the_bit(deterministic):
    volume, points = normal(1, 24, 4, 4, 4).cuda(), points_around(1, 20_000).float().cuda()
    once, again = (eikonal_step(volume, points, "auto") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
