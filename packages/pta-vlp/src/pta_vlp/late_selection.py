"""Late selection: the matching head looks at the patches that a text asks for, the index at all of them.

The two stages of retrieval want different things of an image. Its feature must not depend on a text, so the
vision tower runs at full length, once. Behind it each candidate text keeps the finished tokens that it asks
for, and the fusion sees those alone: CLS, k patches, and the fused token. Ours: the released code's retrieval
drops nothing.

Keys and values are linear in the tokens but for a bias, and the fused token's weights add up to 1. So they
are computed once per image, and selected and fused in place of the tokens, with the same result. Fine-tuning
matches pairs on the same tokens.
"""

from typing import Any

import torch
from torch import Tensor

from nonet.vision_language.bert_layers import Keys
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_passes import Seen
from nonet.vision_language.tasks.pair_matching import EncodedTexts, Matching, SeenImages
from pta_vlp.patch_selection import select
from pta_vlp.pruned_vision import PrunedVision, Trunk

# Shapes: B images, n texts, N patches, S = 1 + N tokens, S' of a selection, d width, H heads, E = d / H.


class LateMatching(Matching):
    """Pairs scored on the patches that the text asks for, behind a tower that ran once per image.

    Args:
        model: in evaluation mode when it is used.
        pruned: the model's tower, with a selection by text and a detector; its options may change between
            calls.

    Raises:
        ValueError: the selection does not ask the text: then `Matching` with `pruned` in front does it.
    """

    def __init__(self, model: PairModel, pruned: PrunedVision) -> None:
        super().__init__(model)
        if not pruned.options.by_text:
            raise ValueError(f"late selection is by text, not by {pruned.options.selection}")
        self.pruned = pruned

    def see(self, images: Tensor) -> SeenImages:
        """Images (B, 3, H, W) behind all blocks, with what the detector needs of them."""
        tokens, trunk = all_blocks(self.pruned, images)
        more = (trunk.image_part, trunk.attention)
        return SeenImages(tokens, tuple(part for part in more if part is not None))

    def source(
        self, image: SeenImages, keys: list[Keys] | None, texts: EncodedTexts, chosen: Tensor
    ) -> tuple[Tensor, list[Keys] | None]:
        """What each of some texts looks at; arguments as those of `Matching.source`."""
        options, of_image = self.pruned.options, torch.zeros_like(chosen).to(image.tokens.device)
        attention = image.more[1] if len(image.more) > 1 else None
        scores = self.pruned.scores(
            Trunk(image.tokens, image.more[0], attention), texts.cls(chosen), of_image
        )
        if keys is None:
            kept = select(image.tokens, scores, options.keep, options.fuse, of_image=of_image)
            return kept.tokens, None
        flat = torch.cat([_flat(part) for pair in keys for part in pair], dim=2)
        kept = select(flat, scores, options.keep, options.fuse, of_image=of_image)
        heads = keys[0][0].shape[1]
        parts = [
            part.unflatten(2, (heads, -1)).transpose(1, 2) for part in kept.tokens.chunk(2 * len(keys), dim=2)
        ]
        # the tokens themselves are only handed back by a fusion that is given keys
        return image.tokens.expand(len(chosen), -1, -1), list(zip(parts[::2], parts[1::2], strict=True))


class LateLook:
    """What the losses of retrieval see: contrast all tokens, matching those that the pair's text asks for.

    Args:
        model: that learns.
        pruned: its tower, with a selection by text and a detector, which does not learn here.
    """

    def __init__(self, model: PairModel, pruned: PrunedVision) -> None:
        self.model, self.pruned = model, pruned

    def __call__(self, model: PairModel, batch: dict[str, Any]) -> Seen:
        """All tokens of `batch["images"]` (B, 3, H, W); of the momentum twin, which matches nothing, too."""
        if model is not self.model:
            return Seen(model.encode_image(batch["images"]))
        tokens, trunk = all_blocks(self.pruned, batch["images"])
        return Seen(tokens, trunk=trunk)

    def pairs(self, model: PairModel, seen: Seen, images: Tensor, text: Tensor) -> Tensor:
        """Tokens (P, S', d) for the text of each pair, right or wrong.

        Args:
            model: that learns.
            seen: what it saw.
            images: (P,) int64, the image of each pair.
            text: (P, L, d) tokens of its text; selection passes no gradient back to them.
        """
        options, scores = self.pruned.options, self.pruned.scores(seen.trunk, text[:, 0], images)
        return select(seen.tokens, scores, options.keep, options.fuse, of_image=images).tokens


def all_blocks(pruned: PrunedVision, images: Tensor) -> tuple[Tensor, Trunk]:
    """Finished tokens of images at full length, (B, S, d), and the trunk that scores their patches.

    Args:
        pruned: the tower, with a selection by text.
        images: (B, 3, H, W).
    """
    trunk = pruned.trunk(images)
    return pruned.vision.finish(pruned.vision.blocks(trunk.tokens, pruned.options.block + 1)), trunk


def _flat(part: Tensor) -> Tensor:
    """Keys or values (1, H, S, E) -> (1, S, d)."""
    return part.transpose(1, 2).flatten(2)
