"""From maps of several cameras to one volume around the car (UniPAD; UVTR, Li et al. 2022).

    volume(p) = sum over cameras and levels of feature(u, v) * chance(u, v, d)

for the centre p of each cell, which falls on pixel (u, v) of a camera at depth d: features are interpolated
in two dimensions, the chances of depth bins in three. Bin k reaches from k to k + 1 times its width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.kernels.trilinear import trilinear

# Shapes: B scenes, V cameras, C channels, h x w positions of a level, K depth bins, P cells, n of them seen.

NEAREST = 0.1  # metres from a camera's plane to what it can see


@dataclass(frozen=True)
class Cameras:
    """Images of a batch and where they were taken from.

    Attributes:
        images: (B, V, 3, H, W) uint8, H and W multiples of 32; smaller images lie at the top left.
        intrinsics: (B, V, 3, 3) float32 of the images as they are here, pixel centres at whole numbers.
        from_world: (B, V, 4, 4) float32, metres; depth along z.
        sizes: (B, V, 2) int64, height and width of what is image and not padding; 0 where there is no camera.
        visible: (B, V, H / 32, W / 32) bool, False for masked patches; None: all are visible.
    """

    images: Tensor
    intrinsics: Tensor
    from_world: Tensor
    sizes: Tensor
    visible: Tensor | None = None

    def to(self, device: torch.device | str) -> "Cameras":
        """The same on a device."""
        visible = None if self.visible is None else self.visible.to(device, non_blocking=True)
        images, intrinsics, from_world, sizes = (
            part.to(device, non_blocking=True)
            for part in (self.images, self.intrinsics, self.from_world, self.sizes)
        )
        return Cameras(images, intrinsics, from_world, sizes, visible)


class FeaturePyramid(nn.Module):
    """Maps of all stages at one width, each with what the coarser ones saw (Lin et al. 2017).

    Args:
        widths: channels of the stages, finest first.
        width: channels of the result.
    """

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """(N, C, h, w) of each stage -> (N, width, h, w) of each."""
        joined = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(joined) - 2, -1, -1):
            above = F.interpolate(joined[level + 1], size=joined[level].shape[-2:], mode="nearest")
            joined[level] = joined[level] + above
        return [smooth(x) for smooth, x in zip(self.smooth, joined, strict=True)]


class DepthHead(nn.Module):
    """Chances of depth bins at each position: a 1 x 1 convolution for each level, and a softmax.

    Args:
        width: channels of the levels.
        levels: how many.
        bins: K.
    """

    def __init__(self, width: int, levels: int, bins: int) -> None:
        super().__init__()
        self.score = nn.ModuleList(nn.Conv2d(width, bins, 1) for _ in range(levels))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """(N, C, h, w) of each level -> (N, K, h, w) of each, float32, sums over K of 1."""
        return [score(x).float().softmax(1) for score, x in zip(self.score, maps, strict=True)]


def cell_centers(
    low: tuple[float, float, float], high: tuple[float, float, float], cells: tuple[int, int, int]
) -> Tensor:
    """(P, 3) float32 metres: x, y, z of the middles of the cells of a volume (Z, Y, X), x fastest.

    The first lies at `low` and the last at `high`, as `UnitCube` reads a volume: 3 cells from 0 to 2 m lie at
    0, 1 and 2 m. A single cell lies in the middle.
    """
    axes = [
        torch.linspace(lo, hi, count) if count > 1 else torch.tensor([(lo + hi) / 2])
        for lo, hi, count in zip(low, high, cells, strict=True)
    ]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3)


def lift(
    features: list[Tensor],
    chances: list[Tensor],
    cameras: Cameras,
    points_P3: Tensor,
    *,
    depth_bin: float = 1.0,
) -> Tensor:
    """The sum over cameras and levels of what each saw at points of space.

    Args:
        features: of each level (B * V, C, h, w), of images padded to the size of `cameras.images`.
        chances: of each level (B * V, K, h, w).
        cameras: poses and sizes; points that fall on padding are not seen.
        points_P3: (P, 3) metres in the world of each scene.
        depth_bin: metres of a bin.

    Returns:
        (B, C, P), float32 as the kernel of trilinear sampling gives it; 0 where no camera sees a point.
    """
    with torch.autocast(points_P3.device.type, enabled=False):  # half precision is half a metre at 100 m
        return _lift(features, chances, cameras, points_P3, depth_bin)


def _lift(
    features: list[Tensor], chances: list[Tensor], cameras: Cameras, points_P3: Tensor, depth_bin: float
) -> Tensor:
    B, V = cameras.images.shape[:2]
    height, width = cameras.images.shape[-2:]
    total = features[0].new_zeros(B, len(points_P3), features[0].shape[1], dtype=torch.float32)
    rows = []
    for scene in range(B):
        seen_P = total[scene]
        for camera in range(V):
            index_n, place_n3 = _seen(cameras, scene, camera, points_P3)
            if not len(index_n):
                continue
            bins = chances[0].shape[1]
            # Edges of the padded image and of the depth bins are -1 and 1: samples lie between the
            # centres of positions, not between corners.
            extent = place_n3.new_tensor([width, height, bins * depth_bin])
            grid_n3 = 2 * place_n3 / extent - 1
            at = scene * V + camera
            found = sum(
                _bilinear(feature[at], grid_n3[:, :2])
                * trilinear(chance[at][None, None].contiguous(), grid_n3[None], align_corners=False)[0]
                for feature, chance in zip(features, chances, strict=True)
            )
            seen_P = seen_P.index_add(0, index_n, found)
        rows.append(seen_P)
    return torch.stack(rows).transpose(1, 2)


def _seen(cameras: Cameras, scene: int, camera: int, points_P3: Tensor) -> tuple[Tensor, Tensor]:
    """Which points a camera sees (n,), and where (n, 3): from the image's left and top edge, and depth."""
    motion, k = cameras.from_world[scene, camera], cameras.intrinsics[scene, camera]
    local = points_P3 @ motion[:3, :3].T + motion[:3, 3]
    depth = local[:, 2]
    pixels = (local @ k.T)[:, :2] / depth.clamp_min(NEAREST)[:, None] + 0.5
    height, width = cameras.sizes[scene, camera]
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height) & (depth >= NEAREST)
    index = inside.nonzero()[:, 0]
    return index, torch.cat([pixels[index], depth[index, None]], 1)


def _bilinear(map_Chw: Tensor, grid_n2: Tensor) -> Tensor:
    """(n, C) float32 of a map at places in -1..1."""
    found = F.grid_sample(map_Chw.float()[None], grid_n2[None, None], align_corners=False)
    return found[0, :, 0].T
