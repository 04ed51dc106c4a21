"""Batch norm as a fixed scale and shift, as detectors use it: they see few images at a time (as in DETR).

Frozen are the statistics and what batch norm had learnt: all are buffers.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Shapes: B images, C channels, H x W features.

EPSILON = 1e-5  # of every batch norm


class FrozenBatchNorm(nn.Module):
    """x * scale + shift for each channel.

    Attributes:
        weight, bias, running_mean, running_var: (C,) float; scale is weight / sqrt(running_var + epsilon).
        epsilon: keeps it finite.
    """

    def __init__(self, channels: int, *, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Two tensors (C,)."""
        scale = self.weight * (self.running_var + self.epsilon).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        scale, shift = self.scale_and_shift()
        return x * scale[:, None, None] + shift[:, None, None]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)  # a counter that only a learning norm needs
        super()._load_from_state_dict(state_dict, prefix, *rest)


def normed(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """A convolution and its norm; a frozen norm is multiplied into the weights: a pass over x less."""
    if not isinstance(norm, FrozenBatchNorm):
        return norm(conv(x))
    scale, shift = norm.scale_and_shift()
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation)


@torch.no_grad()
def fold(conv: nn.Conv2d, norm: FrozenBatchNorm) -> nn.Identity:
    """Put a frozen norm into the convolution before it, in place; returns what stands in its place."""
    scale, shift = norm.scale_and_shift()
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias = nn.Parameter(shift.clone(), requires_grad=conv.weight.requires_grad)
    return nn.Identity()


@torch.no_grad()
def freeze_norms(module: nn.Module) -> None:
    """Put frozen norms in place of all batch norms inside a module, with what they have learnt."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm(child.num_features, epsilon=child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen.to(child.running_mean.device))
        else:
            freeze_norms(child)
