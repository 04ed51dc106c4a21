"""Batch norm of voxels and of volumes, and the prompted one: statistics of their own for each data set.

On a CPU torch sums the rows of (M, C), and the cells of a volume whose channels come last in memory, one
after the other in float32: of 8,192 cells, most of them empty, results are wrong by 2e-5, and otherwise wrong
with another number of threads. Where a channel's values lie side by side it sums in float64.

Point prompt training (Wu et al. 2024), which PonderV2 pre-trains with on several data sets: for features x of
a data set d with the context c_d,

    y = BN_d(x) (1 + scale) + shift,   (shift, scale) = Linear(SiLU(c_d))

Norms are found by the data set's name. The released code finds them by number, in one order in the backbone
and in another one in the model around it.
"""

from torch import Tensor, nn

from nonet.errors import UserError

# Shapes: M voxels of one batch, C channels, E numbers of a context.

EPSILON = 1e-3
MOMENTUM = 0.01


class VoxelNorm(nn.BatchNorm1d):
    """Batch norm over voxels. A single voxel has no variance: it is normalised by the running statistics,
    which it leaves alone (torch's own refuses it, and the coarsest level of a small cloud is one voxel).
    """

    def __init__(self, channels: int, momentum: float = MOMENTUM) -> None:
        super().__init__(channels, eps=EPSILON, momentum=momentum)

    def forward(self, features: Tensor) -> Tensor:
        """(M, C) -> (M, C)."""
        if self.training and len(features) > 1 and features.device.type == "cpu":
            return super().forward(features.T.contiguous()[None])[0].T.contiguous()
        if not self.training or len(features) > 1:
            return super().forward(features)
        return nn.functional.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class VolumeNorm(nn.BatchNorm3d):
    """Batch norm over the cells of volumes."""

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, Z, Y, X) -> (B, C, Z, Y, X)."""
        exact = self.training and volume.device.type == "cpu"
        return super().forward(volume.contiguous() if exact else volume)


class PromptedNorm(nn.Module):
    """A norm for each data set, with one modulation by the data set's context.

    Args:
        channels: C.
        datasets: names of the data sets, in any order; none: one norm for all, without a context.
        context: E.
        momentum: of the running statistics.
    """

    def __init__(
        self,
        channels: int,
        datasets: tuple[str, ...] = (),
        context: int = 256,
        *,
        momentum: float = MOMENTUM,
    ) -> None:
        super().__init__()
        self.plain = None if datasets else VoxelNorm(channels, momentum)
        self.of = nn.ModuleDict({name: VoxelNorm(channels, momentum) for name in datasets})
        self.modulation = nn.Linear(context, 2 * channels) if datasets else None
        if self.modulation is not None:
            nn.init.trunc_normal_(self.modulation.weight, std=0.02)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, features_MC: Tensor, dataset: str | None = None, context_E: Tensor | None = None
    ) -> Tensor:
        """Normalise the voxels of one batch.

        Args:
            features_MC: (M, C), all of one data set.
            dataset: its name, where there are several.
            context_E: (E,) its context, likewise.

        Returns:
            (M, C).

        Raises:
            UserError: no norm of that data set.
        """
        if self.plain is not None or self.modulation is None:
            return self.plain(features_MC)  # type: ignore[misc]
        check_dataset(dataset, tuple(self.of))
        shift, scale = self.modulation(nn.functional.silu(context_E)).chunk(2)
        return self.of[dataset](features_MC) * (1 + scale) + shift  # type: ignore[index]


def check_dataset(dataset: str | None, known: tuple[str, ...]) -> None:
    """Refuse a data set that has no norm.

    Raises:
        UserError: it is none of the known ones.
    """
    if dataset not in known:
        which = "none was named" if dataset is None else f"there is none for {dataset!r}"
        raise UserError(
            f"the backbone has norms for {', '.join(known)}, and {which}: a batch comes from one of these "
            "data sets; name it, or train with that data set"
        )
