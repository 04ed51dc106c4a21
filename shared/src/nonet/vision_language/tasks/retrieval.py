"""Retrieval in two stages: cosines of all pairs, then the matching head on the best of them.

ALBEF (Li et al. 2021, section 4): each image's k nearest texts and each text's k nearest images are scored
again with the fusion, others get -100. Ours: a pair that is a candidate in both directions is scored once, by
`pair_matching`, and ties count against the model (`nonet.metrics.cross_modal`), so that untrained models do
not score well by chance.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.image_text_pairs import PairTable
from nonet.errors import UserError
from nonet.metrics.cross_modal import CUTS, Retrieval, image_ranks, summary, text_ranks
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.image_batches import image_batches
from nonet.vision_language.tasks.pair_matching import EncodedTexts, Matching, SeenImages

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: I images, T texts, k candidates.

NO_CANDIDATE = -100.0  # score of a pair that the second stage does not look at

HELD = 1 << 30  # bytes of images' tokens that are held between the stages; the others are computed again

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
    matching: Matching | None = None,
    held: int = HELD,
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
        matching: sees images and scores candidates; None: `Matching(model)`.
        held: bytes of images' tokens that are kept from the first stage for the second.

    Raises:
        UserError: an image cannot be read, or k is negative.
    """
    data = data if isinstance(data, RetrievalSet) else retrieval_set(data)
    if rerank < 0:
        raise UserError(f"rerank is {rerank}; it is 0 or more")
    where = next(model.parameters()).device if device is None else torch.device(device)

    matching = Matching(model) if matching is None else matching

    def images(start: int = 0) -> Iterator[SeenImages]:
        items = data.items[start:].tolist()
        for pixels in image_batches(data.table.open, items, transform, batch=batch, workers=workers):
            yield matching.see(pixels.to(where))

    with evaluating(model):
        parts, kept, size = [], [], 0
        for seen in images():
            parts.append(model.image_features(seen.tokens))
            size += seen.bytes()
            if rerank and size <= held:
                kept.append(seen)
        features = torch.cat(parts)
        encoded = EncodedTexts(model, data.texts, texts, batch=batch, device=where, tokens=rerank > 0)
        cosines = (features.float() @ encoded.features.float().T).cpu()
        if not rerank:
            scores = cosines.numpy()
            return _scored(scores, scores, data.image_of_text, 0)
        to_text, to_image = candidates(cosines, rerank)
        wanted = to_text | to_image
        logits = torch.full_like(cosines, NO_CANDIDATE)
        image = 0
        start = sum(len(seen.tokens) for seen in kept)
        for seen in chain(kept, images(start)):
            for own in range(len(seen.tokens)):
                chosen = wanted[image].nonzero()[:, 0]
                logits[image, chosen] = matching.scores(seen.one(own), encoded, chosen, batch=batch)
                image += 1
    return _scored(
        logits.masked_fill(~to_text, NO_CANDIDATE).numpy(),
        logits.masked_fill(~to_image, NO_CANDIDATE).numpy(),
        data.image_of_text,
        int(wanted.sum()),
    )


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
