"""Retrieval in two stages: cosines of all pairs, then the matching head on the best of them.

ALBEF (Li et al. 2021, section 4): each image's k nearest texts and each text's k nearest images are scored
again with the fusion, others get -100. Ours: a pair that is a candidate in both directions is scored once,
an image's keys and values are computed once for all of its texts, and ties count against the model
(`nonet.metrics.cross_modal`), so that untrained models do not score well by chance.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nonet.data.image_text_pairs import PairTable
from nonet.errors import UserError
from nonet.metrics.cross_modal import CUTS, Retrieval, image_ranks, summary, text_ranks
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.image_batches import image_batches

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: I images, T texts, k candidates, e shared space, S tokens of an image, L of a text, d width.

NO_CANDIDATE = -100.0  # score of a pair that the second stage does not look at

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RetrievalSet:
    """Images and texts that are looked for in one another.

    Attributes:
        table: of the pairs.
        items: (I,) int64, the item of the table that an image is read from; each image once.
        texts: T captions, in the table's order.
        image_of_text: (T,) int64, 0..I-1.
    """

    table: PairTable
    items: Numbers
    texts: list[str]
    image_of_text: Numbers


class RetrievalScores(NamedTuple):
    """What was measured.

    Attributes:
        to_text: images that look for their texts (TR).
        to_image: texts that look for their image (IR).
        image_scores: (I, T) float32, by which texts were ranked.
        text_scores: (I, T) float32, by which images were ranked; without second stage the same matrix.
        pairs: pairs that the second stage scored.
    """

    to_text: Retrieval
    to_image: Retrieval
    image_scores: Floats
    text_scores: Floats
    pairs: int

    def numbers(self) -> dict[str, float]:
        """Percent by name: TR@1 ... IR@10, and R-mean, the mean of them."""
        found = {f"TR@{cut}": 100 * share for cut, share in self.to_text.recall.items()}
        found |= {f"IR@{cut}": 100 * share for cut, share in self.to_image.recall.items()}
        return found | {"R-mean": sum(found.values()) / len(found)}


def retrieval_set(table: PairTable) -> RetrievalSet:
    """The images of a table, items of one image together, and all of their captions."""
    _, items, image_of_item = np.unique(table.numbers, return_index=True, return_inverse=True)
    order = np.argsort(items, kind="stable")  # images in the table's order
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    image_of_text = place[image_of_item].repeat(np.diff(table.first))
    texts = [text for index in range(len(table)) for text in table.captions_of(index)]
    return RetrievalSet(table, items[order].astype(np.int64), texts, image_of_text.astype(np.int64))


def evaluate_retrieval(
    model: PairModel,
    data: RetrievalSet | PairTable,
    texts: TextBatch,
    transform: Callable[["Image"], Tensor],
    *,
    rerank: int = 0,
    batch: int = 64,
    workers: int = 0,
    device: torch.device | str | None = None,
) -> RetrievalScores:
    """Both directions of retrieval; the model's mode is as before afterwards.

    Args:
        model: on `device`, whose dtype and autocast are the caller's.
        data: images and texts.
        texts: gives word pieces.
        transform: an image to (3, H, W), such as `PlainImages`.
        rerank: k, candidates of each image and each text that the second stage scores; 0: cosines alone.
        batch: images, texts or pairs at once.
        workers: processes that read images.
        device: of the model; None: that of its first weight.

    Raises:
        UserError: an image cannot be read, or k is negative.
    """
    data = data if isinstance(data, RetrievalSet) else retrieval_set(data)
    if rerank < 0:
        raise UserError(f"rerank is {rerank}; it is 0 or more")
    where = next(model.parameters()).device if device is None else torch.device(device)

    def images() -> Iterator[Tensor]:
        return image_batches(data.table.open, data.items.tolist(), transform, batch=batch, workers=workers)

    with evaluating(model):
        features = torch.cat(
            [model.image_features(model.encode_image(pixels.to(where))) for pixels in images()]
        )
        encoded = EncodedTexts(model, data.texts, texts, batch=batch, device=where, tokens=rerank > 0)
        cosines = (features.float() @ encoded.features.float().T).cpu()
        if not rerank:
            scores = cosines.numpy()
            return _scored(scores, scores, data.image_of_text, 0)
        to_text, to_image = candidates(cosines, rerank)
        wanted = to_text | to_image
        logits = torch.full_like(cosines, NO_CANDIDATE)
        image = 0
        for pixels in images():  # again: the tokens of all images would fill the memory
            for own in model.encode_image(pixels.to(where)):
                chosen = wanted[image].nonzero()[:, 0]
                logits[image, chosen] = match_scores(model, own, encoded, chosen, batch=batch)
                image += 1
    return _scored(
        logits.masked_fill(~to_text, NO_CANDIDATE).numpy(),
        logits.masked_fill(~to_image, NO_CANDIDATE).numpy(),
        data.image_of_text,
        int(wanted.sum()),
    )


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
    """

    def __init__(
        self, model: PairModel, texts: list[str], pieces: TextBatch, *, batch: int,
        device: torch.device | str, tokens: bool,
    ) -> None:  # fmt: skip
        features, kept, masks = [], [], []
        for start in range(0, len(texts), batch):
            ids, mask = (part.to(device) for part in pieces(texts[start : start + batch]))
            found = model.encode_text(ids, mask)
            features.append(model.text_features(found))
            if tokens:
                more = pieces.max_length - mask.shape[1]
                kept.append(F.pad(found, (0, 0, 0, more)))
                masks.append(F.pad(mask, (0, more)))
        self.features = torch.cat(features)
        self._tokens = torch.cat(kept) if tokens else None
        self._masks = torch.cat(masks) if tokens else None

    def tokens(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, L, d) and mask (n, L) of some texts (n,), padded to the longest of them.

        Raises:
            ValueError: they were not kept.
        """
        if self._tokens is None or self._masks is None:
            raise ValueError("the texts' tokens were not kept")
        mask = self._masks[chosen]
        longest = int(mask.sum(1).max())
        return self._tokens[chosen, :longest], mask[:, :longest]


def candidates(cosines: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The pairs that a second stage looks at.

    Args:
        cosines: (I, T).
        k: texts of each image, images of each text.

    Returns:
        Two masks (I, T) bool: a text is among the image's k nearest, the image among the text's.
    """
    to_text, to_image = (torch.zeros(cosines.shape, dtype=torch.bool) for _ in range(2))
    to_text.scatter_(1, cosines.topk(min(k, cosines.shape[1]), dim=1).indices, True)
    to_image.scatter_(0, cosines.topk(min(k, cosines.shape[0]), dim=0).indices, True)
    return to_text, to_image


