"""Passes of a batch through an image-text model that several losses share: seeing, fusing, the teacher's.

Source: ours. Keys and values of the images are computed once for matching, masked words and the rest of a
text; only a fusion with connected layers, where they depend on the text, computes them again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nonet.vision_language.bert_layers import Keys
from nonet.vision_language.pair_model import PairModel

# Shapes: B pairs of this process, P pairs to fuse, N patches, S = 1 + N tokens of an image, L of a text, d
# width, n words with a label, V words.


class Seen(NamedTuple):
    """What the vision tower makes of images.

    Attributes:
        tokens: (B, S, d) behind the final norm; S may be smaller where patches are dropped.
        patches: (B, N, d) embeddings before positions, for those who mix them; None: not kept.
        middle: (B, S, d) tokens behind some block, for a patch detector; None: not asked for.
        mask: (B, S), 0 at padding; None: no padding.
        trunk: what a method keeps to look at the same images again, for other texts; None: nothing.
    """

    tokens: Tensor
    patches: Tensor | None = None
    middle: Tensor | None = None
    mask: Tensor | None = None
    trunk: Any = None


See = Callable[[PairModel, dict[str, Any]], Seen]
"""(model, batch) to what it sees; also called with the twin's model, without gradient"""

SeePairs = Callable[[PairModel, Seen, Tensor, Tensor], Tensor]
"""(model, what it saw, numbers of images (P,), text tokens (P, L, d)) to the pairs' image tokens (P, S, d)"""


def look(model: PairModel, batch: dict[str, Any], middle: int | None = None) -> Seen:
    """The vision tower's tokens, with the embeddings of patches.

    Args:
        model: of images and texts.
        batch: `images` (B, 3, H, W).
        middle: a block (from 0) whose output is wanted too; `functools.partial` sets it.
    """
    patches = model.vision.patches(batch["images"])
    tokens = model.vision.from_patches(patches)
    if middle is None:
        return Seen(model.vision.finish(model.vision.blocks(tokens)), patches)
    inner = model.vision.blocks(tokens, 0, middle + 1)
    return Seen(model.vision.finish(model.vision.blocks(inner, middle + 1)), patches, inner)


class Fuse:
    """Fuses the texts of a batch with its images, whose keys and values are computed once."""

    def __init__(self, model: PairModel, seen: Seen, text: Tensor, text_mask: Tensor) -> None:
        self.fusion, self.seen, self.text, self.text_mask = model.fusion, seen, text, text_mask
        self._keys: list[Keys] | None = None

    def __call__(
        self,
        *,
        images: Tensor | None = None,
        texts: Tensor | None = None,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Fused image and text tokens.

        Args:
            images: (P,) int64, which of the batch's images; None: all in their order.
            texts: (P,) int64, which of the batch's texts; None: all in their order.
            text: (P, L, d) other texts; None: those of the batch.
            text_mask: (P, L) of these other texts, 0 at padding.
        """
        text, text_mask = (self.text, self.text_mask) if text is None else (text, text_mask)
        if texts is not None:
            text, text_mask = text[texts], None if text_mask is None else text_mask[texts]
        tokens, mask = self.seen.tokens, self.seen.mask
        keys = self.keys()
        if images is not None:
            mask = None if mask is None else mask[images]
            if keys is None:
                tokens = tokens[images]
            else:  # the tokens themselves are only handed back
                keys = [(key[images], value[images]) for key, value in keys]
        fused: tuple[Tensor, Tensor] = self.fusion(tokens, mask, text, text_mask, keys)
        return fused

    def keys(self) -> list[Keys] | None:
        """Source: ours. Keys and values of all images; None if they depend on the text."""
        if self._keys is None and not self.fusion.connects:
            self._keys = self.fusion.keys(self.seen.tokens)
        return self._keys

    def source(self, model: PairModel, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """What the decoder looks at: image tokens, then tokens of the beginnings; and the mask."""
        mask = batch["prefix_mask"]
        image, text = self(text=model.encode_text(batch["prefix_ids"], mask), text_mask=mask)
        image_mask = self.seen.mask
        if image_mask is None:
            image_mask = mask.new_ones(image.shape[:2])
        return torch.cat([image, text], 1), torch.cat([image_mask.to(mask), mask], 1)


@dataclass
class Teacher:
    """What the twin makes of the batch; nothing here has a gradient."""

    model: PairModel
    image_features: Tensor
    text_features: Tensor
    fused: Fuse

    @classmethod
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def of(cls, model: PairModel, batch: dict[str, Any], see: See) -> "Teacher":
        """Look at a batch; `model` is the twin's."""
        seen = see(model, batch)
        mask = batch["attention_mask"]
        text = model.encode_text(batch["input_ids"], mask)
        images, texts = model.image_features(seen.tokens), model.text_features(text)
        return cls(model, images.float(), texts.float(), Fuse(model, seen, text, mask))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def masked_words(self, ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        """Logits (n, V) of words at places (B, L) of masked texts."""
        tokens = self.fused(text=self.model.encode_text(ids, mask), text_mask=mask)[1]
        return self.model.mlm_logits(tokens[places])

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def written_words(self, batch: dict[str, Any], places: Tensor) -> Tensor:
        """Logits (n, V) of words behind places (B, T - 1) of ends of texts."""
        decoder = self.model.decoder
        assert decoder is not None
        source, source_mask = self.fused.source(self.model, batch)
        ids, mask = batch["target_ids"][:, :-1], batch["target_mask"][:, :-1]
        logits: Tensor = decoder.head(decoder.hidden(ids, mask, source, source_mask)[places])
        return logits
