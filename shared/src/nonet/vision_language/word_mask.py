"""Which words of a text are hidden in masked language modelling (Devlin et al. 2019; as ALBEF masks)."""

import torch
from torch import Generator, Tensor

from nonet.errors import UserError
from nonet.vision_language.objectives.masking import MaskedTokens, mask_tokens


class WordMask:
    """Chooses and masks words as BERT does: 15 % of them. A text's end is one of them, its beginning not.

    Args:
        vocabulary: V; any of them may stand for a masked word.
        mask_id: id of the mask.
        begin_id: id of the token that a text begins with, which is never masked.
        share: chance of each word.
    """

    def __init__(self, vocabulary: int, *, mask_id: int, begin_id: int, share: float = 0.15) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"the share of masked words is {share:g}; it lies in 0..1")
        self.mask_id, self.begin_id, self.share = mask_id, begin_id, share
        self._words = torch.arange(vocabulary)

    def __call__(self, ids: Tensor, mask: Tensor, generator: Generator) -> MaskedTokens:
        """Mask texts.

        Args:
            ids: (B, L) int64.
            mask: (B, L), 0 at padding.
            generator: on the device of `ids`.
        """
        self._words = self._words.to(ids.device)
        candidates = mask.bool() & (ids != self.begin_id)
        return mask_tokens(
            ids, candidates, mask_id=self.mask_id, replacements=self._words, generator=generator,
            share=self.share,
        )  # fmt: skip
