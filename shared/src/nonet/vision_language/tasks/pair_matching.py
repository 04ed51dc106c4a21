"""The second stage of retrieval: the matching head on one image and many texts (ours).

What ALBEF (Li et al. 2021, section 4) computes for each pair, with less work and the same result: an image's
keys and values are computed once for all of its texts; texts of one length go together, so that hardly any
padding is computed; and the last layer is run for CLS alone, which is all that the head reads.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.vision_language.bert_layers import Keys
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel

# Shapes: B images, T texts, n of them, e shared space, S tokens of an image, L of a text, d width.


class EncodedTexts:
    """Texts behind the text tower.

    Args:
        model: in evaluation mode.
        texts: T of them.
        pieces: gives word pieces.
        batch: texts at once.
        device: of the model.
        tokens: also keep the tokens, which a second stage needs.

    Attributes:
        features: (T, e), of length 1.
        lengths: (T,) int64, word pieces with both ends.
    """

    def __init__(
        self, model: PairModel, texts: list[str], pieces: TextBatch, *, batch: int,
        device: torch.device | str, tokens: bool,
    ) -> None:  # fmt: skip
        features, kept, masks, lengths = [], [], [], []
        for start in range(0, len(texts), batch):
            ids, mask = (part.to(device) for part in pieces(texts[start : start + batch]))
            found = model.encode_text(ids, mask)
            features.append(model.text_features(found))
            lengths.append(mask.sum(1).cpu())
            if tokens:
                more = pieces.max_length - mask.shape[1]
                kept.append(F.pad(found, (0, 0, 0, more)))
                masks.append(F.pad(mask, (0, more)))
        self.features, self.lengths = torch.cat(features), torch.cat(lengths)
        self._tokens = torch.cat(kept) if tokens else None
        self._masks = torch.cat(masks) if tokens else None

    def cls(self, chosen: Tensor) -> Tensor:
        """CLS (n, d) of some texts (n,).

        Raises:
            ValueError: the tokens were not kept.
        """
        return self.tokens(chosen)[0][:, 0]

    def tokens(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, L, d) and mask (n, L) of some texts (n,), padded to the longest of them.

        Raises:
            ValueError: they were not kept.
        """
        if self._tokens is None or self._masks is None:
            raise ValueError("the texts' tokens were not kept")
        longest = int(self.lengths[chosen].max())
        chosen = chosen.to(self._tokens.device)
        return self._tokens[chosen, :longest], self._masks[chosen, :longest]


class SeenImages(NamedTuple):
    """Images behind the vision tower.

    Attributes:
        tokens: (B, S, d), CLS first.
        more: further tensors of B rows each that a second stage keeps of an image.
    """

    tokens: Tensor
    more: tuple[Tensor, ...] = ()

    def one(self, image: int) -> "SeenImages":
        """Image `image` alone, with B = 1."""
        rows = slice(image, image + 1)
        return SeenImages(self.tokens[rows], tuple(part[rows] for part in self.more))

    def bytes(self) -> int:
        """Memory that the tensors take."""
        return sum(part.numel() * part.element_size() for part in (self.tokens, *self.more))


class Matching:
    """How images are seen, and pairs scored by the matching head.

    Args:
        model: in evaluation mode when it is used.
        encode: images (B, 3, H, W) to tokens (B, S, d); None: the model's vision tower.
    """

    def __init__(self, model: PairModel, encode: Callable[[Tensor], Tensor] | None = None) -> None:
        self.model = model
        self.encode = model.encode_image if encode is None else encode

    def see(self, images: Tensor) -> SeenImages:
        """Images (B, 3, H, W) behind the vision tower, without a text."""
        return SeenImages(self.encode(images))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def scores(self, image: SeenImages, texts: EncodedTexts, chosen: Tensor, *, batch: int) -> Tensor:
        """The matching head's logit of "they belong together" for one image and some texts.

        Args:
            image: B = 1.
            texts: with tokens.
            chosen: (n,) int64 on the CPU, numbers of texts.
            batch: pairs at once.

        Returns:
            (n,) float32 on the CPU.
        """
        fusion = self.model.fusion
        keys = None if fusion.connects else fusion.keys(image.tokens)
        found = torch.zeros(len(chosen))
        for part in texts.lengths[chosen].argsort(stable=True).split(batch):
            if not len(part):
                continue
            own = chosen[part]
            tokens, mask = texts.tokens(own)
            many, shared = self.source(image, keys, texts, own)
            cls = fusion.first_token(many, None, tokens, mask, shared)
            found[part] = self.model.itm_logits(cls[:, None])[:, 1].float().cpu()
        return found

    def source(
        self, image: SeenImages, keys: list[Keys] | None, texts: EncodedTexts, chosen: Tensor
    ) -> tuple[Tensor, list[Keys] | None]:
        """What each of some texts looks at.

        Args:
            image: B = 1.
            keys: of the image in every layer of the fusion; None: a layer is connected.
            texts: all of them.
            chosen: (n,) int64 on the CPU, numbers of texts.

        Returns:
            Tokens (n, S', d), and keys and values of n rows or None, as `Fusion.forward` takes them.
        """
        n = len(chosen)
        shared = keys and [(key.expand(n, -1, -1, -1), value.expand(n, -1, -1, -1)) for key, value in keys]
        return image.tokens.expand(n, -1, -1), shared
