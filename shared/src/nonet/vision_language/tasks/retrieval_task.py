"""Fine-tuning for retrieval, and what a model finds: contrast and matching on pairs, two stages of search.

ALBEF (Li et al. 2021, section 4) and mPLUG's released code: the contrast's targets are all texts of an image,
in the batch and in the queue, mixed with what the momentum model says; negatives of the matching are hard
ones of other images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, nn

from nonet.data.image_text_pairs import PairTable, read_pairs, refuse_overlap
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.pair_matching import Matching
from nonet.vision_language.tasks.retrieval import RetrievalScores, evaluate_retrieval, retrieval_set
from nonet.vision_language.tasks.task import Evaluation, ImageReading, Task, Terms, joined
from nonet.vision_language.tasks.task_settings import TaskSettings


class RetrievalTask(Task):
    """Images for texts and texts for images.

    Args:
        model: both towers, fusion and matching head.
        tokenizer: of transformers.
        settings: of the task.
        rerank: candidates of each query that the matching head scores; 0: cosines alone.
        top: texts of an image and images of a text that an answer has.

    Attributes:
        matching: sees images and scores candidates; None: all tokens of an image, or those of `see`.
    """

    name = "retrieval"
    monitor = "R-mean"

    def __init__(
        self, model: PairModel, tokenizer: Any, settings: TaskSettings, *, rerank: int = 256, top: int = 10
    ) -> None:
        super().__init__(model, tokenizer, settings)
        self.rerank, self.top = rerank, top
        self.pair_losses = PairLosses(weights={"itc": 1.0, "itm": 1.0}, distil=("itc",), by_image=True)
        self.twin: Twin | None = None
        self.queue: FeatureQueue | None = None
        self.alpha = 0.0
        self.matching: Matching | None = None

    def learn(self, *, queue: int = 65536, momentum: float = 0.995, alpha: float = 0.4) -> None:
        """Make what learning takes: the momentum model and the queue of its features.

        Args:
            queue: pairs that it holds; 0: none.
            momentum: share of itself that the momentum model keeps in a step.
            alpha: share of it in what is learnt, once the first epoch is over.
        """
        self.twin = Twin(self.model, momentum, skip=self.pair_losses.skipped_by_twin(self.model))
        self.queue = FeatureQueue(queue, self.model.config.embed) if queue else None
        self.alpha = alpha

    def used(self) -> list[nn.Module]:
        """All but masked words and decoder; the temperature besides."""
        names = ("vision", "text", "fusion", "vision_proj", "text_proj", "itm_head")
        return [getattr(self.model, name) for name in names]

    def freeze(self) -> None:
        """Train the temperature, too."""
        super().freeze()
        self.model.tau.requires_grad_(True)

    def read(
        self, sources: Sequence[str], folder: Path | None, split: str | None, *, truth: bool
    ) -> PairTable:
        """Pairs with clean captions."""
        return read_pairs(sources, folder=folder, split=split)

    def refuse_shared(self, train: Any, other: Any, what: str) -> None:
        """By image."""
        refuse_overlap(train, other, what)

    def item(
        self, examples: Any, index: int, reading: ImageReading, random: np.random.Generator | None
    ) -> dict[str, Any]:
        """`pixels`, `caption` (a random one while learning), `number` of the image."""
        captions = examples.captions_of(index)
        caption = captions[0 if random is None else int(random.integers(len(captions)))]
        pixels = reading(examples.open(index), caption, random)
        return {
            "pixels": pixels, "caption": caption, "number": int(examples.numbers[index]),
            "place": examples.places[index],
        }  # fmt: skip

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """`images` (B, 3, H, W), `input_ids`, `attention_mask` (B, L) int64, `image_ids` (B,) int64."""
        batch = joined(items, "caption")
        batch["images"] = torch.stack([item["pixels"] for item in items])
        batch["input_ids"], batch["attention_mask"] = self.texts(batch["caption"])
        batch["image_ids"] = torch.tensor([item["number"] for item in items])
        return batch

    def begin_step(self, step: int) -> None:
        """Let the momentum model follow."""
        super().begin_step(step)
        if self.twin is not None and step > 0:
            self.twin.update(self.model)

    def losses(self, batch: dict[str, Any], *, random: Generator, passed: float) -> Terms:
        """`itc` and `itm`."""
        found = self.pair_losses(
            self.model, batch, generator=random, twin=self.twin, queue=self.queue,
            alpha=self.alpha * min(passed, 1.0),
        )  # fmt: skip
        if self.queue is not None and found.teacher_image is not None and found.teacher_text is not None:
            self.queue.push(found.teacher_image, found.teacher_text, found.every_id)
        return found.terms

    def evaluate(
        self, examples: Any, reading: ImageReading, *, batch: int, workers: int = 0, truth: bool = True
    ) -> Evaluation:
        """Search all texts for each image and all images for each text.

        Lines have `image` and `texts`, or `text` and `images`: pairs of what was found and its score.
        """
        data = retrieval_set(examples)
        matching = Matching(self.model, self.image_tokens) if self.matching is None else self.matching
        found = evaluate_retrieval(
            self.model, data, self.texts, reading.plain, rerank=self.rerank, batch=batch, workers=workers,
            matching=matching,
        )  # fmt: skip
        names = [examples.names[int(item)] for item in data.items]
        lines = [
            {"image": name, "texts": _top(row, data.texts, self.top)}
            for name, row in zip(names, found.image_scores, strict=True)
        ]
        lines += [
            {"text": text, "images": _top(row, names, self.top)}
            for text, row in zip(data.texts, found.text_scores.T, strict=True)
        ]
        return Evaluation(_rounded(found) if truth else {}, lines)

    def answers(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """There is no answer from one batch: `evaluate` searches everything."""
        raise NotImplementedError("retrieval searches all images and texts: call evaluate")

    def scores(self, examples: Any, lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """There are no scores of single answers: `evaluate` ranks everything."""
        raise NotImplementedError("retrieval ranks all images and texts: call evaluate")


def _top(row: Any, names: Sequence[str], count: int) -> list[tuple[str, float]]:
    best = np.argsort(-row, kind="stable")[:count]
    return [(names[int(place)], round(float(row[place]), 6)) for place in best]


def _rounded(found: RetrievalScores) -> dict[str, float]:
    return found.numbers() | {"ties TR": 100 * found.to_text.ties, "ties IR": 100 * found.to_image.ties}
