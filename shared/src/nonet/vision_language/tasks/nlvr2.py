"""Whether a statement about two images is true (NLVR2, Suhr et al. 2019).

The statement is fused with each image by the same fusion, and two layers read both CLS tokens side by side,
as UNITER's "pair" (Chen et al. 2020) and BLIP (Li et al. 2022) do. ALBEF doubles the fusion and trains it to
tell which image a text is of first; this does without both, so its numbers are not ALBEF's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from nonet.data.images import open_image
from nonet.errors import UserError
from nonet.metrics.reasoning import nlvr2, nlvr2_sentence
from nonet.vision_language.bert_layers import initialise
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.task import ImageReading, Task, Terms, counted, joined
from nonet.vision_language.tasks.task_files import Statement, read_statements, refuse_shared
from nonet.vision_language.tasks.task_settings import TaskSettings

# Shapes: B statements, S tokens of an image, L of a text, d width.


class Nlvr2Task(Task):
    """True or false of two images and a statement.

    Args:
        model: with a fusion.
        tokenizer: of transformers.
        settings: of the task.

    Attributes:
        head: both CLS tokens (B, 2 d) to logits of (false, true).
    """

    name = "nlvr2"
    monitor = "accuracy"

    def __init__(self, model: PairModel, tokenizer: Any, settings: TaskSettings) -> None:
        super().__init__(model, tokenizer, settings)
        width = model.config.text_width
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 2))
        initialise(self.head)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The head."""
        return {"nlvr2_head": self.head}

    def used(self) -> list[nn.Module]:
        """Both towers and the fusion."""
        return [self.model.vision, self.model.text, self.model.fusion]

    def read(
        self, sources: Sequence[str], folder: Path | None, split: str | None, *, truth: bool
    ) -> list[Statement]:
        """Statements."""
        if split is not None:
            raise UserError(f"files of statements have no splits; leave out the split {split!r}")
        return read_statements(sources, folder, labelled=truth)

    def refuse_shared(self, train: Sequence[Any], other: Sequence[Any], what: str) -> None:
        """By identifier, or by images and statement."""
        refuse_shared(train, other, what)

    def item(
        self, examples: Sequence[Any], index: int, reading: ImageReading, random: np.random.Generator | None
    ) -> dict[str, Any]:
        """`pixels` (2, 3, H, W), `text`, `label`, `id`."""
        found: Statement = examples[index]
        pixels = torch.stack([reading(open_image(image), found.text, random) for image in found.images])
        return {
            "pixels": pixels, "text": found.text, "label": found.label, "id": found.id, "place": found.place
        }  # fmt: skip

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """`images` (2 B, 3, H, W), the first ones of all statements first; `input_ids`, `attention_mask`
        (B, L) int64; `labels` (B,) int64, 1 for true."""
        batch = joined(items, "id", "text")
        pixels = torch.stack([item["pixels"] for item in items])
        batch["images"] = pixels.transpose(0, 1).flatten(0, 1)
        batch["input_ids"], batch["attention_mask"] = self.texts(batch["text"])
        batch["labels"] = torch.tensor([int(bool(item["label"])) for item in items])
        return batch

    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """(B, 2): false, true."""
        mask = batch["attention_mask"]
        text = self.model.encode_text(batch["input_ids"], mask).repeat(2, 1, 1)
        image = self.image_tokens(batch["images"], text[:, 0])
        fused = self.model.fusion.first_token(image, None, text, mask.repeat(2, 1))
        return self.head(torch.cat(fused.chunk(2), dim=1))

    def losses(self, batch: dict[str, Any], *, random: Generator, passed: float) -> Terms:
        """`statement`: cross entropy."""
        logits = self.logits(batch).float()
        return {"statement": counted(F.cross_entropy(logits, batch["labels"], reduction="sum"), len(logits))}

    def answers(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """`id`, `sentence`, `label` (bool), `true` (probability)."""
        chances = self.logits(batch).float().softmax(-1)[:, 1].tolist()
        return [
            {"id": id, "sentence": text, "label": chance > 0.5, "true": round(chance, 6)}
            for id, text, chance in zip(batch["id"], batch["text"], chances, strict=True)
        ]

    def scores(self, examples: Sequence[Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`accuracy`; `consistency` where the identifiers are NLVR2's."""
        guesses, truth = [line["label"] for line in lines], [found.label for found in examples]
        ids = [found.id for found in examples]
        named = all(id.count("-") == 3 for id in ids)
        found = nlvr2(guesses, truth, [nlvr2_sentence(id) if named else id for id in ids])
        scores = {"accuracy": 100 * found.accuracy}
        return scores | {"consistency": 100 * found.consistency} if named else scores
