"""Boxes for expressions: where in the image is what these words mean, as in RefCOCO.

X-VLM (Zeng et al. 2022, section 3.3): the fused CLS token gives centre and size of a box through two layers
and a sigmoid; the loss is L1 plus one minus generalised overlap. mPLUG writes a box as four words of its
vocabulary instead; that takes a decoder, and as many spare words as there are pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from nonet.data.captions import tells_sides
from nonet.data.image_augment import mirrored, rand_augment
from nonet.data.images import image_size, open_image
from nonet.errors import UserError
from nonet.metrics.boxes import paired_iou
from nonet.metrics.grounding import referring_accuracy
from nonet.vision_language.bert_layers import initialise
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.task import ImageReading, Task, Terms, counted, each_once, joined
from nonet.vision_language.tasks.task_files import Expression, read_expressions, refuse_shared, side_by_side
from nonet.vision_language.tasks.task_settings import TaskSettings

# Shapes: B expressions, S tokens of an image, L of a text, d width. Boxes are (centre x, centre y, width,
# height) as shares of the image inside the model, x, y, width, height in pixels outside.


class GroundingTask(Task):
    """Boxes for expressions.

    Args:
        model: with a fusion.
        tokenizer: of transformers.
        settings: of the task.

    Attributes:
        head: fused CLS (B, d) to a box (B, 4) before the sigmoid.
    """

    name = "grounding"
    monitor = "accuracy"

    def __init__(self, model: PairModel, tokenizer: Any, settings: TaskSettings) -> None:
        super().__init__(model, tokenizer, settings)
        width = model.config.text_width
        self.head = nn.Sequential(
            nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, 4)
        )
        initialise(self.head)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The head."""
        return {"grounding_head": self.head}

    def used(self) -> list[nn.Module]:
        """Both towers and the fusion."""
        return [self.model.vision, self.model.text, self.model.fusion]

    def read(
        self, sources: Sequence[str], folder: Path | None, split: str | None, *, truth: bool
    ) -> list[Expression]:
        """Expressions, those of an image next to one another in the order of their first ones."""
        if split is not None:
            raise UserError(f"files of expressions have no splits; leave out the split {split!r}")
        return side_by_side(read_expressions(sources, folder, boxed=truth))

    def refuse_shared(self, train: Sequence[Any], other: Sequence[Any], what: str) -> None:
        """By id, or by image and expression."""
        refuse_shared(train, other, what)

    def item(
        self, examples: Sequence[Any], index: int, reading: ImageReading, random: np.random.Generator | None
    ) -> dict[str, Any]:
        """`pixels`, `text`, `box` (4,) float32 as shares, `size` (width, height) pixels, `id`, `image`."""
        found: Expression = examples[index]
        image = open_image(found.image, orient=False)  # boxes are drawn on the pixels as they are stored
        box = None if found.box is None else _inside(found, image.width, image.height)
        if random is not None and box is not None:
            image, box = cropped(image, box, random)
            if random.random() < 0.5 and not (reading.careful_flip and tells_sides(found.text)):
                image, box = mirrored(image), (image.width - box[0] - box[2], *box[1:])
        x, y, width, height = box or (0.0, 0.0, 0.0, 0.0)
        shares = [(x + width / 2) / image.width, (y + height / 2) / image.height]
        shares += [width / image.width, height / image.height]
        size = image.width, image.height
        if random is not None:
            image = rand_augment(
                image.resize((reading.plain.width, reading.plain.height)), random, colour_only=True
            )
        return {
            "pixels": reading.plain(image), "text": found.text, "box": torch.tensor(shares), "id": found.id,
            "size": size, "image": found.image, "place": found.place,
            "once": found.image if random is None else f"{found.image}:{index}",
        }  # fmt: skip

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """`images` (R, 3, H, W), each image once, and `of_image` (B,) int64; `input_ids`, `attention_mask`
        (B, L) int64; `boxes` (B, 4) float32."""
        batch = joined(items, "id", "text", "size", "image")
        batch["images"], batch["of_image"] = each_once(items)
        batch["boxes"] = torch.stack([item["box"] for item in items])
        batch["input_ids"], batch["attention_mask"] = self.texts(batch["text"])
        return batch

    def boxes(self, batch: Mapping[str, Any]) -> Tensor:
        """(B, 4) float32 in 0..1."""
        mask = batch["attention_mask"]
        text = self.model.encode_text(batch["input_ids"], mask)
        image = self.image_tokens(batch["images"], text[:, 0], batch["of_image"])
        return self.head(self.model.fusion.first_token(image, None, text, mask)).float().sigmoid()

    def losses(self, batch: dict[str, Any], *, random: Generator, passed: float) -> Terms:
        """`distance`: L1 of four numbers; `overlap`: 1 - generalised overlap."""
        from torchvision.ops import generalized_box_iou_loss

        ours, truth = self.boxes(batch), batch["boxes"]
        overlap = generalized_box_iou_loss(_corners(ours), _corners(truth), reduction="sum")
        count = len(ours)
        return {
            "distance": counted((ours - truth).abs().sum(), count), "overlap": counted(overlap, count)
        }  # fmt: skip

    def answers(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """`id`, `image`, `text`, `bbox` [x, y, width, height] in pixels."""
        found = []
        rows = zip(batch["id"], batch["image"], batch["text"], batch["size"], strict=True)
        for (id, image, text, (width, height)), box in zip(rows, self.boxes(batch).tolist(), strict=True):
            left, right = (min(max(box[0] + side * box[2] / 2, 0.0), 1.0) * width for side in (-1, 1))
            top, bottom = (min(max(box[1] + side * box[3] / 2, 0.0), 1.0) * height for side in (-1, 1))
            numbers = [round(number, 2) for number in (left, top, right - left, bottom - top)]
            found.append({"id": id, "image": image, "text": text, "bbox": numbers})
        return found

    def scores(self, examples: Sequence[Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`accuracy`: share of boxes that overlap the true one by more than one half; `overlap`, the mean."""
        ours = np.array([_corners_of(line["bbox"]) for line in lines])
        sizes = {found.image: image_size(found.image) for found in examples}
        truth = np.array([_corners_of(_inside(found, *sizes[found.image])) for found in examples])
        accuracy = referring_accuracy(ours, truth, scale="pixels")
        return {"accuracy": 100 * accuracy, "overlap": 100 * float(paired_iou(ours, truth).mean())}


def cropped(
    image: Any, box: tuple[float, float, float, float], random: np.random.Generator
) -> tuple[Any, tuple[float, float, float, float]]:
    """A random part of an image with a box whole in it, and the box there (X-VLM's crop).

    Args:
        image: RGB.
        box: x, y, width, height inside the image, pixels.
        random: draws each side between the image's and the box's.
    """
    x, y, width, height = box
    left, top = int(random.integers(int(x) + 1)), int(random.integers(int(y) + 1))
    low = int(np.ceil(x + width)), int(np.ceil(y + height))
    right = int(random.integers(min(low[0], image.width), image.width + 1))
    bottom = int(random.integers(min(low[1], image.height), image.height + 1))
    return image.crop((left, top, right, bottom)), (x - left, y - top, width, height)


def _inside(found: Expression, width: int, height: int) -> tuple[float, float, float, float]:
    """The box of an expression, cut off at the image's sides."""
    assert found.box is not None
    x, y, w, h = found.box
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + w, float(width)), min(y + h, float(height))
    if right <= left or bottom <= top:
        raise UserError(
            f"{found.place}: bbox {list(found.box)} lies outside of its image of {width} x {height}; it is "
            "[x, y, width, height] in pixels"
        )
    return left, top, right - left, bottom - top


def _corners(boxes: Tensor) -> Tensor:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _corners_of(box: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height
