"""Norms over two processes: outputs, gradients and running statistics are those of one process."""

import copy

import pytest
import torch
from torch import nn

from nonet.testing import normal
from nonet.testing_ranks import two_processes
from ponderv2.norms import VoxelNorm
from ponderv2.sync_norm import SyncedNorm, synced

SHARES = (slice(0, 3), slice(3, 10))  # rows of each process: unequal shares


def model_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), VoxelNorm(5), nn.ReLU(), nn.Linear(5, 3), nn.BatchNorm1d(3))


def learn(model, rows, weights):
    """The sum of weighted outputs of some rows, its gradients, and the norms' memories."""
    found = model(rows)
    (found * weights).sum().backward()
    grads = {name: value.grad for name, value in model.named_parameters()}
    return found.detach(), grads, {name: value for name, value in model.named_buffers()}


def on_a_rank():
    rank = torch.distributed.get_rank()
    model = synced(model_of())
    rows, weights = normal(10, 4)[SHARES[rank]], normal(10, 3, seed=1)[SHARES[rank]]
    found, grads, buffers = learn(model, rows, weights)
    for value in grads.values():
        torch.distributed.all_reduce(value)
    volume = synced(nn.BatchNorm3d(2))(normal(4, 2, 3, 3, 3)[2 * rank : 2 * rank + 2]).detach()
    return found, grads, buffers, volume


def test_two_processes_normalise_as_one():
    whole, grads, buffers = learn(model_of(), normal(10, 4), normal(10, 3, seed=1))
    volume = nn.BatchNorm3d(2)(normal(4, 2, 3, 3, 3)).detach()
    for rank, (found, their_grads, their_buffers, their_volume) in enumerate(two_processes(on_a_rank)):
        torch.testing.assert_close(found, whole[SHARES[rank]], atol=1e-5, rtol=1e-5)
        for name, value in grads.items():
            torch.testing.assert_close(their_grads[name], value, atol=1e-4, rtol=1e-4)
        for name, value in buffers.items():
            torch.testing.assert_close(their_buffers[name], value, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(their_volume, volume[2 * rank : 2 * rank + 2], atol=1e-5, rtol=1e-5)


def in_float64():
    rank = torch.distributed.get_rank()
    model = synced(model_of()).double()
    rows, weights = (normal(10, width, seed=seed, dtype=torch.float64) for width, seed in ((4, 0), (3, 1)))
    return learn(model, rows[SHARES[rank]], weights[SHARES[rank]])


def test_float64_stays_what_it_is():
    rows, weights = (normal(10, width, seed=seed, dtype=torch.float64) for width, seed in ((4, 0), (3, 1)))
    whole, grads, buffers = learn(model_of().double(), rows, weights)
    both = two_processes(in_float64)
    for rank, (found, _, their_buffers) in enumerate(both):
        torch.testing.assert_close(found, whole[SHARES[rank]], atol=1e-11, rtol=1e-11)
        for name, value in buffers.items():
            torch.testing.assert_close(their_buffers[name], value, atol=1e-12, rtol=1e-12)
    for name, value in grads.items():
        total = both[0][1][name] + both[1][1][name]
        torch.testing.assert_close(total, value, atol=1e-10, rtol=1e-10)


def test_names_and_numbers_stay_and_alone_nothing_changes():
    plain = model_of()
    other = synced(copy.deepcopy(plain))
    assert list(other.state_dict()) == list(plain.state_dict())
    assert isinstance(other[1], SyncedNorm)
    assert isinstance(other[1], VoxelNorm)
    assert torch.equal(other(normal(10, 4)), plain(normal(10, 4)))
    assert torch.equal(other[1].running_var, plain[1].running_var)
    assert synced(other)[1].own is VoxelNorm


def test_a_lone_voxel_keeps_its_own_way():
    norm = synced(VoxelNorm(3))
    before = norm.running_mean.clone()
    assert torch.isfinite(norm(torch.ones(1, 3))).all()
    assert torch.equal(norm.running_mean, before)


def test_what_has_no_channels_is_refused():
    with pytest.raises(ValueError, match="takes"):
        synced(nn.BatchNorm1d(3))._check_input_dim(torch.ones(3))
