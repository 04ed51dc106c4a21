"""A backbone with a head that names every voxel."""

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from ponderv2.batches import Batch
from ponderv2.segmentation_loss import SegmentationLoss
from ponderv2.spunet import SpUNet

# Shapes: M voxels, C channels, K classes.


class PromptedBackbone(nn.Module):
    """A backbone that knows by which data set's norms a batch goes.

    Args:
        backbone: with norms for one or several data sets.
        prompt: the data set whose norms others use.
    """

    def __init__(self, backbone: SpUNet, prompt: str | None = None) -> None:
        super().__init__()
        known = backbone.config.datasets
        if prompt is not None and prompt not in known:
            raise UserError(
                f"prompt is {prompt}, but the backbone has "
                + (f"norms for {', '.join(known)}" if known else "one norm for all: leave prompt out")
            )
        self.backbone, self.prompt = backbone, prompt

    @property
    def width(self) -> int:
        """C."""
        return self.backbone.out_channels

    def forward(self, batch: Batch) -> Tensor:
        """(M, C) features of a batch's voxels.

        Raises:
            UserError: there are no norms for its data set, and no prompt.
        """
        known = self.backbone.config.datasets
        dataset = self.prompt if known and batch.dataset not in known and self.prompt else batch.dataset
        features: Tensor = self.backbone(batch.features, batch.cells, dataset)
        return features


class Segmentor(nn.Module):
    """Class scores of voxels, and their loss.

    Args:
        features: the backbone.
        head: takes (M, C) features and the name of a data set; of `semantic_heads`.
        lovasz: weight of the Lovasz loss.
        only: a data set's name that the head is asked for whatever the batch's is, where it knows only one.
    """

    def __init__(
        self, features: PromptedBackbone, head: nn.Module, *, lovasz: float = 0.0, only: str | None = None
    ) -> None:
        super().__init__()
        self.features, self.head, self.only = features, head, only
        self.loss = SegmentationLoss(lovasz=lovasz)

    def forward(self, batch: Batch) -> Tensor:
        """(M, K) class scores."""
        scores: Tensor = self.head(self.features(batch), self.only or batch.dataset)
        return scores

    def losses(self, scores_MK: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Name -> weighted scalar, of what `forward` gave.

        Raises:
            UserError: the batch has no labels.
        """
        if batch.semantic is None:
            raise UserError(f"{', '.join(batch.names)}: no labels to learn from")
        terms: dict[str, Tensor] = self.loss(scores_MK, batch.semantic)
        return terms


@torch.no_grad()
def probabilities(scores_MK: Tensor) -> Tensor:
    """(M, K) float32 softmax of class scores, on the CPU."""
    return scores_MK.float().softmax(1).cpu()
