"""Patch-text alignment: the patch detector learns which patches lie in the box that a text is about.

The loss of COPA (Jiang et al. 2023) and TiMix (Jiang et al. 2024), cross entropy over all patches of all
texts, without weights. The vision transformer runs once an image, whatever the number of its texts, and only
as far as the detector looks (ours: the released code ran all blocks for every text).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.vision_language.objectives.objective import Objective, widen
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector

# Shapes: R images, E texts of regions, each of one of the images, N patches, L word pieces, d width.


def patch_alignment_loss(logits: Tensor, masks: Tensor) -> Objective:
    """Mean cross entropy of all patches of all texts; equal logits give ln 2 = 0.693147.

    Args:
        logits: (E, N, 2), as the detector gives them; log-probabilities give the same loss.
        masks: (E, N) bool, the patches of each text's box.

    Returns:
        The loss, 0 with a gradient for no texts; aux: accuracy of the patches, recall of those in boxes.

    Raises:
        ValueError: logits and masks do not fit.
    """
    if logits.shape != (*masks.shape, 2):
        raise ValueError(f"logits {tuple(logits.shape)} do not fit masks {tuple(masks.shape)}")
    values, labels = widen(logits).reshape(-1, 2), masks.flatten()
    loss = F.cross_entropy(values, labels.long(), reduction="sum") / max(len(labels), 1)
    said = values.detach().argmax(-1).bool()
    hits = (said == labels).float()
    aux = {
        "accuracy": hits.sum() / max(len(labels), 1),
        "recall": (hits * labels).sum() / labels.sum().clamp(min=1),
    }
    return Objective(loss, aux)


def region_logits(model: PairModel, detector: PatchDetector, batch: Mapping[str, Any], block: int) -> Tensor:
    """The detector's logits for a batch of regions; gradients reach blocks up to `block`, and the text tower.

    Args:
        model: whose towers are used.
        detector: of their widths.
        batch: `images` (R, 3, H, W), `of_image` (E,) int64 in 0..R-1, `input_ids` (E, L) and
            `attention_mask` (E, L), as `RegionCollate` makes them.
        block: after which block of the vision transformer, from 0, the detector looks.

    Returns:
        (E, N, 2).
    """
    tokens = model.vision.blocks(model.vision.embed(batch["images"]), 0, block + 1)
    text = model.encode_text(batch["input_ids"], batch["attention_mask"])[:, 0]
    return detector(tokens[:, 1:], text, batch["of_image"])


class PatchMeasures:
    """How well patches of boxes are found, over many batches.

    Args:
        keep: shares of an image's patches that are kept, those of the highest scores; of equal ones the
            first.

    Raises:
        ValueError: a share that is not in (0, 1].
    """

    def __init__(self, keep: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        if not all(0 < share <= 1 for share in keep):
            raise ValueError(f"keep is {list(keep)}; shares lie in (0, 1]")
        self.keep = tuple(keep)
        self._scores: list[Tensor] = []
        self._masks: list[Tensor] = []
        self._kept = dict.fromkeys(self.keep, 0)

    def add(self, scores: Tensor, masks: Tensor) -> None:
        """Take a batch.

        Args:
            scores: (E, N) in 0..1, probability that a patch is the text's.
            masks: (E, N) bool.
        """
        scores, masks = scores.detach().float().cpu(), masks.bool().cpu()
        order = scores.argsort(dim=1, descending=True, stable=True)
        sorted_masks = masks.gather(1, order)
        for share in self.keep:
            # 0.29 of 100 is 28.999999999999996, and 29 are meant
            count = max(1, int(share * masks.shape[1] + 1e-9))
            self._kept[share] += int(sorted_masks[:, :count].sum())
        self._scores.append(scores.flatten())
        self._masks.append(masks.flatten())

    def result(self) -> dict[str, float]:
        """The measures so far.

        Returns:
            `accuracy`, `precision`, `recall` and `f1` at 0.5; `ap`, average precision over all patches, equal
            scores taken together; `recall@K` for each share kept: of the patches in boxes, those among the
            kept. 0 where there is nothing to count.
        """
        if not self._scores:
            return dict.fromkeys(
                ["accuracy", "precision", "recall", "f1", "ap", *map(_recall_name, self.keep)], 0.0
            )
        scores, masks = torch.cat(self._scores), torch.cat(self._masks)
        said, true = scores > 0.5, int(masks.sum())
        hits = int((said & masks).sum())
        found = {
            "accuracy": float((said == masks).double().mean()) if len(masks) else 0.0,
            "precision": hits / max(int(said.sum()), 1),
            "recall": hits / max(true, 1),
            "f1": 2 * hits / max(int(said.sum()) + true, 1),
            "ap": average_precision(scores, masks),
        }
        return found | {_recall_name(share): count / max(true, 1) for share, count in self._kept.items()}


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Mean precision at each true item, from high scores to low; equal scores are one step.

    Args:
        scores: (n,) float.
        labels: (n,) bool.

    Returns:
        In 0..1; 0 without a true item. Scores 3, 2, 1 of true, false, true give (1 + 2/3) / 2.
    """
    true = int(labels.sum())
    if not true:
        return 0.0
    order = scores.argsort(descending=True, stable=True)
    ranked = scores[order]
    hits = labels[order].double().cumsum(0)
    last = torch.ones_like(ranked, dtype=torch.bool)  # of each group of equal scores
    last[:-1] = ranked[1:] != ranked[:-1]
    places = last.nonzero().flatten()
    hits = hits[places]
    gained = hits.diff(prepend=hits.new_zeros(1))
    return float((gained * hits / (places + 1)).sum() / true)


def _recall_name(share: float) -> str:
    return f"recall@{share:g}"
