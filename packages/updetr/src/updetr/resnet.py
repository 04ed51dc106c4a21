"""ResNets (He et al. 2016), with strides in the 3 x 3 convolutions as torchvision and its users have them.

Weights have torchvision's names, which SwAV, MoCo, timm and the original detectors share.
"""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from updetr.backbone_base import Backbone
from updetr.frozen_norm import EPSILON, FrozenBatchNorm, fold, normed

# Shapes: B images, H x W pixels, C channels.

STEM_STRIDE = 4  # of its convolution and its pooling together

Norm = Literal["frozen", "batch"]


class Block(nn.Module):
    """Convolutions whose result is added to what came in.

    Args:
        channels: of what comes in.
        inner: channels of the 3 x 3 convolutions.
        bottleneck: 1 x 1, 3 x 3, 1 x 1 with four times `inner` at the end; otherwise 3 x 3 twice.
        stride: of the first 3 x 3 convolution, and of the shortcut.
        dilation: of the first 3 x 3 convolution, and of the second one if there is one.
        norm: batch norms are frozen, or learn.
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        *,
        bottleneck: bool,
        stride: int,
        dilation: tuple[int, int],
        norm: Norm,
    ) -> None:
        super().__init__()
        outer = 4 * inner if bottleneck else inner
        first, second = dilation
        if bottleneck:
            convs = [_conv(channels, inner, 1), _conv(inner, inner, 3, stride, first), _conv(inner, outer, 1)]
        else:
            convs = [_conv(channels, inner, 3, stride, first), _conv(inner, inner, 3, 1, second)]
        self.count = len(convs)
        for number, conv in enumerate(convs, 1):
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", _norm(conv.out_channels, norm))
        self.downsample = None
        if stride != 1 or channels != outer:
            self.downsample = nn.Sequential(_conv(channels, outer, 1, stride), _norm(outer, norm))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, outer, H / stride, W / stride)."""
        short = x if self.downsample is None else normed(self.downsample[0], self.downsample[1], x)
        for number in range(1, self.count + 1):
            x = normed(getattr(self, f"conv{number}"), getattr(self, f"bn{number}"), x)
            x = x.relu() if number < self.count else x
        return (x + short).relu()


class ResNet(Backbone):
    """Stem and stages; the maps of the last stages.

    Args:
        depths: blocks of each stage.
        inner: channels of the 3 x 3 convolutions of each stage.
        bottleneck: see `Block`.
        stem: channels after the first convolution.
        dilation: the last stage has dilated convolutions instead of a stride, as in DC5.
        norm: see `Block`.
        maps: of so many last stages the map is given.

    Attributes:
        stages: how many there are.
    """

    def __init__(
        self,
        depths: Sequence[int],
        inner: Sequence[int],
        *,
        bottleneck: bool,
        stem: int = 64,
        dilation: bool = False,
        norm: Norm = "frozen",
        maps: int = 1,
    ) -> None:
        super().__init__()
        self.stages, self.maps, self.memory_format = len(depths), maps, torch.preserve_format
        self.conv1, self.bn1 = _conv(3, stem, 7, 2), _norm(stem, norm)
        channels, stride, outer, strides = stem, STEM_STRIDE, [], []
        for stage, (depth, width) in enumerate(zip(depths, inner, strict=True)):
            dilated = dilation and stage == self.stages - 1
            step = 1 if dilated or stage == 0 else 2
            blocks = []
            for number in range(depth):
                # The block that would have the stride still sees an undilated map.
                rates = (1 if number == 0 else 2, 2) if dilated else (1, 1)
                block = Block(
                    channels,
                    width,
                    bottleneck=bottleneck,
                    stride=step if number == 0 else 1,
                    dilation=rates,
                    norm=norm,
                )
                blocks.append(block)
                channels = 4 * width if bottleneck else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            stride *= step
            outer.append(channels)
            strides.append(stride)
        self.channels, self.strides = tuple(outer[-maps:]), tuple(strides[-maps:])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pixels to the maps of the last stages, the last stage's last."""
        pixels = pixels.to(memory_format=self.memory_format)
        x = F.max_pool2d(normed(self.conv1, self.bn1, pixels).relu(), 3, 2, 1)
        found = []
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
            found.append(x)
        return tuple(found[-self.maps :])

    def parts(self) -> list[list[nn.Module]]:
        """Stem and stages."""
        stages: list[list[nn.Module]] = [[getattr(self, f"layer{n}")] for n in range(1, self.stages + 1)]
        return [[self.conv1, self.bn1], *stages]

    def fold(self) -> "ResNet":
        """A frozen copy without norms, channels last in memory; its weights fit no other ResNet.

        Raises:
            ValueError: the norms are not frozen.
        """
        folded = copy.deepcopy(self)
        for module in list(folded.modules()):
            for conv, norm in _pairs(module):
                frozen = getattr(module, norm)
                if not isinstance(frozen, FrozenBatchNorm):
                    raise ValueError("only a backbone with frozen norms can be folded")
                setattr(module, norm, fold(getattr(module, conv), frozen))
        folded.memory_format = torch.channels_last
        return folded.freeze().to(memory_format=torch.channels_last)


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions of a module, each with that of its norm."""
    if isinstance(module, Block | ResNet):
        names = [name for name, _ in module.named_children() if name.startswith("conv")]
        return [(name, name.replace("conv", "bn")) for name in names]
    shortcut = isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[0], nn.Conv2d)
    return [("0", "1")] if shortcut else []


def _conv(channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, out, kernel, stride, padding, dilation=dilation, bias=False)


def _norm(channels: int, norm: Norm) -> nn.Module:
    return FrozenBatchNorm(channels) if norm == "frozen" else nn.BatchNorm2d(channels, eps=EPSILON)
