"""From sparse features to a dense volume (PonderV2, Zhu et al. 2023).

    V = U(mean of the features in each cell),   U a 3D U-Net, or outdoors one convolution

Where a point lies in the volume says `ponderv2.unit_cube`, to this file and to the field alike.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from nonet.kernels.voxels import scatter_mean
from ponderv2.norms import VolumeNorm
from ponderv2.unit_cube import UnitCube

# Shapes: M voxels of all scenes, B scenes, C channels, (Z, Y, X) cells; `shape` is (X, Y, Z).


def pool(
    features_MC: Tensor,
    coord_M3: Tensor,
    scene_M: Tensor,
    cube: UnitCube,
    shape: tuple[int, int, int],
    *,
    occupancy: bool = False,
) -> Tensor:
    """Means of the features in each cell; 0 where there is none.

    Args:
        features_MC: (M, C) float; a gradient passes.
        coord_M3: (M, 3) float, world, metres.
        scene_M: (M,) int64 in 0..B-1.
        cube: of B scenes.
        shape: cells along x, y and z.
        occupancy: add a channel that is 1 where a cell holds a voxel: else the field cannot tell an empty
            cell from a feature of zeros.

    Returns:
        (B, C or C + 1, Z, Y, X), channels last in memory.
    """
    X, Y, Z = shape
    B = len(cube.scale)
    x, y, z = cube.to_cells(cube.voxels_to_cube(coord_M3.float(), scene_M), shape).unbind(1)
    cell = ((scene_M * Z + z) * Y + y) * X + x
    features_MC = features_MC.float()  # under autocast a sum of many halves would lose what is small
    if occupancy:
        features_MC = torch.cat([features_MC, torch.ones_like(features_MC[:, :1])], 1)
    dense = scatter_mean(features_MC, cell, B * Z * Y * X)
    return dense.view(B, Z, Y, X, -1).permute(0, 4, 1, 2, 3)


class NormConvRelu(nn.Sequential):
    """Batch norm, a convolution of 3 x 3 x 3 without bias, ReLU: in this order, as in the released code."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(VolumeNorm(channels), nn.Conv3d(channels, out, 3, padding=1, bias=False), nn.ReLU())


class DenseUNet(nn.Module):
    """Fills the volume: pooled features in, what the field reads out.

    Going down, each level but the first halves the sides (max-pool, an odd end by itself) and has one
    convolution; going up, a transposed convolution doubles them to exactly those of the level above, whose
    features are added, and one convolution follows. A convolution of 1 x 1 x 1 ends it.

    Args:
        channels: of the pooled features.
        out: channels of the volume.
        widths: channels of each level, fine to coarse.
    """

    def __init__(
        self, channels: int, out: int = 128, *, widths: tuple[int, ...] = (32, 64, 128, 256)
    ) -> None:
        super().__init__()
        self.out_channels = out
        self.down = nn.ModuleList(NormConvRelu(*pair) for pair in pairwise((channels, *widths)))
        upwards = list(pairwise(reversed(widths)))
        self.widen = nn.ModuleList(nn.ConvTranspose3d(*pair, 3, stride=2, padding=1) for pair in upwards)
        self.up = nn.ModuleList(NormConvRelu(width, width) for _, width in upwards)
        self.final = nn.Conv3d(widths[0], out, 1)
        self.halve = nn.MaxPool3d(2, ceil_mode=True)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, channels, Z, Y, X) -> (B, out, Z, Y, X)."""
        levels = []
        for number, convolve in enumerate(self.down):
            volume = convolve(self.halve(volume) if number else volume)
            levels.append(volume)
        for widen, convolve, skip in zip(self.widen, self.up, reversed(levels[:-1]), strict=True):
            volume = convolve(skip + widen(volume, output_size=skip.shape[2:]))
        return self.final(volume)


class DenseConv(nn.Module):
    """What outdoors stands for the U-Net: one convolution of 3 x 3 x 3, batch norm, ReLU.

    Args:
        channels: of the pooled features.
        out: channels of the volume.
    """

    def __init__(self, channels: int, out: int = 32) -> None:
        super().__init__()
        self.out_channels = out
        self.layers = nn.Sequential(nn.Conv3d(channels, out, 3, padding=1), VolumeNorm(out), nn.ReLU())

    def forward(self, volume: Tensor) -> Tensor:
        """(B, channels, Z, Y, X) -> (B, out, Z, Y, X)."""
        return self.layers(volume)
