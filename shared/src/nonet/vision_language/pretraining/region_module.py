"""Training of an image-text model on pairs, and of a patch detector on regions beside them (COPA, TiMix).

One backward pass for the sum of all losses. The released code takes an optimiser step of its own for regions.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.runs import Run
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses, PairStep, Terms
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_module import Moment, PairModule
from nonet.vision_language.pair_optimizer import PairRates
from nonet.vision_language.patch_alignment import patch_alignment_loss, region_logits
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.pretraining.zero_shot import ZeroShot

# Shapes: E regions, N patches.


class RegionModule(PairModule):
    """An image-text model, and a patch detector that learns from the key `regions` of a batch, if there.

    Logs, beside what `PairModule` does, `train/pta` (the weighted loss of the detector; 0 in a step without
    regions), its accuracy and recall, and `val/TR@1` ... `val/R-mean` of zero-shot retrieval, percent.

    Args:
        model: what is trained.
        losses: of pairs.
        rates: of the optimiser.
        steps: of the whole run.
        steps_per_epoch: of a pass through the pairs.
        detector: the patch detector; None: none.
        pta_weight: of its loss.
        block: vision block behind which it looks, from 0.
        twin, queue, alpha, seed: as of `PairModule`.
    """

    def __init__(
        self,
        model: PairModel,
        losses: PairLosses,
        rates: PairRates,
        *,
        steps: int,
        steps_per_epoch: int,
        detector: PatchDetector | None = None,
        pta_weight: float = 1.0,
        block: int = 0,
        twin: Twin | None = None,
        queue: FeatureQueue | None = None,
        alpha: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, losses, rates, steps=steps, steps_per_epoch=steps_per_epoch, twin=twin, queue=queue,
            alpha=alpha, seed=seed,
        )  # fmt: skip
        self.detector, self.pta_weight, self.block = detector, pta_weight, block
        self.zero_shot = ZeroShot()

    @property
    def learns_regions(self) -> bool:
        """Whether there is a detector that is trained."""
        return self.detector is not None and any(each.requires_grad for each in self.detector.parameters())

    def learns(self) -> list[str]:
        """Names of the losses that a run has."""
        return [*self.losses.weights, *(["pta"] if self.learns_regions else [])]

    def callbacks(self, run: Run) -> list[L.Callback]:
        """What a run with this module needs beside the callbacks of every run; nothing here."""
        return []

    def extra_terms(self, batch: dict[str, Any], found: PairStep, moment: Moment) -> Terms:
        """The loss of regions."""
        return {"pta": self.region_term(batch, found.logged)} if self.learns_regions else {}

    def region_term(self, batch: dict[str, Any], logged: Terms) -> tuple[Tensor, Tensor]:
        """The detector's weighted loss, summed over regions, and their number.

        A step without regions gives its weights a gradient of 0, which DDP wants.

        Args:
            batch: with `regions`, as `RegionBatches` gives them, or without.
            logged: takes accuracy and recall.
        """
        assert self.detector is not None
        regions = batch.get("regions")
        if regions is None:
            nothing = torch.stack([each.sum() for each in self.detector.parameters()]).sum() * 0
            return nothing, nothing.new_zeros((), dtype=torch.int64)
        logits = region_logits(self.model, self.detector, regions, self.block)
        found = patch_alignment_loss(logits, regions["masks"])
        count = torch.tensor(len(logits), device=logits.device)
        for name in ("accuracy", "recall"):
            logged[f"pta_{name}"] = (found.aux[name] * count, count)
        logged |= self.region_notes(logits.detach(), regions["masks"])
        return self.pta_weight * found.loss * count, count

    def region_notes(self, logits: Tensor, masks: Tensor) -> Terms:
        """What else is worth logging of a batch of regions, as sums and counts by name; nothing here.

        Args:
            logits: (E, N, 2) of the detector.
            masks: (E, N) bool, the patches of each text.
        """
        return {}

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """Features of a batch of images and of their captions."""
        self.zero_shot.add(self.model, batch)

    def on_validation_epoch_end(self) -> None:
        """Zero-shot retrieval over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self.zero_shot.take().items()}, batch_size=1)