@torch.no_grad()  # type: ignore[untyped-decorator]
def match_scores(
    model: PairModel, image: Tensor, texts: EncodedTexts, chosen: Tensor, *, batch: int
) -> Tensor:
    """The matching head's logit of "they belong together" for one image and some texts.

    Args:
        model: in evaluation mode.
        image: (S, d) tokens of the image.
        texts: with tokens.
        chosen: (n,) int64, numbers of texts.
        batch: pairs at once.

    Returns:
        (n,) float32 on the CPU.
    """
    keys = None if model.fusion.connects else model.fusion.keys(image[None])
    found = []
    for part in chosen.split(batch):
        tokens, mask = texts.tokens(part)
        many = image.expand(len(part), -1, -1)
        shared = keys and [
            (key.expand(len(part), -1, -1, -1), value.expand(len(part), -1, -1, -1)) for key, value in keys
        ]
        _, fused = model.fusion(many, None, tokens, mask, shared)
        found.append(model.itm_logits(fused)[:, 1].float().cpu())
    return torch.cat(found) if found else torch.zeros(0)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients inside the block; the mode is as before behind it."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def _scored(image_scores: Floats, text_scores: Floats, owner: Numbers, pairs: int) -> RetrievalScores:
    for scores in (image_scores, text_scores):
        if np.isnan(scores.min()):
            raise UserError("a similarity is not a number (NaN): the model's weights are damaged")
    return RetrievalScores(
        summary(image_ranks(image_scores, owner), CUTS), summary(text_ranks(text_scores, owner), CUTS),
        image_scores, text_scores, pairs,
    )  # fmt: skip
