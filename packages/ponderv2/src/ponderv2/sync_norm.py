"""Batch norm whose statistics are those of all processes, on any device (ours; torch's is for GPUs).

A batch that several processes share is normalised as one process would normalise it, so that the number of
devices does not change what is learned. The released code normalises on each GPU apart.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Shapes: N rows of a batch on this process (voxels, or cells of volumes), C channels.


class SyncedNorm(_BatchNorm):  # type: ignore[misc]
    """What a batch norm's class becomes: statistics over all processes in training, its own way otherwise."""

    own: type[nn.Module]

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"a batch norm takes (N, C, ...), not {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; every process has to call it, as often as the others."""
        if not self.training or not _several():
            return self.own.forward(self, input)  # type: ignore[no-any-return]
        self._check_input_dim(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1, *([1] * (input.dim() - 2))]
        wide = input if input.dtype == torch.float64 else input.float()
        rows = wide.new_tensor([float(input.numel() // max(input.shape[1], 1))])
        sums = _Sum.apply(torch.cat([wide.sum(axes), rows]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        if float(count) <= 1:  # one row has no variance
            mean, variance = self.running_mean, self.running_var
            centred = wide - mean.view(shape)
        else:
            self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        found = centred * (variance.view(shape) + self.eps).rsqrt()
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synced(model: nn.Module) -> nn.Module:
    """Let all batch norms of a model share their statistics over processes, in place; names stay as they are.

    Args:
        model: with norms of torch or subclasses of them, which keep their own way in evaluation and where
            there is one process only.

    Returns:
        `model`.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncedNorm):
            own = type(module)
            module.__class__ = type(f"Synced{own.__name__}", (SyncedNorm, own), {"own": own})
    return model


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        torch.distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _several() -> bool:
    distributed = torch.distributed
    return bool(
        distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    )
