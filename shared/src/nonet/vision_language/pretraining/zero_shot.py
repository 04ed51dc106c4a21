"""Zero-shot retrieval during training: images that are kept out, and all of their captions (ours).

Features are collected batch by batch on every process; recalls are those of `nonet.metrics.cross_modal`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nonet.data.batching import Pair
from nonet.errors import UserError
from nonet.metrics.cross_modal import cross_modal
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.retrieval import RetrievalSet

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# Shapes: n images, t texts of them, e shared space.

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


class KeptOut:
    """The images of a retrieval set, each with its captions; `kept[(epoch, index)]`.

    Args:
        data: images and texts.
        transform: an image to (3, H, W), such as `PlainImages`.
    """

    def __init__(self, data: RetrievalSet, transform: "Callable[[Image], Tensor]") -> None:
        self.data, self.transform = data, transform
        order = np.argsort(data.image_of_text, kind="stable")
        counts = np.bincount(data.image_of_text, minlength=len(data.items))
        self._texts = np.split(order, np.cumsum(counts)[:-1])

    def __len__(self) -> int:
        return len(self.data.items)

    def __getitem__(self, visit: Pair) -> "tuple[int, Tensor | None, list[str]]":
        """Number of the image; the image, None if it cannot be read; its captions."""
        _, index = visit
        try:
            image = self.transform(self.data.table.open(int(self.data.items[index])))
        except UserError:
            image = None
        return index, image, [self.data.texts[text] for text in self._texts[index]]


class KeptOutCollate:
    """Such images to a batch; those that cannot be read are counted and left out, with their captions.

    Args:
        texts: gives word pieces.
    """

    def __init__(self, texts: TextBatch) -> None:
        self.texts = texts

    def __call__(self, items: "Sequence[tuple[int, Tensor | None, list[str]]]") -> dict[str, Any]:
        """The batch.

        Keys:
            images: (n, 3, H, W) float32.
            numbers: (n,) int64 of the images.
            input_ids, attention_mask: (t, L) int64.
            owners: (t,) int64, the number of each text's image.
            lost: images that cannot be read.
        """
        found = [(index, image, texts) for index, image, texts in items if image is not None]
        ids, mask = self.texts([text for _, _, texts in found for text in texts])
        images = [image for _, image, _ in found]
        return {
            "images": torch.stack(images) if images else torch.zeros(0),
            "numbers": torch.tensor([index for index, _, _ in found], dtype=torch.int64),
            "input_ids": ids,
            "attention_mask": mask,
            "owners": torch.tensor([index for index, _, texts in found for _ in texts], dtype=torch.int64),
            "lost": len(items) - len(found),
        }


class ZeroShot:
    """Collects features over a validation, and gives the recalls.

    Args:
        see: (model, images (n, 3, H, W)) to their tokens; None: all tokens of the vision tower.
    """

    def __init__(self, see: "Callable[[PairModel, Tensor], Tensor] | None" = None) -> None:
        self.see = see or PairModel.encode_image
        self._parts: list[tuple[Numbers, Floats, Numbers, Floats]] = []
        self._lost = 0

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def add(self, model: PairModel, batch: dict[str, Any]) -> None:
        """Take a batch of `KeptOutCollate`, on the model's device."""
        self._lost += batch["lost"]
        if not len(batch["numbers"]):
            return
        images = model.image_features(self.see(model, batch["images"])).float()
        texts = model.text_features(model.encode_text(batch["input_ids"], batch["attention_mask"])).float()
        numbers, owners = batch["numbers"].cpu().numpy(), batch["owners"].cpu().numpy()
        self._parts.append((numbers, images.cpu().numpy(), owners, texts.cpu().numpy()))

    def take(self) -> dict[str, float]:
        """Percent by name, of all that was added: TR@1, ..., IR@10, R-mean; and `unreadable`, if any are.

        All processes call it together.
        """
        parts, lost = self._parts, self._lost
        self._parts, self._lost = [], 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            every: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(every, (parts, lost))
            parts = [part for theirs, _ in every for part in theirs]
            lost = sum(count for _, count in every)
        found = {"unreadable": float(lost)} if lost else {}
        return found | recalls(parts) if parts else found


def recalls(parts: Sequence[tuple[Numbers, Floats, Numbers, Floats]]) -> dict[str, float]:
    """Recalls of both directions in percent, whatever the order of the parts.

    Args:
        parts: numbers of images (n,), their features (n, e), owners of texts (t,), their features (t, e).

    Returns:
        TR@1, TR@5, TR@10 (an image looks for its texts), IR@1, ..., and R-mean, their mean.
    """
    numbers, images, owners, texts = (np.concatenate(part) for part in zip(*parts, strict=True))
    order, text_order = np.argsort(numbers, kind="stable"), np.argsort(owners, kind="stable")
    place = np.searchsorted(numbers[order], owners[text_order])
    scores = cross_modal(images[order] @ texts[text_order].T, place)
    found = {f"TR@{cut}": 100 * share for cut, share in scores.image_to_text.recall.items()}
    found |= {f"IR@{cut}": 100 * share for cut, share in scores.text_to_image.recall.items()}
    return found | {"R-mean": sum(found.values()) / len(found)}
