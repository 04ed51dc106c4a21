"""Convolutions, gradients and weights of spconv itself, at one thread, where it is right."""

import sys

import pytest
import torch

from nonet.errors import UserError
from nonet.kernels.sparse_conv import sparse_conv, strided_map, submanifold_map
from nonet.kernels.sparse_conv_spconv import import_spconv, taps_of_spconv, weight_of_taps
from nonet.testing import needs, normal, one_thread, threads, whole

C, D, EXTENT = 5, 7, 9  # channels and edge, in voxels


def with_spconv(test):
    """A test that needs spconv itself."""
    return pytest.mark.peer(needs("spconv")(test))


@pytest.fixture
def spconv():
    with one_thread():
        yield import_spconv()


@pytest.fixture(scope="module")
def cells():
    found = whole(EXTENT, 300, 4)
    found[:, 0] %= 2
    return found.unique(dim=0)


def as_spconv(spconv, features, cells, axes):
    """spconv's tensor of the same voxels, with indices (batch, x, y, z) or (batch, z, y, x)."""
    order = [0, 1, 2, 3] if axes == "xyz" else [0, 3, 2, 1]
    indices = cells[:, order].int().contiguous()
    return spconv.SparseConvTensor(features, indices, [EXTENT + 96] * 3, batch_size=2)


@with_spconv
@pytest.mark.parametrize("axes", ["xyz", "zyx"])
@pytest.mark.parametrize(("size", "padding"), [(3, 1), (5, 1), (5, 2)])
def test_a_submanifold_layer_with_its_weights_gives_the_same(spconv, cells, size, padding, axes):
    layer = spconv.SubMConv3d(C, D, size, padding=padding, bias=True, algo=spconv.ConvAlgo.Native)
    features = normal(len(cells), C)
    wanted = layer(as_spconv(spconv, features, cells, axes)).features.detach()
    weight = taps_of_spconv(layer.weight.detach(), axes=axes)
    found = sparse_conv(features, weight, submanifold_map(cells, size), layer.bias.detach())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@with_spconv
@pytest.mark.parametrize("axes", ["xyz", "zyx"])
def test_layers_down_and_up_with_their_weights_give_the_same(spconv, cells, axes):
    kinds = {"bias": False, "indice_key": "down", "algo": spconv.ConvAlgo.Native}
    down = spconv.SparseConv3d(C, D, 2, stride=2, **kinds)
    up = spconv.SparseInverseConv3d(D, C, 2, bias=False, indice_key="down", algo=spconv.ConvAlgo.Native)
    features = normal(len(cells), C)
    between = down(as_spconv(spconv, features, cells, axes))
    wanted = up(between).features.detach()
    coarse, kernel_map = strided_map(cells)
    lower = sparse_conv(features, taps_of_spconv(down.weight.detach(), axes=axes), kernel_map)
    indices = between.indices.long()[:, [0, 1, 2, 3] if axes == "xyz" else [0, 3, 2, 1]]
    rows = {tuple(cell): row for row, cell in enumerate(indices.tolist())}
    same = [rows[tuple(cell)] for cell in coarse.tolist()]
    assert len(rows) == len(coarse)
    torch.testing.assert_close(lower, between.features.detach()[same], rtol=1e-4, atol=1e-5)
    weight = taps_of_spconv(up.weight.detach(), axes=axes)
    found = sparse_conv(lower, weight, kernel_map.transposed())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@with_spconv
def test_a_pointwise_layer_is_raw_memory_in_by_out(spconv, cells):
    layer = spconv.SubMConv3d(C, D, 1, bias=False)
    features = normal(len(cells), C)
    wanted = layer(as_spconv(spconv, features, cells, "xyz")).features.detach()
    weight = layer.weight.detach()
    found = sparse_conv(
        features, taps_of_spconv(weight, axes="xyz", pointwise=True), submanifold_map(cells, 1)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    as_declared = features @ taps_of_spconv(weight, axes="xyz")[0]
    assert (as_declared - wanted).abs().max() > 0.1, "read as it is declared, it is another layer"


@with_spconv
@pytest.mark.parametrize("stride", [1, 2])
def test_spconv_as_a_form_gives_the_same_values_and_gradients(spconv, cells, stride, monkeypatch):
    kernel_map = submanifold_map(cells) if stride == 1 else strided_map(cells)[1]
    leaves = normal(len(cells), C), normal(kernel_map.taps, C, D, seed=1), normal(D)
    weights, found = normal(kernel_map.n_out, D, seed=2), []
    for form in ("", "spconv"):
        monkeypatch.setenv("NONET_SPARSE_CONV", form)
        parts = [leaf.clone().requires_grad_() for leaf in leaves]
        out = sparse_conv(parts[0], parts[1], kernel_map, parts[2])
        found.append([out.detach(), *torch.autograd.grad((out * weights).sum(), parts)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@with_spconv
def test_several_threads_are_refused(spconv, cells, monkeypatch):
    monkeypatch.setenv("NONET_SPARSE_CONV", "spconv")
    with threads(2), pytest.raises(UserError, match="wrong with several threads, and torch has 2"):
        sparse_conv(normal(len(cells), C), normal(27, C, D), submanifold_map(cells))


@pytest.mark.parametrize("axes", ["xyz", "zyx"])
@pytest.mark.parametrize(("size", "pointwise"), [(3, False), (2, False), (1, True)])
def test_weights_go_there_and_back(axes, size, pointwise):
    weight = normal(D, size, size, size, C)
    taps = taps_of_spconv(weight, axes=axes, pointwise=pointwise)
    assert taps.shape == (size**3, C, D)
    assert torch.equal(weight_of_taps(taps, axes=axes, pointwise=pointwise), weight)


def test_a_tap_is_where_its_axes_say():
    weight = torch.zeros(1, 3, 3, 3, 1)
    weight[0, 2, 1, 0] = 1  # +1 along the first axis, -1 along the third
    assert taps_of_spconv(weight, axes="xyz").flatten().nonzero().tolist() == [[(0 * 3 + 1) * 3 + 2]]
    assert taps_of_spconv(weight, axes="zyx").flatten().nonzero().tolist() == [[(2 * 3 + 1) * 3 + 0]]


def test_weights_that_are_no_layers_are_refused():
    for weight, pointwise, error in (
        (normal(D, 3, 3, C), False, r"weights \(7, 3, 3, 5\): expected \(out, k, k, k, in\)"),
        (normal(D, 3, 3, 2, C), False, "expected"),
        (normal(D, 3, 3, 3, C), True, "a pointwise layer has size 1"),
    ):
        with pytest.raises(ValueError, match=error):
            taps_of_spconv(weight, axes="xyz", pointwise=pointwise)
    with pytest.raises(ValueError, match="9 taps: expected a cube"):
        weight_of_taps(normal(9, C, D), axes="xyz")


def test_without_spconv_weights_are_converted_and_layers_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "spconv", None)
    monkeypatch.setitem(sys.modules, "spconv.pytorch", None)
    import_spconv.cache_clear()
    assert taps_of_spconv(normal(D, 1, 1, 1, C), axes="xyz").shape == (1, C, D)
    monkeypatch.setenv("NONET_SPARSE_CONV", "spconv")
    with pytest.raises(UserError, match=r"to convolve with spconv, install .*nonet\[spconv\]"):
        sparse_conv(normal(1, C), normal(1, C, D), submanifold_map(torch.zeros(1, 4, dtype=torch.int64), 1))
    import_spconv.cache_clear()
