"""SpUNet: the sparse U-Net that pre-training is for (Graham et al. 2018; as in PonderV2, Zhu et al. 2023).

A stem of 5 x 5 x 5, stages that halve the sides and convolve within the occupied voxels, and stages that
return to exactly the voxels of the level above and take up its features:

    x_0 = stem(f),   x_s = blocks(down(x_{s-1})),   y_s = blocks([up(y_{s+1}), x_s]),   out = y_0

Which voxels meet in a convolution depends on the voxels alone: these kernel maps are found once a level and
shared by all its blocks, going down and going up.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nonet.kernels.sparse_conv import KernelMap, sparse_conv, strided_map, submanifold_map
from ponderv2.model_config import SpUNetConfig
from ponderv2.norms import PromptedNorm, check_dataset

# Shapes: M voxels (M_s at level s), C channels, K taps of a kernel, E numbers of a context.

STEM = 5  # voxels along a side of the first kernel


class Pyramid(NamedTuple):
    """Kernel maps of a cloud's voxels at all levels.

    Attributes:
        stem: of 5 x 5 x 5 at level 0.
        within: of 3 x 3 x 3 at each level.
        down: from each level to the next, 2 x 2 x 2; transposed it leads back.
        cells: (M_s, 4) of each level.
    """

    stem: KernelMap
    within: tuple[KernelMap, ...]
    down: tuple[KernelMap, ...]
    cells: tuple[Tensor, ...]


def voxel_pyramid(cells_M4: Tensor, levels: int) -> Pyramid:
    """Kernel maps of voxels and of what they become when the sides are halved again and again.

    Args:
        cells_M4: (M, 4) int64 scene, x, y, z, each voxel once; at least one.
        levels: how often the sides are halved.
    """
    cells, down = [cells_M4], []
    for _ in range(levels):
        coarser, halved = strided_map(cells[-1], 2, 2)
        cells.append(coarser)
        down.append(halved)
    within = tuple(submanifold_map(each, 3) for each in cells)
    return Pyramid(submanifold_map(cells_M4, STEM), within, tuple(down), tuple(cells))


class SparseConv(nn.Module):
    """A sparse convolution without bias.

    Args:
        channels: of the input.
        out: of the output.
        taps: K; rows of the weight are in the order of `nonet.kernels.sparse_conv`.
        within: whether it stays on the occupied voxels. The released code draws such weights from a normal
            distribution of deviation 0.02, and the others evenly, as torch does.
    """

    def __init__(self, channels: int, out: int, taps: int, *, within: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(taps, channels, out))
        if within:
            nn.init.trunc_normal_(self.weight, std=0.02)
        else:
            bound = 1 / math.sqrt(taps * channels)
            nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, features: Tensor, kernel_map: KernelMap) -> Tensor:
        """(n_in, channels) -> (n_out, out)."""
        return sparse_conv(features, self.weight, kernel_map)


class ConvNormRelu(nn.Module):
    """A sparse convolution, norm and ReLU: the stem, and the way from level to level."""

    def __init__(self, channels: int, out: int, taps: int, norm: "Norms", *, within: bool = False) -> None:
        super().__init__()
        self.conv = SparseConv(channels, out, taps, within=within)
        self.norm = norm(out)

    def forward(self, features: Tensor, kernel_map: KernelMap, prompt: "Prompt") -> Tensor:
        """(n_in, channels) -> (n_out, out)."""
        return self.norm(self.conv(features, kernel_map), *prompt).relu()


class ResidualBlock(nn.Module):
    """Two convolutions with norms around a shortcut, which is projected where the widths differ."""

    def __init__(self, channels: int, out: int, norm: "Norms") -> None:
        super().__init__()
        self.conv1, self.norm1 = SparseConv(channels, out, 27), norm(out)
        self.conv2, self.norm2 = SparseConv(out, out, 27), norm(out)
        self.project = nn.Linear(channels, out, bias=False) if channels != out else None
        self.project_norm = norm(out) if channels != out else None
        if self.project is not None:
            nn.init.trunc_normal_(self.project.weight, std=0.02)

    def forward(self, features: Tensor, within: KernelMap, prompt: "Prompt") -> Tensor:
        """(M_s, channels) -> (M_s, out)."""
        hidden = self.norm1(self.conv1(features, within), *prompt).relu()
        hidden = self.norm2(self.conv2(hidden, within), *prompt)
        if self.project is not None and self.project_norm is not None:
            features = self.project_norm(self.project(features), *prompt)
        return (hidden + features).relu()


class SpUNet(nn.Module):
    """The sparse U-Net.

    Args:
        in_channels: numbers of a voxel.
        stem: channels of the first convolution.
        channels: of each stage, those going down and then those going up.
        blocks: residual blocks of each stage.
        contexts: names of the data sets that have norms of their own; None: one norm for all.
        context: E, numbers of a data set's context.
        momentum: of the norms' running statistics; more for short trainings.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        stem: int = 32,
        channels: tuple[int, ...] = (32, 64, 128, 256, 256, 128, 96, 96),
        blocks: tuple[int, ...] = (2, 3, 4, 6, 2, 2, 2, 2),
        contexts: tuple[str, ...] | None = None,
        context: int = 256,
        momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.config = SpUNetConfig(
            in_channels=in_channels,
            stem=stem,
            channels=tuple(channels),
            blocks=tuple(blocks),
            datasets=tuple(contexts or ()),
            context=context,
            momentum=momentum,
        )
        norm = Norms(self.config.datasets, context, momentum)
        self.contexts = nn.ParameterDict({name: torch.randn(context) for name in self.config.datasets})
        self.levels = len(channels) // 2
        going_down, going_up = channels[: self.levels], channels[self.levels :]
        self.stem = ConvNormRelu(in_channels, stem, STEM**3, norm, within=True)
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        widths = [stem]  # of the features at each level, going down
        for width, count in zip(going_down, blocks[: self.levels], strict=True):
            self.down.append(ConvNormRelu(widths[-1], width, 8, norm))
            self.encoder.append(_stage(width, width, count, norm))
            widths.append(width)
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = widths.pop()
        for width, count, skip in zip(going_up, blocks[self.levels :], reversed(widths), strict=True):
            self.up.append(ConvNormRelu(below, width, 8, norm))
            self.decoder.append(_stage(width + skip, width, count, norm))
            below = width
        self.out_channels = below

    def forward(
        self,
        features_MC: Tensor,
        cells_M4: Tensor,
        dataset: str | None = None,
        *,
        pyramid: Pyramid | None = None,
    ) -> Tensor:
        """Features of voxels.

        Args:
            features_MC: (M, in_channels) float.
            cells_M4: (M, 4) int64 scene, x, y, z, each voxel once; the fastest in ascending order.
            dataset: name of the data set that all of them come from, where there are norms for several.
            pyramid: of the same cells, where it is at hand already.

        Returns:
            (M, out_channels).

        Raises:
            UserError: no norms for that data set.
        """
        if pyramid is None:
            pyramid = voxel_pyramid(cells_M4, self.levels)
        prompt = self._prompt(dataset)
        x = self.stem(features_MC, pyramid.stem, prompt)
        skips = []
        for level, (down, blocks) in enumerate(zip(self.down, self.encoder, strict=True)):
            skips.append(x)
            x = down(x, pyramid.down[level], prompt)
            x = _through(blocks, x, pyramid.within[level + 1], prompt)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            level = len(skips) - 1
            x = up(x, pyramid.down[level].transposed(), prompt)
            x = _through(blocks, torch.cat([x, skips.pop()], 1), pyramid.within[level], prompt)
        return x

    def _prompt(self, dataset: str | None) -> "Prompt":
        if not self.config.datasets:
            return Prompt(None, None)
        check_dataset(dataset, self.config.datasets)
        return Prompt(dataset, self.contexts[dataset])


class Prompt(NamedTuple):
    """Which data set the voxels of a batch come from: its name and its context (E,)."""

    dataset: str | None
    context: Tensor | None


class Norms(NamedTuple):
    """Makes norms for these data sets."""

    datasets: tuple[str, ...]
    context: int
    momentum: float

    def __call__(self, channels: int) -> PromptedNorm:
        """A norm of so many channels."""
        return PromptedNorm(channels, self.datasets, self.context, momentum=self.momentum)


def build_spunet(config: SpUNetConfig) -> SpUNet:
    """A backbone with initial weights."""
    return SpUNet(
        config.in_channels,
        stem=config.stem,
        channels=config.channels,
        blocks=config.blocks,
        contexts=config.datasets,
        context=config.context,
        momentum=config.momentum,
    )


def _stage(channels: int, out: int, count: int, norm: Norms) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(channels if n == 0 else out, out, norm) for n in range(count))


def _through(blocks: nn.Module, features: Tensor, within: KernelMap, prompt: Prompt) -> Tensor:
    for block in blocks:  # type: ignore[attr-defined]
        features = block(features, within, prompt)
    return features
