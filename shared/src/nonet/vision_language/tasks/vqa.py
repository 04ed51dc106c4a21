"""Questions about images, answered by the decoder: it writes, or ranks given answers.

ALBEF (Li et al. 2021, section 4) and mPLUG (Li et al. 2022, section 4.2): the question is fused with the
image, and the decoder looks at image and question. Each distinct answer of a question is learnt from with the
share of people who gave it. In the code released with mPLUG these weights multiply a mean over the batch and
so do nothing; here they weigh each answer's own loss.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from nonet.data.images import open_image
from nonet.errors import UserError
from nonet.metrics.vqa import vqa_accuracy
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.task import ImageReading, Task, Terms, counted, each_once, joined
from nonet.vision_language.tasks.task_files import Question, read_questions, refuse_shared, side_by_side
from nonet.vision_language.tasks.task_settings import TaskSettings
from nonet.vision_language.tasks.writing import decoder_of, rank_texts, text_losses, write_texts

# Shapes: B questions, A answers of all of them, S tokens of an image, L of a text, d width.

RANKED = 128  # answers of a question that are scored whole, ALBEF's


class VqaTask(Task):
    """Answers to questions.

    Args:
        model: with a decoder.
        tokenizer: of transformers.
        settings: of the task.
        choices: answers to pick from; none: the decoder writes freely.

    Raises:
        UserError: the model has no decoder.
    """

    name = "vqa"
    monitor = "accuracy"

    def __init__(
        self, model: PairModel, tokenizer: Any, settings: TaskSettings, choices: Sequence[str] = ()
    ) -> None:
        super().__init__(model, tokenizer, settings)
        decoder_of(model)
        self.choices = list(choices)
        self.answer_texts = TextBatch(tokenizer, settings.longest + 2)

    def used(self) -> list[nn.Module]:
        """All that fuses and writes."""
        return [self.model.vision, self.model.text, self.model.fusion, decoder_of(self.model)]

    def read(
        self, sources: Sequence[str], folder: Path | None, split: str | None, *, truth: bool
    ) -> list[Question]:
        """Questions, those of an image next to one another in the order of their first ones."""
        if split is not None:
            raise UserError(f"files of questions have no splits; leave out the split {split!r}")
        return side_by_side(read_questions(sources, folder, answered=truth))

    def refuse_shared(self, train: Sequence[Any], other: Sequence[Any], what: str) -> None:
        """By question id, or by image and question."""
        refuse_shared(train, other, what)

    def item(
        self, examples: Sequence[Any], index: int, reading: ImageReading, random: np.random.Generator | None
    ) -> dict[str, Any]:
        """`pixels`, `question`, `answers` (text, weight), `id`, `once`, equal for equal pixels."""
        question: Question = examples[index]
        pixels = reading(open_image(question.image), question.text, random)
        return {
            "pixels": pixels, "question": question.text, "place": question.place, "id": question.id,
            "answers": question.weighted() if random is not None else [],
            "once": question.image if random is None else f"{question.image}:{index}",
        }  # fmt: skip

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch.

        Keys:
            images: (R, 3, H, W), each image once; of_image: (B,) int64.
            input_ids, attention_mask: (B, L) int64, the questions.
            answer_ids, answer_mask: (A, L) int64; of_question: (A,) int64; weights: (A,) float32. While
                learning only.
        """
        batch = joined(items, "id", "question")
        batch["images"], batch["of_image"] = each_once(items)
        batch["input_ids"], batch["attention_mask"] = self.texts([item["question"] for item in items])
        answers = [(number, *answer) for number, item in enumerate(items) for answer in item["answers"]]
        if answers:
            ids, mask = self.answer_texts([text for _, text, _ in answers])
            batch |= {"answer_ids": ids, "answer_mask": mask}
            batch["of_question"] = torch.tensor([number for number, _, _ in answers])
            batch["weights"] = torch.tensor([weight for _, _, weight in answers])
        return batch

    def look(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What the decoder looks at: image and question tokens (B, S + L, d), and their mask (B, S + L)."""
        mask = batch["attention_mask"]
        text = self.model.encode_text(batch["input_ids"], mask)
        image = self.image_tokens(batch["images"], text[:, 0], batch["of_image"])
        image, text = self.model.fusion(image, None, text, mask)
        return torch.cat([image, text], 1), torch.cat([mask.new_ones(image.shape[:2]), mask], 1)

    def losses(self, batch: dict[str, Any], *, random: Generator, passed: float) -> Terms:
        """`answer`: minus log-probability of each answer, weighted, summed over a question's answers."""
        source, mask = self.look(batch)
        of = batch["of_question"]
        losses, _ = text_losses(
            decoder_of(self.model), batch["answer_ids"], batch["answer_mask"], source[of], mask[of]
        )
        return {"answer": counted((batch["weights"] * losses).sum(), len(source))}

    def answers(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """`question_id`, `question`, `answer`."""
        source, mask = self.look(batch)
        decoder = decoder_of(self.model)
        if self.choices:
            ids, own = (part.to(source.device) for part in self.answer_texts(self.choices))
            best = rank_texts(decoder, source, mask, ids, own, keep=RANKED)
            found = [self.choices[number] for number in best.tolist()]
        else:
            found = write_texts(decoder, source, mask, self.answer_texts, self.settings)
        return [
            {"question_id": id, "question": question, "answer": answer}
            for id, question, answer in zip(batch["id"], batch["question"], found, strict=True)
        ]

    def scores(self, examples: Sequence[Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`accuracy`, VQA's, and that of each type; of questions with one answer, the share that is it."""
        given = {line["question_id"]: line["answer"] for line in lines}
        truth = {question.id: list(question.answers) for question in examples}
        if all(len(answers) == 1 for answers in truth.values()):
            # one person's answer: three equal ones cannot be asked for
            truth = {id: answers * 10 for id, answers in truth.items()}
        types = {question.id: question.kind for question in examples}
        found = vqa_accuracy(given, truth, types=types if all(types.values()) else None)
        scores = {"accuracy": 100 * found.accuracy}
        return scores | {f"accuracy {kind}": 100 * share for kind, share in found.by_type.items()}
