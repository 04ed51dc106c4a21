"""Random query patch detection: find patches of an image in it (Dai et al. 2021, UP-DETR, section 3).

A frozen backbone turns each of M patches into one feature p_j. Of the N object queries each patch gets a
group of N / M consecutive ones, to which W p_j is added; groups do not see each other in the decoder's
self-attention, and one addend in ten is zeroed in training. A head says the feature of the patch it found.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.data.batching import generator
from nonet.errors import UserError
from updetr.backbone_base import Backbone
from updetr.batches import Images, Outputs
from updetr.detector import MLP

# Shapes: B images, M patches an image in training and any smaller number elsewhere, P x P pixels, T tokens of
# a patch, C channels of the backbone, N queries, d their size, L decoder layers.

MASKED = 0.1  # share of queries that are not told their patch in training


class PatchDetector(nn.Module):
    """A detector that is told what to look for.

    Args:
        detector: any with the interface of `updetr.detector.Detector`.

    Attributes:
        detector: as given.
        patch2query: linear, C to d.
        feature_align: d to C through d: what a query says its patch looks like; None without reconstruction.

    Raises:
        UserError: a patch has more tokens than queries.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        config = detector.config
        if not 1 <= config.patch_tokens**2 <= config.group:
            raise UserError(
                f"patch_tokens is {config.patch_tokens}: {config.patch_tokens**2} tokens of a patch are more "
                f"than its {config.group} queries"
            )
        channels, width = detector.backbone.channels[-1], config.width
        self.detector = detector
        self.patch2query = nn.Linear(channels, width)
        self.feature_align = MLP(width, width, channels) if config.reconstruct else None

    def forward(
        self,
        images: Any,
        features: Tensor,
        *,
        keep_BN: Tensor | None = None,
        order: Tensor | None = None,
        group: int | None = None,
    ) -> Outputs:
        """Look for patches in images.

        Args:
            images: `Images`, or what the detector's `encode` made of them.
            features: of M patches or fewer, see `patch_features`.
            keep_BN: (B, N) bool, False for queries that are not told their patch; see `keep_queries`.
            order: (N,) int64, the object queries in another order; see `shuffled_queries`.
            group: queries of a patch; by default N / M.

        Returns:
            Answers of the patches' groups one after the other: with fewer patches those of the first groups.

        Raises:
            ValueError: more patches than groups.
        """
        config = self.detector.config
        patches, group = features.shape[1], group or config.group
        queries = patches * group
        if queries > config.queries:
            raise ValueError(f"{patches} patches of {group} queries are more than {config.queries} queries")
        memory = self.detector.encode(images) if isinstance(images, Images) else images
        told = self.added(features, group, keep_BN)
        outputs, states = self.detector.decode_with_states(
            memory, query_extra=told, groups=patches, queries=queries, order=order
        )
        if self.feature_align is None:
            return outputs
        return outputs._replace(features=self.feature_align(states))

    def added(self, features: Tensor, group: int, keep_BN: Tensor | None = None) -> Tensor:
        """What is added to the object queries, (B, M * group, d).

        Args:
            features: (B, M, C) or (B, M, T, C); T tokens share the queries of their patch evenly.
            group: queries of a patch.
            keep_BN: (B, M * group) bool, False where nothing is added.
        """
        tokens_BMTd = self.patch2query(features if features.dim() == 4 else features[:, :, None])
        of_query = torch.arange(group, device=features.device) * tokens_BMTd.shape[2] // group
        added = tokens_BMTd[:, :, of_query].flatten(1, 2)
        return added if keep_BN is None else added * keep_BN[..., None]

    def patch_features(self, patches: Tensor, *, backbone: Backbone | None = None) -> Tensor:
        """Features of patches: the backbone's map averaged. A gradient passes where the backbone is trained.

        Args:
            patches: (B, M, 3, P, P) float, normalised.
            backbone: computes them instead of the detector's, such as its folded form.

        Returns:
            (B, M, C); with k x k tokens a patch (B, M, k * k, C), row by row.
        """
        tokens = self.detector.config.patch_tokens
        found = (backbone or self.detector.backbone)(patches.flatten(0, 1))[-1]
        pooled = F.adaptive_avg_pool2d(found, tokens).flatten(2).transpose(1, 2)
        pooled = pooled.unflatten(0, patches.shape[:2]).float()
        return pooled[:, :, 0] if tokens == 1 else pooled


def patch_means(features: Tensor) -> Tensor:
    """One feature a patch, (B, M, C), of those of its tokens: what the reconstruction head shall say."""
    return features if features.dim() == 3 else features.mean(2)


def keep_queries(
    seed: int, step: int, rows: Tensor | list[int], queries: int, *, masked: float = MASKED
) -> Tensor:
    """Which queries are told their patch: each with probability 1 - masked, apart from all others.

    Args:
        seed: of the run.
        step: of the training.
        rows: numbers of the images in the batch of all processes, so that a share of it draws the same.
        queries: N.
        masked: share of queries that are not told.

    Returns:
        (rows, N) bool on the CPU.
    """
    rows = np.asarray(rows, np.int64)
    drawn = generator(seed, "query mask", step).random((int(rows.max(initial=-1)) + 1, queries), np.float32)
    return torch.from_numpy(drawn[rows] >= masked)


def shuffled_queries(seed: int, step: int, queries: int) -> Tensor:
    """The object queries in a random order, (N,) int64: with every step others are together."""
    return torch.from_numpy(generator(seed, "query order", step).permutation(queries))
