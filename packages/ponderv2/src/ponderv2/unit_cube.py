"""The one transform between the world, the unit cube that the paper renders in, and the volume, both ways.

A cloud is mapped to a cube: its box is centred in x and y and put on the floor z = -1/2, and the largest
extent becomes 1 (PonderV2, Zhu et al. 2023). The volume covers the cube and a margin; it is also
what rays are clipped to. Outdoors the box is a fixed range and the scale the same along all axes.

Whatever pools features into the volume, or reads them off it, asks this file where a point lies. The
released code has two errors there: it pools over [-1/2, 1/2], but reads at p / 1.101 + 1/2, so that a feature
that was stored at the cube's face is read 6 cells further in; and the sampler that looks for the surface
reads at p itself as if it lay in [0, 1], far outside the volume. `legacy` repeats both, for an ablation and
for weights that were trained with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nonet.errors import UserError

# Shapes: B scenes, P points of a scene, M voxels of all scenes.

FLOOR = -0.5
LEGACY_PADDING = 1.1 + 1e-3  # what the released code divides by before it reads the volume
LEGACY_EDGE = 1 - 1e-3  # and where it puts points that lie beyond
Reader = Literal["field", "sampler"]


@dataclass(frozen=True)
class UnitCube:
    """Where scenes lie in their cubes, and cubes in their volumes.

    Attributes:
        centre: (B, 3) metres, what becomes the origin.
        scale: (B,) sides of the cube in a metre.
        offset: (B, 3) added after scaling: the floor indoors, 0 outdoors.
        low: (3,) where the volume begins, in sides of the cube.
        high: (3,) where it ends.
        legacy: with the released code's errors.
    """

    centre: Tensor
    scale: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor
    legacy: bool = False

    @classmethod
    def of_boxes(
        cls, box_B23: Tensor, *, padding: float = 0.1, legacy: bool = False, names: list[str] | None = None
    ) -> "UnitCube":
        """Cubes around clouds: the largest extent becomes 1, the lowest point lies at z = -1/2.

        Args:
            box_B23: (B, 2, 3) metres, the least and the greatest coordinates of each cloud.
            padding: margin of the volume, as a share of the cube; half of it on each side.
            legacy: repeat the errors of the released code.
            names: of the scenes, for the error.

        Raises:
            UserError: a cloud has no extent, or coordinates that are not finite.
        """
        box = box_B23.float()
        extent = (box[:, 1] - box[:, 0]).amax(1)
        for index in (~(extent > 0) | ~extent.isfinite()).nonzero()[:, 0].tolist():
            name = names[index] if names else f"number {index} of the batch"
            what = "all points of the cloud lie in one place"
            if not bool(box[index].isfinite().all()):
                what = "coordinates are not finite"
            raise UserError(f"scene {name}: {what}, so there is no box to render in; leave the scene out")
        scale = 1 / extent
        offset = torch.zeros_like(box[:, 0])
        offset[:, 2] = FLOOR + (box[:, 1, 2] - box[:, 0, 2]) / 2 * scale
        half = box.new_full((3,), (1 + padding) / 2)
        return cls((box[:, 0] + box[:, 1]) / 2, scale, offset, -half, half, legacy)

    @classmethod
    def of_range(cls, low: Tensor, high: Tensor, *, scale: float, scenes: int) -> "UnitCube":
        """The same fixed range for each scene, as outdoors.

        Args:
            low: (3,) metres, where the volume begins.
            high: (3,) metres, where it ends.
            scale: sides of the cube in a metre, along all axes: 1/54 for a range of 54 m.
            scenes: how many.
        """
        low, high = low.float(), high.float()
        origin = low.new_zeros((scenes, 3))
        return cls(origin, low.new_full((scenes,), scale), origin, low * scale, high * scale)

    def to(self, device: torch.device | str) -> "UnitCube":
        """The same on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def map(self, change: Callable[[Tensor], Tensor]) -> "UnitCube":
        """The same with each tensor changed."""
        named = ("centre", "scale", "offset", "low", "high")
        return replace(self, **{name: change(getattr(self, name)) for name in named})

    def take(self, index: int) -> "UnitCube":
        """One scene of it, as a batch of 1."""
        chosen = slice(index, index + 1)
        return replace(self, centre=self.centre[chosen], scale=self.scale[chosen], offset=self.offset[chosen])

    def to_cube(self, points_BP3: Tensor) -> Tensor:
        """(B, P, 3) world, metres -> (B, P, 3) in sides of the cube."""
        moved = points_BP3 - self.centre[:, None]
        return moved * self.scale[:, None, None] + self.offset[:, None]

    def to_world(self, points_BP3: Tensor) -> Tensor:
        """(B, P, 3) in sides of the cube -> (B, P, 3) world, metres."""
        moved = (points_BP3 - self.offset[:, None]) / self.scale[:, None, None]
        return moved + self.centre[:, None]

    def voxels_to_cube(self, points_M3: Tensor, scene_M: Tensor) -> Tensor:
        """(M, 3) world, metres, of scenes (M,) int64 -> (M, 3) in sides of the cube."""
        moved = (points_M3 - self.centre[scene_M]) * self.scale[scene_M, None]
        return moved + self.offset[scene_M]

    def to_place(self, points: Tensor, reader: Reader = "field") -> Tensor:
        """The coordinates that the field works in: those of the cube.

        The released code's are those of the volume in 0..1, so that its |g| = 1 means something 10 % off.

        Args:
            points: (..., 3) in sides of the cube.
            reader: who asks; it matters for `legacy` alone.
        """
        if not self.legacy:
            return points
        return points if reader == "sampler" else (points / LEGACY_PADDING + 0.5).clamp(0, LEGACY_EDGE)

    def place_to_grid(self, place: Tensor) -> Tensor:
        """Where the volume is read, as `nonet.kernels.trilinear` takes it.

        Args:
            place: (..., 3) of `to_place`.

        Returns:
            (..., 3) x, y, z: -1 is the middle of the first cell, 1 that of the last.
        """
        if self.legacy:
            return place * 2 - 1
        return (place - self.low) / (self.high - self.low) * 2 - 1

    def to_grid(self, points: Tensor, reader: Reader = "field") -> Tensor:
        """Both of the above: (..., 3) in sides of the cube -> (..., 3) x, y, z in -1..1."""
        return self.place_to_grid(self.to_place(points, reader))

    def to_cells(self, points: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """The cell that a point's feature is pooled into: the one whose middle is nearest.

        Args:
            points: (..., 3) in sides of the cube; what lies outside goes to the cell at the edge.
            shape: cells along x, y and z.

        Returns:
            (..., 3) int64 x, y, z.
        """
        last = torch.tensor(shape, device=points.device) - 1
        if self.legacy:
            found = ((points - FLOOR) * (last + 1)).floor().long()
        else:
            found = ((self.to_grid(points) + 1) / 2 * last).round().long()
        return torch.minimum(found.clamp(min=0), last)
