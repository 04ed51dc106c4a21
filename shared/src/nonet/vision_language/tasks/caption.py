"""Captions of images, written by the decoder.

mPLUG's released code: fine-tuned captions are written from the image's tokens alone, with beams; what was
only pre-trained has learnt to go on from an image that is fused with a beginning, which may be empty.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from nonet.data.captions import clean_caption
from nonet.data.image_text_pairs import PairTable, read_pairs, refuse_overlap
from nonet.errors import UserError
from nonet.metrics.bleu import caption_bleu
from nonet.metrics.caption_rouge import caption_rouge_l
from nonet.metrics.cider import cider_d
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.task import ImageReading, Task, Terms, counted, joined
from nonet.vision_language.tasks.task_settings import TaskSettings
from nonet.vision_language.tasks.writing import decoder_of, text_losses, write_texts

# Shapes: B images, S tokens of an image, L of a text, d width.


class CaptionTask(Task):
    """Captions of images.

    Args:
        model: with a decoder.
        tokenizer: of transformers.
        settings: of the task; `look` says what captions are written from.

    Raises:
        UserError: the model has no decoder.
    """

    name = "caption"
    monitor = "CIDEr-D"

    def __init__(self, model: PairModel, tokenizer: Any, settings: TaskSettings) -> None:
        super().__init__(model, tokenizer, settings)
        decoder_of(model)
        self.written = TextBatch(tokenizer, settings.longest + 2)

    def used(self) -> list[nn.Module]:
        """Vision tower and decoder; text tower and fusion where captions are written from both."""
        parts: list[nn.Module] = [self.model.vision, decoder_of(self.model)]
        return parts if self.settings.look == "image" else [*parts, self.model.text, self.model.fusion]

    def read(
        self, sources: Sequence[str], folder: Path | None, split: str | None, *, truth: bool
    ) -> PairTable:
        """Images with their captions as written; they are cleaned up for learning."""
        return read_pairs(sources, folder=folder, split=split, clean=False)

    def refuse_shared(self, train: Any, other: Any, what: str) -> None:
        """By image."""
        refuse_overlap(train, other, what)

    def item(
        self, examples: Any, index: int, reading: ImageReading, random: np.random.Generator | None
    ) -> dict[str, Any]:
        """`pixels`, `caption` (a random one while learning), `id`."""
        caption = ""
        if random is not None:
            known = [clean_caption(text) for text in examples.captions_of(index)]
            kept = [text for text in known if text]
            if not kept:
                raise UserError(f"{examples.places[index]}: no caption is left after clean-up")
            caption = kept[int(random.integers(len(kept)))]
        pixels = reading(examples.open(index), caption, random)
        return {
            "pixels": pixels, "caption": caption, "id": examples.ids[index], "place": examples.places[index]
        }  # fmt: skip

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """`images` (B, 3, H, W), `target_ids` and `target_mask` (B, L) int64, `[CLS] caption [SEP]`."""
        batch = joined(items, "id")
        batch["images"] = torch.stack([item["pixels"] for item in items])
        captions = [item["caption"] for item in items]
        batch["target_ids"], batch["target_mask"] = self.written(captions)
        batch["empty_ids"], batch["empty_mask"] = self.texts([""] * len(items))
        return batch

    def look(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """What the decoder looks at (B, S', d), and its mask; None: all of it."""
        image = self.image_tokens(batch["images"])
        if self.settings.look == "image":
            return image, None
        text = self.model.encode_text(batch["empty_ids"], batch["empty_mask"])
        image, text = self.model.fusion(image, None, text, batch["empty_mask"])
        return torch.cat([image, text], 1), None

    def losses(self, batch: dict[str, Any], *, random: Generator, passed: float) -> Terms:
        """`caption`: minus log-probability of a word piece."""
        source, mask = self.look(batch)
        losses, pieces = text_losses(
            decoder_of(self.model), batch["target_ids"], batch["target_mask"], source, mask
        )
        return {"caption": counted(losses.sum(), pieces.sum())}

    def answers(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """`image_id`, `caption`."""
        source, mask = self.look(batch)
        found = write_texts(decoder_of(self.model), source, mask, self.written, self.settings)
        return [{"image_id": id, "caption": text} for id, text in zip(batch["id"], found, strict=True)]

    def scores(self, examples: Any, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`CIDEr-D`, `BLEU-4`, `BLEU-1` and `ROUGE-L`, times 100; CIDEr-D goes up to 1000."""
        captions = {line["image_id"]: line["caption"] for line in lines}
        truth: dict[str, list[str]] = {}
        for index in range(len(examples)):
            truth.setdefault(examples.ids[index], []).extend(examples.captions_of(index))
        bleu = caption_bleu(captions, truth)
        found = {"CIDEr-D": 100 * cider_d(captions, truth).score} if len(truth) > 1 else {}
        rouge = caption_rouge_l(captions, truth)
        return found | {
            "BLEU-4": 100 * bleu.score, "BLEU-1": 100 * bleu.orders[0], "ROUGE-L": 100 * rouge.score
        }  # fmt: skip
