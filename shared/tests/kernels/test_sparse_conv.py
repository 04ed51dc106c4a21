"""Sums over a dictionary of voxels, dense convolutions, spconv, and gradients by differences.

Every test runs in the compiled form and in the reference; `test_triton_form_passes_the_same_tests` runs this
file again in the Triton form.
"""

import importlib.util
import itertools
import os
from functools import partial

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from nonet.errors import UserError
from nonet.kernels.sparse_conv import KernelMap, chosen_form, sparse_conv, strided_map, submanifold_map
from nonet.kernels.voxels import pack_keys, voxelise
from nonet.testing import data_folder, needs, normal, seeded, threads, whole

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"
NUMBA = importlib.util.find_spec("numba") is not None

# Triton's interpreter multiplies bfloat16 as if it were whole numbers; the test for a GPU has it.
HALVES = [torch.float16] if OTHER_FORM else [torch.float16, torch.bfloat16]


@pytest.fixture(params=["triton"] if OTHER_FORM else ["compiled", "reference"], autouse=True)
def form(request, monkeypatch):
    """The form that convolutions and maps of a test take."""
    if request.param == "compiled" and not NUMBA:
        pytest.skip("needs numba")
    if request.param == "reference":
        monkeypatch.setenv("NONET_KERNELS", "reference")
    return request.param


@pytest.fixture
def exact(form):
    """The type with the most digits that a form computes in, and how near it comes."""
    return (torch.float32, 1e-5) if form == "triton" else (torch.float64, 1e-12)


def cloud(count, extent, *, scenes=1, seed=0):
    """At most `count` voxels of a cube, each once, ascending."""
    cells = whole(extent, count, 4, seed=seed)
    cells[:, 0] %= scenes
    return cells.unique(dim=0)


def full(extent):
    """All voxels of a cube, ascending."""
    return torch.tensor([(0, *place) for place in itertools.product(range(extent), repeat=3)])


def in_dictionary(features, weight, cells, outputs, first, stride=1):
    """The convolution voxel by voxel; tap 0 is at output * stride + first along each axis."""
    size = round(len(weight) ** (1 / 3))
    rows = {tuple(cell): row for row, cell in enumerate(cells.tolist())}
    found = []
    for scene, *place in outputs.tolist():
        total = features.new_zeros(weight.shape[2])
        for tap in range(len(weight)):
            offset = tap % size, tap // size % size, tap // size**2
            at = (scene, *(p * stride + o + first for p, o in zip(place, offset, strict=True)))
            if at in rows:
                total = total + features[rows[at]] @ weight[tap]
        found.append(total)
    return torch.stack(found)


def dense(features, cells, extent):
    """(1, C, z, y, x) with zeros where there is no voxel."""
    grid = features.new_zeros(extent, extent, extent, features.shape[1])
    grid[cells[:, 3], cells[:, 2], cells[:, 1]] = features
    return grid.permute(3, 0, 1, 2)[None]


def kernel(weight):
    """(D, C, z, y, x), as dense convolutions have it."""
    size = round(len(weight) ** (1 / 3))
    return weight.reshape(size, size, size, *weight.shape[1:]).permute(4, 3, 0, 1, 2)


def on_map(kernel_map, features, weight, bias=None):
    return sparse_conv(features, weight, kernel_map, bias)


