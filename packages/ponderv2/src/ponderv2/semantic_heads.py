"""Heads that turn a voxel's features into class scores: a linear layer, or likeness to the classes' names.

The second one is that of joint training on several data sets (Wu et al. 2024, Point Prompt Training, section
3.3; PonderV2's PPT-v1m1): the scores are exp(logit_scale) * cos(projection(feature), vector of the name), so
that "chair" of two data sets is one class. The scale is not trained: it is that of the text encoder.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonet.errors import UserError

# Shapes: M voxels, C channels, K classes, D width of a text vector.

LOGIT_SCALE = math.log(100.0)  # of CLIP ViT-B/16, which clips it at 100


class LinearHead(nn.Module):
    """One linear layer for each data set.

    Args:
        width: channels of a feature.
        classes: each data set's name to its number of classes K.
    """

    def __init__(self, width: int, classes: Mapping[str, int]) -> None:
        super().__init__()
        if not classes:
            raise ValueError("a head needs the classes of at least one data set")
        self.datasets = tuple(classes)
        self.linear = nn.ModuleList(nn.Linear(width, count) for count in classes.values())

    def forward(self, features_MC: Tensor, dataset: str | None = None) -> Tensor:
        """(M, K) scores of the classes of that data set; it may be left out where there is but one.

        Raises:
            UserError: a data set that the head has no classes of.
        """
        scores: Tensor = self.linear[dataset_place(self.datasets, dataset)](features_MC)
        return scores


class LanguageHead(nn.Module):
    """Likeness to the class names of the voxel's data set.

    Args:
        width: channels of a feature.
        text: each data set's name to the (K, D) vectors of its class names, of any length but zero.
        logit_scale: natural logarithm of the factor.
    """

    def __init__(self, width: int, text: Mapping[str, Tensor], *, logit_scale: float = LOGIT_SCALE) -> None:
        super().__init__()
        if not text:
            raise ValueError("a head by names needs the vectors of at least one data set")
        widths = {int(vectors.shape[1]) for vectors in text.values()}
        if len(widths) > 1:
            raise ValueError(f"text vectors of several widths: {sorted(widths)}")
        self.datasets = tuple(text)
        self.project = nn.Linear(width, widths.pop())
        self.register_buffer("logit_scale", torch.tensor(float(logit_scale)))
        for place, vectors in enumerate(text.values()):  # a data set's name may have a dot in it
            self.register_buffer(f"text_{place}", F.normalize(vectors.float(), dim=1))

    def forward(self, features_MC: Tensor, dataset: str | None = None) -> Tensor:
        """(M, K) scores of the classes of that data set; it may be left out where there is but one.

        Raises:
            UserError: a data set that the head has no names of.
        """
        text = self.text_of(dataset)
        with torch.autocast(features_MC.device.type, enabled=False):  # 100 times a cosine wants its digits
            likeness = F.normalize(self.project(features_MC.float()), dim=1) @ text.T
            scores: Tensor = self.logit_scale.exp() * likeness  # type: ignore[operator]
        return scores

    def text_of(self, dataset: str | None) -> Tensor:
        """(K, D) unit vectors of a data set's class names."""
        place = dataset_place(self.datasets, dataset)
        vectors: Tensor = getattr(self, f"text_{place}")
        return vectors


def dataset_place(datasets: Sequence[str], dataset: str | None) -> int:
    """Where a data set stands in a list, by its name.

    Raises:
        UserError: it is not in the list, or none is named and there are several.
    """
    if dataset is None and len(datasets) == 1:
        return 0
    if dataset is None or dataset not in datasets:
        asked = "none" if dataset is None else dataset
        raise UserError(
            f"data set {asked}: the model was trained on {', '.join(datasets)}; "
            "name one of them, as its norms and class names differ"
        )
    return list(datasets).index(dataset)
