"""Pre-training on fewer patches: contrast, matching, masked words, the rest of a text, and alignment (COPA).

The sum of the five losses of the paper (Jiang et al. 2023) in one backward pass; TiMix's released code takes
a step of its own for the alignment. Patches leave half-way through the vision transformer (`PrunedLook`), so
that the later blocks, the fusion and the decoder see short images, and so does the momentum model.
"""

from typing import Any

import torch
from torch import Tensor

from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses, PairStep, Terms
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_module import Moment
from nonet.vision_language.pair_optimizer import PairRates
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.pretraining.region_module import RegionModule
from nonet.vision_language.pretraining.zero_shot import ZeroShot
from pta_vlp.patch_selection import kept_count, recall_at_keep
from pta_vlp.pruned_look import PrunedLook

# Shapes: E regions, N patches.


class PtaModule(RegionModule):
    """An image-text model that sees the patches that are kept, and its patch detector.

    Logs, beside what `RegionModule` does, `train/keep`, the share of the patches that is kept, and
    `train/pta_recall@keep`, the share of regions' patches among those that the detector would keep of them.
    Zero-shot retrieval sees the patches that the main pass without a text keeps.

    Args:
        model: what is trained.
        losses: of pairs; its `see` is `look`.
        rates: of the optimiser.
        steps: of the whole run.
        steps_per_epoch: of a pass through the pairs.
        look: what is seen of images; the detectors are given to it here.
        keep_ramp: passes over which the share that is kept falls from 1 to that of the selection; 0: none.
        detector: the patch detector; None: none.
        pta_weight: of its loss.
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
        look: PrunedLook,
        keep_ramp: float = 0.0,
        detector: PatchDetector | None = None,
        pta_weight: float = 1.0,
        twin: Twin | None = None,
        queue: FeatureQueue | None = None,
        alpha: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, losses, rates, steps=steps, steps_per_epoch=steps_per_epoch, detector=detector,
            pta_weight=pta_weight, block=look.options.block, twin=twin, queue=queue, alpha=alpha, seed=seed,
        )  # fmt: skip
        self.look, self.keep_ramp = look, keep_ramp
        self.zero_shot = ZeroShot(look.images)
        self.detector_twin: Twin | None = None
        if detector is not None:
            look.use(model, detector)
            if twin is not None and look.main.by_text:  # as the twin's patches are asked for, too
                self.detector_twin = Twin(detector, twin.decay)
                look.use(twin.model, self.detector_twin.model)

    def keep_at(self, moment: Moment) -> float:
        """The share of the patches that is kept at a moment."""
        least = self.look.options.keep
        if not self.keep_ramp:
            return least
        return 1 - (1 - least) * min(1.0, moment.epochs / self.keep_ramp)

    def main_terms(self, batch: dict[str, Any], moment: Moment) -> PairStep:
        """The losses of a batch of pairs, with the patches that are kept now."""
        self.look.keep, self.look.pair_alpha = self.keep_at(moment), moment.first_epoch
        if self.detector_twin is not None and moment.micro_batch == 0 and moment.step > 0:
            assert self.detector is not None
            self.detector_twin.update(self.detector)
        found = super().main_terms(batch, moment)
        one = torch.ones((), device=found.tau.device)
        found.logged["keep"] = (self.look.keep * one, one)
        return found

    def kind_of_step(self, batch: dict[str, Any], batch_idx: int) -> str:
        """While the share that is kept falls, batches of each number of patches are counted apart."""
        kind = super().kind_of_step(batch, batch_idx)
        if not self.keep_ramp:
            return kind
        rows, columns = self.model.vision.grid
        return f"{kind}, {kept_count(self.keep_at(self.moment(batch_idx)), rows * columns)} patches"

    def region_notes(self, logits: Tensor, masks: Tensor) -> Terms:
        """Which share of the regions' patches the detector would keep."""
        count = kept_count(self.look.options.keep, masks.shape[1])
        kept = PatchDetector.log_score(logits).topk(count, dim=1).indices
        found = recall_at_keep(kept, masks)
        return {"pta_recall@keep": (found.sum(), torch.tensor(len(found), device=found.device))}
