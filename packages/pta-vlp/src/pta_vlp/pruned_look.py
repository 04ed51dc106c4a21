"""What training sees of the images of a batch: fewer patches, selected with or without their texts.

Source: sections on selection of COPA (Jiang et al. 2023), and TiMix's released code, which hands a share
`alpha` of the detector around: 0 in the main pass of pre-training, rising from 0 to 1 where regions are
learned, 1 in fine-tuning. With a share above 0 in the main pass an image's features have seen its own
caption, which no ranking can do; so the contrast of images and texts gets features that were selected without
a text, and matching may select anew for the text of each pair, right or wrong (ours).
"""

import dataclasses
from typing import Any

from torch import Tensor

from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_passes import Seen
from nonet.vision_language.patch_detector import PatchDetector
from pta_vlp.pruned_vision import PrunedVision, Trunk
from pta_vlp.select_options import SelectOptions

# Shapes: B pairs, P pairs of an image and a text, N patches, S tokens that go on, L of a text, d width.


class PrunedLook:
    """Images to the tokens that are kept, as `PairLosses` takes it; its numbers may change between steps.

    Args:
        options: of the selection, such as those that the model is saved with.
        alpha: share of the detector in the main pass; the attention of CLS has the rest. Selections that do
            not ask the text do not look at it.
        again: `pairs` will be asked: keep what it takes.

    Attributes:
        keep: share of the patches that is kept now.
        alpha: as the argument.
        pair_alpha: share of the detector where patches are selected for the text of a pair.
    """

    def __init__(self, options: SelectOptions, *, alpha: float = 0.0, again: bool = False) -> None:
        self.options, self.alpha, self.again = options, alpha, again
        self.keep, self.pair_alpha = options.keep, 1.0
        self._detectors: list[tuple[PairModel, PatchDetector]] = []

    def use(self, model: PairModel, detector: PatchDetector) -> None:
        """Ask this detector for the patches of this model; the twin has a twin of it."""
        self._detectors.append((model, detector))

    def __call__(self, model: PairModel, batch: dict[str, Any]) -> Seen:
        """Tokens of the kept patches.

        Args:
            model: the trained one or its twin.
            batch: `images` (B, 3, H, W); for a share of the detector above 0 `input_ids` and `attention_mask`
                (B, L), too, which are then encoded once more.
        """
        main, detector = self.main, self._detector(model)
        again = self.again and detector is not None
        vision = PrunedVision(model.vision, detector, self._mixed(1.0) if again else main)
        trunk = vision.trunk(batch["images"])
        text = model.encode_text(batch["input_ids"], batch["attention_mask"])[:, 0] if main.by_text else None
        vision.options = main
        return Seen(vision.finish(trunk, text).tokens, trunk=trunk if again else None)

    def pairs(self, model: PairModel, seen: Seen, images: Tensor, text: Tensor) -> Tensor:
        """Image tokens for the text of each pair, from the blocks before the selection on.

        Args:
            model: that saw the images.
            seen: what it saw, with its trunk.
            images: (P,) int64 in 0..B-1, the image of each pair.
            text: (P, L, d) tokens of its text; no gradient flows back to them from here.

        Returns:
            (P, S, d).
        """
        trunk: Trunk = seen.trunk
        vision = PrunedVision(model.vision, self._detector(model), self._mixed(self.pair_alpha))
        return vision.finish(trunk, text[:, 0], images).tokens

    def images(self, model: PairModel, images: Tensor) -> Tensor:
        """Tokens of images (B, 3, H, W) without texts, as the main pass selects them with alpha 0."""
        return PrunedVision(model.vision, None, self.without_text)(images, None).tokens

    @property
    def main(self) -> SelectOptions:
        """The selection of the main pass."""
        return self._mixed(self.alpha) if self.alpha and self.options.by_text else self.without_text

    @property
    def without_text(self) -> SelectOptions:
        """The selection with the attention of CLS in place of the detector."""
        selection = "attention" if self.options.by_text else self.options.selection
        return dataclasses.replace(self.options, selection=selection, keep=self.keep)

    def _mixed(self, alpha: float) -> SelectOptions:
        return dataclasses.replace(self.options, selection="mixed", alpha=alpha, keep=self.keep)

    def _detector(self, model: PairModel) -> PatchDetector | None:
        return next((detector for known, detector in self._detectors if known is model), None)
