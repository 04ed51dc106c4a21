"""Masking of blocks of voxels: the backbone sees one learned token in their place (Zhu et al. 2023).

Blocks are cubes of 8 voxels a side. Of the n blocks of a cloud that hold voxels, round(n (1 - ratio)) stay.
The released indoor configurations mask nothing so, but drop 80 % of the points (`transforms.RandomDropout`);
the paper has masking as an ingredient of all its settings.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nonet.errors import UserError

# Shapes: M voxels of all clouds, F channels.

SIZE = 8
"""voxels along each side of a block"""
DEVIATION = 0.02
"""of the token's initial numbers, which are drawn within one deviation"""


class BlockMask(nn.Module):
    """Hides blocks of voxels behind a learned token.

    Args:
        channels: F.
        ratio: share of the blocks of each cloud that is hidden.
        size: voxels along each side of a block.
    """

    def __init__(self, channels: int, *, ratio: float, size: int = SIZE) -> None:
        super().__init__()
        if not 0 <= ratio < 1 or size < 1:
            raise UserError(f"mask_ratio is {ratio:g} and mask_size {size}; they lie in [0, 1) and from 1")
        self.ratio, self.size = ratio, size
        self.token = nn.Parameter(torch.empty(channels))
        nn.init.trunc_normal_(self.token, std=DEVIATION, a=-DEVIATION, b=DEVIATION)

    def forward(
        self,
        features_MF: Tensor,
        cells_M4: Tensor,
        generators: Sequence[torch.Generator] | torch.Generator | None = None,
    ) -> Tensor:
        """(M, F) features with the hidden ones replaced.

        Args:
            features_MF: (M, F).
            cells_M4: (M, 4) int64: cloud, x, y, z.
            generators: one for each cloud, on the CPU or the voxels' device; one for all; or torch's own.
        """
        hidden = self.hidden(cells_M4, generators)
        return torch.where(hidden[:, None], self.token.to(features_MF.dtype), features_MF)

    @torch.no_grad()
    def hidden(
        self,
        cells_M4: Tensor,
        generators: Sequence[torch.Generator] | torch.Generator | None = None,
    ) -> Tensor:
        """(M,) bool, which voxels lie in a hidden block."""
        blocks = torch.cat([cells_M4[:, :1], cells_M4[:, 1:].div(self.size, rounding_mode="floor")], 1)
        unique, inverse = torch.unique(blocks, dim=0, return_inverse=True)
        clouds = unique[:, 0]
        counts = torch.bincount(clouds).tolist()
        flags = []
        for cloud, count in enumerate(counts):
            generator = generators if not isinstance(generators, Sequence) else generators[cloud]
            device = cells_M4.device if generator is None else generator.device
            order = torch.randperm(count, generator=generator, device=device)
            flags.append(order.to(cells_M4.device) >= round(count * (1 - self.ratio)))
        return torch.cat(flags)[inverse]
