"""The sparse U-Net: dense convolutions on a full grid, invariances, prompted norms."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import SMALL

import ponderv2.spunet as spunet
from nonet.testing import normal, seeded, threads
from ponderv2.norms import PromptedNorm, VoxelNorm
from ponderv2.spunet import SpUNet, build_spunet, voxel_pyramid


def backbone(**changes):
    torch.manual_seed(0)
    options = {"stem": 8, "channels": (8, 12, 12, 8), "blocks": (1, 2, 1, 1), "context": 5} | changes
    net = SpUNet(3, **options)
    for module in net.modules():
        if isinstance(module, VoxelNorm):  # as after some training
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return net.eval().requires_grad_(False)


def cloud(scenes=2, share=0.3, sides=(9, 7, 5), seed=0):
    full = torch.cartesian_prod(torch.arange(scenes), *map(torch.arange, sides))
    cells = full[torch.rand(len(full), generator=seeded(seed)) < share]
    return cells, normal(len(cells), 3, seed=seed)


def dense_conv(x, weight, size, **options):
    """Taps over z, y, x as a kernel of torch."""
    C, D = weight.shape[1:]
    kernel = weight.view(size, size, size, C, D).permute(4, 3, 0, 1, 2)
    return nn.functional.conv3d(x, kernel, **options)


def dense_norm(x, norm):
    n = norm.plain
    return nn.functional.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, eps=1e-3)


def dense_block(x, block):
    y = dense_norm(dense_conv(x, block.conv1.weight, 3, padding=1), block.norm1).relu()
    y = dense_norm(dense_conv(y, block.conv2.weight, 3, padding=1), block.norm2)
    if block.project is not None:
        x = torch.einsum("dc,bczyx->bdzyx", block.project.weight, x)
        x = dense_norm(x, block.project_norm)
    return (x + y).relu()


def test_on_a_full_grid_it_is_the_dense_net():
    net = backbone()
    cells = torch.cartesian_prod(torch.arange(2), *[torch.arange(8)] * 3)
    features = normal(len(cells), 3)
    scene, x, y, z = cells.T
    grid = torch.zeros(2, 3, 8, 8, 8)
    grid[scene, :, z, y, x] = features
    at = dense_norm(dense_conv(grid, net.stem.conv.weight, 5, padding=2), net.stem.norm).relu()
    skips = []
    for down, blocks in zip(net.down, net.encoder, strict=True):
        skips.append(at)
        at = dense_norm(dense_conv(at, down.conv.weight, 2, stride=2), down.norm).relu()
        for block in blocks:
            at = dense_block(at, block)
    for up, blocks in zip(net.up, net.decoder, strict=True):
        kernel = up.conv.weight.view(2, 2, 2, *up.conv.weight.shape[1:]).permute(3, 4, 0, 1, 2)
        at = dense_norm(nn.functional.conv_transpose3d(at, kernel, stride=2), up.norm).relu()
        at = torch.cat([at, skips.pop()], 1)
        for block in blocks:
            at = dense_block(at, block)
    expected = at[scene, :, z, y, x]
    assert torch.allclose(net(features, cells), expected, atol=1e-4)


def test_the_order_of_voxels_and_other_scenes_do_not_matter():
    net = backbone()
    cells, features = cloud()
    found = net(features, cells)
    order = torch.randperm(len(cells), generator=seeded())
    assert torch.allclose(net(features[order], cells[order]), found[order], atol=1e-5)
    first = cells[:, 0] == 0
    assert torch.allclose(net(features[first], cells[first]), found[first], atol=1e-5)
    with threads(2):
        assert torch.equal(net(features, cells), found)


def test_kernel_maps_are_found_once_a_level(monkeypatch):
    calls = []

    def counted(name):
        plain = getattr(spunet, name)

        def found(cells, size, *rest):
            calls.append((name, size, len(cells)))
            return plain(cells, size, *rest)

        monkeypatch.setattr(spunet, name, found)

    counted("submanifold_map")
    counted("strided_map")
    net = backbone()
    cells, features = cloud()
    found = net(features, cells)
    sides = [len(torch.unique(torch.cat([cells[:, :1], cells[:, 1:] // 2**n], 1), dim=0)) for n in range(3)]
    assert sorted(calls) == sorted(
        [
            ("submanifold_map", 5, sides[0]),
            *(("submanifold_map", 3, side) for side in sides),
            *(("strided_map", 2, side) for side in sides[:2]),
        ]
    )
    pyramid = voxel_pyramid(cells, net.levels)
    calls.clear()
    assert torch.equal(net(features, cells, pyramid=pyramid), found)
    assert not calls


def test_gradients_reach_all_weights():
    net = backbone(contexts=("a", "b")).requires_grad_(True).train()
    cells, features = cloud()
    net(features, cells, "a").square().sum().backward()
    without = {name for name, weight in net.named_parameters() if weight.grad is None}
    assert without == {name for name, _ in net.named_parameters() if ".of.b." in name or name == "contexts.b"}


def test_a_cloud_of_one_voxel_can_be_trained_on():
    net = backbone().requires_grad_(True).train()
    before = net.stem.norm.plain.running_mean.clone()
    net(normal(1, 3), torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    assert torch.equal(net.stem.norm.plain.running_mean, before)
    assert net.stem.conv.weight.grad.isfinite().all()


def test_a_prompted_norm_is_that_of_its_data_set_then_scaled_and_shifted():
    torch.manual_seed(0)
    norm = PromptedNorm(4, ("scannet", "s3dis"), 5).train()
    nn.init.normal_(norm.modulation.bias)
    features, context = normal(50, 4) * 3 + 1, normal(5, seed=1)
    found = norm(features, "s3dis", context)
    plain = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-3).sqrt()
    both = norm.modulation.weight @ (context * context.sigmoid()) + norm.modulation.bias
    assert torch.allclose(found, plain * (1 + both[4:]) + both[:4], atol=1e-5)
    assert torch.allclose(norm.of["s3dis"].running_mean, 0.01 * features.mean(0), atol=1e-5)
    assert norm.of["scannet"].running_mean.abs().max() == 0
    turned = PromptedNorm(4, ("s3dis", "scannet"), 5)
    turned.load_state_dict(norm.state_dict())
    assert torch.equal(turned.eval()(features, "s3dis", context), norm.eval()(features, "s3dis", context))


def test_an_unknown_data_set_is_refused_by_name():
    net = build_spunet(SMALL.backbone)
    cells, features = cloud()
    assert net(features, cells, "anything").shape == (len(cells), net.out_channels)
    prompted = backbone(contexts=("scannet", "s3dis"))
    with pytest.raises(ValueError, match="norms for scannet, s3dis, and there is none for 'kitti'"):
        prompted(features, cells, "kitti")
    with pytest.raises(ValueError, match="none was named"):
        prompted(features, cells)
