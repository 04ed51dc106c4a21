"""What a detector asks of a backbone: maps, their channels and stride, parts that can be frozen (ours)."""

from typing import Self

from torch import Tensor, nn

# Shapes: B images, H x W pixels.


class Backbone(nn.Module):
    """Pictures to maps.

    Attributes:
        channels: of the maps that are given.
        strides: pixels from one feature of each map to the next.
        frozen: whether nothing of it learns: then it stays as in evaluation while others train.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    frozen: bool = False

    @property
    def stride(self) -> int:
        """Pixels from one feature of the last map to the next."""
        return self.strides[-1]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised pixels to maps (B, channels, height, width), the deepest last."""
        raise NotImplementedError

    def parts(self) -> list[list[nn.Module]]:
        """The modules of the stem, then those of each stage; what belongs to neither is in none."""
        raise NotImplementedError

    def fold(self) -> "Backbone":
        """A frozen copy to compute features with, faster where it can be; the same maps but for rounding."""
        raise NotImplementedError

    def freeze(self, stages: int | None = None) -> Self:
        """Let the stem and so many of the first stages learn nothing, and what follows learn.

        Args:
            stages: DETR freezes 1 when it is trained; None freezes all.

        Raises:
            ValueError: there are fewer.
        """
        parts = self.parts()
        if stages is not None and not 0 <= stages < len(parts):
            raise ValueError(f"{stages} stages to freeze of {len(parts) - 1}")
        self.requires_grad_(stages is not None)
        for modules in parts[: None if stages is None else stages + 1]:
            for module in modules:
                module.requires_grad_(False)
        self.frozen = stages is None
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As for any module, but a frozen backbone drops nothing and counts nothing."""
        return super().train(mode and not self.frozen)