def gradients(call, *leaves, seed=9):
    """The result of a call, and the gradients of a weighted sum of it."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    found = call(*leaves)
    weights = normal(*found.shape, seed=seed).to(found.dtype)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), leaves)]


@pytest.mark.parametrize(
    ("size", "C", "D"), [(3, 4, 6), (1, 3, 5), (3, 16, 16), (5, 3, 17), (3, 33, 32), (3, 1, 1)]
)
def test_submanifold_values_and_gradients_are_those_of_a_dictionary(size, C, D, exact):
    kind, near = exact
    cells = cloud(60, 6, scenes=2)
    parts = (
        normal(len(cells), C, dtype=kind),
        normal(size**3, C, D, dtype=kind, seed=1),
        normal(D, dtype=kind),
    )
    found = gradients(lambda x, w, b: sparse_conv(x, w, submanifold_map(cells, size), b), *parts)
    wanted = gradients(lambda x, w, b: in_dictionary(x, w, cells, cells, -(size // 2)) + b, *parts)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near * 10)


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 3, 0), (2, 1, 1), (4, 2, 1)]
)
def test_strided_values_and_gradients_are_those_of_a_dictionary(size, stride, padding, exact):
    kind, near = exact
    cells = cloud(60, 7, scenes=2)
    outputs, kernel_map = strided_map(cells, size, stride, padding=padding)
    parts = normal(len(cells), 5, dtype=kind), normal(size**3, 5, 7, dtype=kind, seed=1)
    found = gradients(lambda x, w: sparse_conv(x, w, kernel_map), *parts)
    wanted = gradients(lambda x, w: in_dictionary(x, w, cells, outputs, -padding, stride), *parts)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near * 10)
    assert found[0].abs().amin(0).max() > 0, "an output without any input would be zero"


@pytest.mark.parametrize("size", [3, 5])
def test_on_a_full_grid_it_is_the_dense_convolution(size, exact):
    kind, near = exact
    cells = full(6)
    features, weight = normal(216, 4, dtype=kind), normal(size**3, 4, 8, dtype=kind, seed=1)
    wanted = torch.nn.functional.conv3d(dense(features, cells, 6), kernel(weight), padding=size // 2)
    found = dense(sparse_conv(features, weight, submanifold_map(cells, size)), cells, 6)
    torch.testing.assert_close(found, wanted, rtol=near, atol=near * 10)


def test_between_voxels_it_is_the_dense_convolution_of_zeros(exact):
    kind, near = exact
    cells = cloud(80, 9)
    features, weight = normal(len(cells), 3, dtype=kind), normal(27, 3, 5, dtype=kind, seed=1)
    wanted = torch.nn.functional.conv3d(dense(features, cells, 9), kernel(weight), padding=1)
    found = sparse_conv(features, weight, submanifold_map(cells))
    torch.testing.assert_close(
        found, wanted[0, :, cells[:, 3], cells[:, 2], cells[:, 1]].T, rtol=near, atol=near * 10
    )


@pytest.mark.parametrize("extent", [5, 6])
def test_a_stride_and_its_inverse_are_the_dense_ones(extent, exact):
    kind, near = exact
    cells = full(extent)
    coarse, kernel_map = strided_map(cells)
    half = -(-extent // 2)
    assert len(coarse) == half**3, "an odd extent loses nothing"
    features, weight = normal(len(cells), 3, dtype=kind), normal(8, 3, 4, dtype=kind, seed=1)
    grid = torch.nn.functional.pad(dense(features, cells, extent), (0, extent % 2) * 3)
    wanted = torch.nn.functional.conv3d(grid, kernel(weight), stride=2)
    down = sparse_conv(features, weight, kernel_map)
    torch.testing.assert_close(dense(down, coarse, half), wanted, rtol=near, atol=near * 10)
    back = normal(8, 4, 5, dtype=kind, seed=2)
    wanted = torch.nn.functional.conv_transpose3d(wanted, kernel(back).transpose(0, 1), stride=2)
    up = dense(sparse_conv(down, back, kernel_map.transposed()), cells, extent)
    torch.testing.assert_close(up, wanted[..., :extent, :extent, :extent], rtol=near, atol=near * 10)


@pytest.mark.parametrize("extent", [20, 21])
def test_no_voxel_is_dropped_at_the_end_of_an_axis(extent):
    cells = cloud(3000, extent, scenes=2)
    coarse, kernel_map = strided_map(cells)
    wanted = (cells // torch.tensor([1, 2, 2, 2])).unique(dim=0)
    assert torch.equal(coarse, wanted)
    assert kernel_map.inputs.sort().values.tolist() == list(range(len(cells))), "each voxel has one output"
    places = cells[kernel_map.inputs.long()][:, 1:] - 2 * coarse[kernel_map.outputs.long()][:, 1:]
    lengths = torch.diff(kernel_map.starts)
    tap = torch.repeat_interleave(torch.arange(8), lengths)
    assert torch.equal(places, torch.stack([tap & 1, tap >> 1 & 1, tap >> 2], 1)), "row-major over z, y, x"


@needs("numba")
@pytest.mark.parametrize("width", [32, 16])
def test_machines_with_narrower_vectors_find_the_same(width, monkeypatch):
    monkeypatch.setenv("NONET_SPARSE_CONV", "compiled")  # the other forms have no width of their own
    monkeypatch.setattr("nonet.kernels.sparse_conv_compiled._vector_bytes", lambda: width)  # of a register
    cells = cloud(60, 6)
    parts = normal(len(cells), 9), normal(27, 9, 12, seed=1), normal(12)
    found = gradients(partial(on_map, submanifold_map(cells)), *parts)
    monkeypatch.setenv("NONET_SPARSE_CONV", "reference")
    wanted = gradients(partial(on_map, submanifold_map(cells)), *parts)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_permuted_voxels_permute_the_outputs(stride, exact):
    kind, near = exact
    cells = cloud(200, 8, scenes=2)
    order = torch.randperm(len(cells), generator=seeded())
    back = order.argsort()
    features, weight = normal(len(cells), 4, dtype=kind), normal(27, 4, 6, dtype=kind, seed=1)

    def convolved(x, w, places):
        if stride == 1:
            return sparse_conv(x, w, submanifold_map(places))
        _, kernel_map = strided_map(places, 3, 2, padding=1)
        return sparse_conv(sparse_conv(x, w, kernel_map), w.transpose(1, 2), kernel_map.transposed())

    wanted = gradients(lambda x, w: convolved(x, w, cells), features, weight)
    moved = features[order]
    found = gradients(lambda x, w: convolved(x, w, cells[order])[back], moved, weight)
    found[1] = found[1][back]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near * 100)


def test_scenes_of_a_batch_do_not_meet():
    cells = cloud(150, 5, scenes=3)
    features, weight = normal(len(cells), 16), normal(27, 16, 16, seed=1)
    together = sparse_conv(features, weight, submanifold_map(cells))
    for scene in range(3):
        rows = cells[:, 0] == scene
        alone = sparse_conv(features[rows], weight, submanifold_map(cells[rows]))
        torch.testing.assert_close(together[rows], alone, rtol=1e-5, atol=1e-5)


def test_threads_and_repetition_change_no_bit(form):
    cells = cloud(300, 8) if OTHER_FORM else cloud(3000, 18)
    parts = normal(len(cells), 32), normal(27, 32, 32, seed=1), normal(32)
    found = []
    for count in (1, 2, 2) if form != "compiled" else (1, 2, 3, 2):
        with threads(count):
            kernel_map = submanifold_map(cells)
            convolved = gradients(partial(on_map, kernel_map), *parts)[:3]  # a bias's gradient is torch's own
            found.append([kernel_map.inputs, kernel_map.outputs, *convolved])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            near = 1e-5 if form == "reference" else 0  # torch's matrix products round by threads
            torch.testing.assert_close(two, one, rtol=near, atol=near * one.abs().max().item())


@pytest.mark.skipif(OTHER_FORM, reason="the Triton form is for float32 and less")
@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_is_that_of_differences(stride):
    cells = cloud(20, 3)
    kernel_map = submanifold_map(cells) if stride == 1 else strided_map(cells)[1]
    parts = normal(len(cells), 2), normal(kernel_map.taps, 2, 3, seed=1), normal(3)
    parts = [part.double().requires_grad_() for part in parts]
    assert gradcheck(lambda x, w, b: sparse_conv(x, w, kernel_map, b), parts)
    up = normal(kernel_map.taps, 3, 2, dtype=torch.float64).requires_grad_()
    lower = normal(kernel_map.n_out, 3, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x, w: sparse_conv(x, w, kernel_map.transposed()), (lower, up))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_map_has_all_pairs_and_no_others(size, mixed):
    cells = cloud(120, 6, scenes=2)
    cells = cells[torch.randperm(len(cells), generator=seeded())] if mixed else cells
    found, r = submanifold_map(cells, size), size // 2
    assert (found.n_in, found.n_out, found.taps, found.size, found.stride) == (len(cells),) * 2 + (
        size**3,
        size,
        1,
    )
    places = {tuple(cell): row for row, cell in enumerate(cells.tolist())}
    for tap, (first, last) in enumerate(found.spans()):
        dx, dy, dz = tap % size - r, tap // size % size - r, tap // size**2 - r
        pairs = [
            (places[s, x + dx, y + dy, z + dz], row)
            for (s, x, y, z), row in places.items()
            if (s, x + dx, y + dy, z + dz) in places
        ]
        given = list(zip(found.inputs[first:last].tolist(), found.outputs[first:last].tolist(), strict=True))
        assert given == sorted(pairs, key=lambda pair: pair[1]), "outputs ascend"
    turned = found.transposed()
    assert torch.equal(turned.transposed().inputs, found.inputs)
    for (first, last), (a, b) in zip(turned.spans(), reversed(found.spans()), strict=True):
        assert torch.equal(turned.inputs[first:last], found.inputs[a:b]), "its own mirror image"


def test_an_axis_does_not_run_into_the_next_one():
    ends = torch.tensor(
        [[0, 0, 0, 65534], [0, 0, 1, 0], [0, 0, 65534, 3], [0, 1, 0, 3], [0, 65534, 9, 9], [1, 0, 9, 9]]
    )
    assert len(submanifold_map(ends).inputs) == len(ends), "each has only itself"
    with pytest.raises(ValueError, match="coordinate 65534: the largest here is 65533"):
        submanifold_map(ends, 5)


def test_a_voxel_without_neighbours_has_only_the_middle_tap():
    weight = normal(27, 3, 4)
    found = sparse_conv(
        torch.ones(1, 3), weight, submanifold_map(torch.tensor([[0, 5, 5, 5]])), torch.ones(4)
    )
    torch.testing.assert_close(found[0], weight[13].sum(0) + 1)


def test_no_voxels_give_no_outputs():
    none = torch.zeros(0, 4, dtype=torch.int64)
    features, weight = normal(0, 3).requires_grad_(), normal(27, 3, 4).requires_grad_()
    found = sparse_conv(features, weight, submanifold_map(none))
    assert found.shape == (0, 4)
    found.sum().backward()
    assert not weight.grad.any()
    coarse, kernel_map = strided_map(none)
    assert coarse.shape == (0, 4)
    assert sparse_conv(normal(0, 3), normal(8, 3, 4), kernel_map).shape == (0, 4)


@pytest.mark.parametrize("kind", HALVES)
def test_half_precision_is_kept_and_summed_in_full(kind):
    cells = cloud(100, 5)
    features, weight = normal(len(cells), 16).to(kind), normal(27, 16, 16, seed=1).to(kind)
    found = gradients(lambda x, w: sparse_conv(x, w, submanifold_map(cells)), features, weight)
    wanted = gradients(
        lambda x, w: sparse_conv(x, w, submanifold_map(cells)), features.float(), weight.float()
    )
    assert {part.dtype for part in found} == {kind}
    near = torch.finfo(kind).eps
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=4 * near, atol=16 * near)


def test_only_what_is_asked_for_has_a_gradient():
    cells = cloud(30, 4)
    features, weight = normal(len(cells), 3), normal(27, 3, 4).requires_grad_()
    sparse_conv(features, weight, submanifold_map(cells)).sum().backward()
    assert features.grad is None
    assert weight.grad is not None
    features.requires_grad_()
    sparse_conv(features, weight.detach(), submanifold_map(cells)).sum().backward()
    assert features.grad.abs().sum() > 0


def test_a_second_derivative_is_refused():
    cells = cloud(30, 4)
    features = normal(len(cells), 3).requires_grad_()
    found = sparse_conv(features, normal(27, 3, 4), submanifold_map(cells)).square().sum()
    (first,) = torch.autograd.grad(found, features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_maps_that_cannot_be_are_refused():
    cells = cloud(30, 4)
    for call, error in (
        (lambda: submanifold_map(cells, 2), "size 2: expected an odd number"),
        (lambda: submanifold_map(torch.cat([cells, cells[:2]])), "2 of .* voxels are there already"),
        (lambda: strided_map(torch.cat([cells[:2], cells])), "2 of .* voxels are there already"),
        (lambda: strided_map(cells, 2, 3), "size 2, stride 3, padding 0: expected 1 <= stride <= size"),
        (lambda: strided_map(cells, 2, 2, padding=1), "padding up to size - stride = 0"),
        (lambda: submanifold_map(cells.float()), "torch.float32: expected"),
    ):
        with pytest.raises(ValueError, match=error):
            call()


def test_features_that_do_not_fit_are_refused():
    cells = cloud(30, 4)
    features, weight, kernel_map = normal(len(cells), 3), normal(27, 3, 4), submanifold_map(cells)
    for arguments, error in (
        (
            (features[1:], weight, kernel_map),
            f"{len(cells) - 1} rows of features do not fit a map of {len(cells)}",
        ),
        ((features, weight[1:], kernel_map), r"weights \(26, 3, 4\): expected \(27, 3, D\)"),
        ((features[:, :2], weight, kernel_map), r"expected \(27, 2, D\) for 27 taps, 2 channels"),
        ((features, weight, kernel_map, normal(3)), r"a bias \(3,\) does not fit 4 channels"),
        ((features.double(), weight, kernel_map), "torch.float32 and torch.float64: expected one type"),
        ((features.long(), weight, kernel_map), "expected .* floats"),
    ):
        with pytest.raises(ValueError, match=error):
            sparse_conv(*arguments)


def test_the_form_can_be_named(monkeypatch, form):
    assert chosen_form(torch.zeros(1)) == form
    monkeypatch.setenv("NONET_SPARSE_CONV", "reference")
    assert chosen_form(torch.zeros(1)) == "reference"
    monkeypatch.setenv("NONET_SPARSE_CONV", "cuda")
    with pytest.raises(UserError, match="NONET_SPARSE_CONV=cuda: say compiled, reference, triton or spconv"):
        chosen_form(torch.zeros(1))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("NONET_SPARSE_CONV", "triton")
    with pytest.raises(UserError, match="the tensors are on cpu: use CUDA"):
        chosen_form(torch.zeros(1))


def test_a_map_on_its_way_to_a_device_stays_the_same():
    kernel_map = strided_map(cloud(50, 5))[1]
    moved = kernel_map.to("cpu")
    assert isinstance(moved, KernelMap)
    assert torch.equal(moved.table(), kernel_map.table())
    table = kernel_map.table()
    assert table.shape == (8, kernel_map.n_out)
    assert int((table >= 0).sum()) == len(kernel_map.inputs)


def test_the_real_cloud_is_the_same_in_both_forms_and_with_two_threads(form, monkeypatch):
    if form != "compiled":
        return  # it is compared with the reference below, and is too much for Triton's interpreter
    points = torch.from_numpy(np.load(data_folder("spconv-cloud", "benchmark-pc.npz"))["pc"][:, :3].copy())
    cells = voxelise(points, 0.1).cells
    assert bool((pack_keys(cells)[1:] > pack_keys(cells)[:-1]).all())
    features, weight = normal(len(cells), 16), normal(27, 16, 16, seed=1)
    found = []
    for wanted, count in (("", 1), ("", 2), ("reference", 1)):
        monkeypatch.setenv("NONET_KERNELS", wanted)
        with threads(count):
            found.append(gradients(lambda x, w: sparse_conv(x, w, submanifold_map(cells)), features, weight))
    for one, two in zip(found[0], found[1], strict=True):
        assert torch.equal(one, two)
    for one, other in zip(found[0], found[-1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())


@pytest.mark.slow
@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="this is the other form")
def test_triton_form_passes_the_same_tests(form, passes_in_triton):
    if form == "reference":  # once is enough
        passes_in_triton(__file__)
