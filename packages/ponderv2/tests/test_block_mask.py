"""Hidden blocks: how many, which voxels, whose randomness, and that the token learns."""

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal, seeded, whole
from ponderv2.block_mask import BlockMask


def cells_of(*sides):
    """One filled cube of voxels for each side length."""
    parts = []
    for cloud, side in enumerate(sides):
        axis = torch.arange(side)
        grid = torch.cartesian_prod(axis, axis, axis)
        parts.append(torch.cat([torch.full((len(grid), 1), cloud), grid], 1))
    return torch.cat(parts)


def test_so_many_blocks_of_each_cloud_stay():
    """32^3 voxels are 64 blocks of 8^3, 16^3 are 8: of 80 % hidden, round(12.8) and round(1.6) stay."""
    cells = cells_of(32, 16)
    hidden = BlockMask(3, ratio=0.8).hidden(cells, seeded())
    for cloud, kept in ((0, 13), (1, 2)):
        assert int((~hidden[cells[:, 0] == cloud]).sum()) == kept * 512


def test_a_block_is_hidden_as_a_whole():
    cells = cells_of(32)[torch.randperm(32**3, generator=seeded())]
    hidden = BlockMask(3, ratio=0.5).hidden(cells, seeded(1))
    seen = {}
    for block, flag in zip((cells[:, 1:] // 8).tolist(), hidden.tolist(), strict=True):
        assert seen.setdefault(tuple(block), flag) == flag
    assert 0 < sum(seen.values()) < len(seen)


def test_hidden_voxels_have_the_token_and_the_others_their_features():
    cells, mask = cells_of(16), BlockMask(4, ratio=0.5)
    features = normal(len(cells), 4)
    found = mask(features, cells, seeded(3))
    hidden = mask.hidden(cells, seeded(3))
    assert torch.equal(found[hidden], mask.token.expand(int(hidden.sum()), 4))
    assert torch.equal(found[~hidden], features[~hidden])
    found.sum().backward()
    assert torch.allclose(mask.token.grad, hidden.sum().float())


def test_the_token_begins_within_one_deviation():
    torch.manual_seed(0)
    token = BlockMask(1000, ratio=0.5).token.detach()
    assert float(token.abs().max()) <= 0.02
    assert float(token.std()) > 0.005


def test_a_cloud_is_hidden_alike_alone_and_beside_others():
    first, second = cells_of(24), whole(40, 300, 3)
    second = torch.unique(torch.cat([torch.zeros(300, 1, dtype=torch.int64), second], 1), dim=0)
    both = torch.cat([first, second + torch.tensor([1, 0, 0, 0])])
    mask = BlockMask(2, ratio=0.6)
    alone = mask.hidden(second, [seeded(7)])
    together = mask.hidden(both, [seeded(6), seeded(7)])
    assert torch.equal(together[len(first) :], alone)


def test_nothing_is_hidden_at_ratio_0():
    assert not BlockMask(2, ratio=0).hidden(cells_of(20), seeded()).any()


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_ratios_out_of_range_are_refused(ratio):
    with pytest.raises(UserError, match="mask_ratio"):
        BlockMask(2, ratio=ratio)
