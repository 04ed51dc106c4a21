"""The vision tower in two halves: a trunk once per image, the rest once per image and text (section 7; ours).

The blocks up to the selection do not know the text. So `trunk` runs them once per image, with the part of the
detector that depends on the image, and `finish` selects and runs the rest for each pair: five questions about
an image cost one trunk and five short rests. A selection that does not ask the text is finished once per
image, too, and handed to all its texts.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.vision import VisionTower
from pta_vlp.patch_selection import kept_count, select, selection_scores
from pta_vlp.select_options import SelectOptions

# Shapes: B images, E pairs of one image and one text, N patches, S tokens that go on, d width, h = d / 2.


class Trunk(NamedTuple):
    """What texts about the same images share.

    Attributes:
        tokens: (B, 1 + N, d) behind the block of the selection.
        image_part: (B, N, h), the detector's part that depends on the image; None: the text is not asked.
        attention: (B, N) float32, scores without a text: shares of CLS's attention in that block, or random
            numbers for selection random; None: not needed.
    """

    tokens: Tensor
    image_part: Tensor | None
    attention: Tensor | None

    def of(self, images: Tensor) -> "Trunk":
        """The part of some images (B',), int64 numbers or a mask."""
        return Trunk(*(None if part is None else part[images] for part in self))  # type: ignore[arg-type]


class Pruned(NamedTuple):
    """What the vision tower makes of images and texts.

    Attributes:
        tokens: (E, S, text width), finished: CLS, kept patches, and the fused token if there is one.
        kept: (E, k) int64 ascending, numbers of the kept patches; None: all are kept.
        scores: (E, N) float32, what they were selected by; None: all are kept.
    """

    tokens: Tensor
    kept: Tensor | None
    scores: Tensor | None


class PrunedVision(nn.Module):  # type: ignore[misc]
    """A vision tower that keeps the patches that the text asks for.

    Args:
        vision: the tower.
        detector: how much a patch has to do with a text; None: for selections without one.
        options: of the selection. `keep`, `fuse` and `alpha` may be replaced between `trunk` and `finish`:
            assign another `SelectOptions` to the attribute.

    Raises:
        UserError: the tower has no such block, or the selection needs a detector.

    Example:
        >>> pruned = PrunedVision(model.vision, detector, SelectOptions(keep=0.5))
        >>> trunk = pruned.trunk(images)  # once for B images
        >>> tokens = pruned.finish(trunk, text_cls, of_image).tokens  # for E texts about them
    """

    def __init__(self, vision: VisionTower, detector: PatchDetector | None, options: SelectOptions) -> None:
        super().__init__()
        self.vision, self.detector = vision, detector
        self.options = options

    @property
    def options(self) -> SelectOptions:
        """Of the selection."""
        return self._options

    @options.setter
    def options(self, options: SelectOptions) -> None:
        if options.selection != "off" and options.block >= self.vision.depth:
            raise UserError(
                f"block {options.block}: the vision tower has blocks 0 to {self.vision.depth - 1}; set "
                "select.block to one of them"
            )
        if options.by_text and self.detector is None:
            raise UserError(
                f"selection {options.selection} needs a patch detector, which learns from regions, and the "
                "model has none: train one, or take selection attention, random or off"
            )
        self._options = options

    @property
    def plain(self) -> bool:
        """Whether all patches are kept."""
        return self.options.selection == "off" or self.options.keep == 1

    def trunk(self, images: Tensor, *, with_text: bool = True) -> Trunk:
        """What all texts about the images share.

        Args:
            images: (B, 3, H, W) float, normalised.
            with_text: texts will come; without them a selection by text falls back to CLS's attention, and a
                warning says so.
        """
        options, vision = self.options, self.vision
        before = vision.blocks(vision.embed(images), 0, options.block)
        tokens = vision.blocks(before, options.block, options.block + 1)
        part = attention = None
        if options.by_text and with_text and self.detector is not None:
            part = self.detector.image_part(tokens[:, 1:])
        if options.selection == "random":
            attention = torch.rand(tokens[:, 1:, 0].shape, device=tokens.device)
        elif options.selection in ("attention", "mixed") or (options.by_text and not with_text):
            attention = vision.cls_attention(before, options.block)
        return Trunk(tokens, part, attention)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def scores(self, trunk: Trunk, text_cls: Tensor | None, of_image: Tensor | None = None) -> Tensor:
        """What patches are selected by, without a gradient; see `patch_selection`.

        Args:
            trunk: of B images.
            text_cls: (E, text width), CLS of the texts behind the text encoder; None: without texts.
            of_image: (E,) int64 in 0..B-1, the image of each text; None: text i is about image i.

        Returns:
            (E, N) float32; (B, N) without texts or `of_image`.

        Raises:
            ValueError: the trunk lacks what the selection needs.
        """
        attention = _rows(trunk.attention, of_image)
        if not self.options.by_text:
            return selection_scores(None, attention, 0.0)
        if text_cls is None:
            if attention is None:
                raise ValueError("a selection by text without a text: make the trunk with with_text=False")
            warnings.warn(
                f"selection {self.options.selection} without a text: the attention of CLS keeps patches",
                stacklevel=2,
            )
            return selection_scores(None, attention, 0.0)
        detector, part = self.detector, _rows(trunk.image_part, of_image)
        if detector is None or part is None:
            raise ValueError(f"selection {self.options.selection}: the trunk was made without texts")
        log_scores = detector.log_score(detector.join(part, detector.text_part(text_cls)))
        alpha = self.options.alpha if self.options.selection == "mixed" else 1.0
        return selection_scores(log_scores, attention, alpha)

    def finish(self, trunk: Trunk, text_cls: Tensor | None, of_image: Tensor | None = None) -> Pruned:
        """The rest of the tower for pairs of images and texts; arguments and errors as those of `scores`."""
        options, rest = self.options, self.options.block + 1
        if options.late and not self.plain:  # the scores first: a text that is missing is an error at once
            scores = self.scores(trunk, text_cls, of_image)
            tokens = self.vision.finish(self.vision.blocks(trunk.tokens, rest))
            found = select(tokens, scores, options.keep, options.fuse, of_image=of_image)
            return Pruned(found.tokens, found.kept, scores)
        if self.plain or not (options.by_text and text_cls is not None):  # the text changes nothing
            tokens, kept, scores = trunk.tokens, None, None
            if not self.plain:
                tokens, kept, scores = select(tokens, self.scores(trunk, None), options.keep, options.fuse)
            tokens = self.vision.finish(self.vision.blocks(tokens, rest))
            return Pruned(*(_rows(part, of_image) for part in (tokens, kept, scores)))  # type: ignore[arg-type]
        scores = self.scores(trunk, text_cls, of_image)
        found = select(trunk.tokens, scores, options.keep, options.fuse, of_image=of_image)
        return Pruned(self.vision.finish(self.vision.blocks(found.tokens, rest)), found.kept, scores)

    def forward(self, images: Tensor, text_cls: Tensor | None, of_image: Tensor | None = None) -> Pruned:
        """Both halves; a gradient passes to the tower, from kept and fused patches.

        Args:
            images: (B, 3, H, W) float, normalised.
            text_cls: (E, text width), or None without texts.
            of_image: (E,) int64, the image of each text; None: text i is about image i.
        """
        return self.finish(self.trunk(images, with_text=text_cls is not None), text_cls, of_image)

    def kept(self) -> int:
        """How many patches go on, of those of an image."""
        rows, columns = self.vision.grid
        return rows * columns if self.plain else kept_count(self.options.keep, rows * columns)


def _rows(part: Tensor | None, of_image: Tensor | None) -> Tensor | None:
    return part if part is None or of_image is None else part[of_image]
