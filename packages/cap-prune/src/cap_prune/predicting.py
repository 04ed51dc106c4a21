"""Labels, numbers or answers for a stream of records, in the order they come, whatever the batches (ours).

Probabilities are rounded before the greatest is taken, so that the last bits, which padding and batches
decide, are neither written nor choose a label.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cap_prune.encoding import encode_texts, takes_types
from cap_prune.evaluating import BATCH, answers, class_logits
from cap_prune.record_files import columns_of_record
from cap_prune.squad_features import windows
from cap_prune.squad_files import Question
from cap_prune.tasks import Task
from cap_prune.texts import Texts
from nonet.data.text import Record

WINDOW = 1024
"""records read ahead, to put those of similar length into a batch"""
DIGITS = 5
"""of probabilities and numbers"""


class Item(NamedTuple):
    """What a prediction is made for: a text, a pair, or a question and its context."""

    id: str
    first: str
    second: str | None


def items(records: Iterable[Record], task: Task, fields: tuple[str, ...] | None = None) -> Iterator[Item]:
    """The texts of records; the id is the field `id`, or the number of the record, from 1.

    Args:
        records: of files.
        task: its columns are looked for, then `text` and `text2`.
        fields: other names.

    Raises:
        UserError: a field is missing or no text.
    """
    names = fields
    for number, record in enumerate(records, 1):
        names = names or columns_of_record(task, record.where, record.fields)
        given = record.fields.get("id")
        texts = [record.text(name, option="--fields").strip() for name in names]
        yield Item(str(number if given is None else given), texts[0], texts[1] if len(texts) > 1 else None)


def predict(
    model: Any,
    task: Task,
    tokenizer: Any,
    found: Iterable[Item],
    *,
    max_length: int,
    stride: int = 128,
    batch: int = BATCH,
    window: int = WINDOW,
    counts: Counter[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """A prediction for every item, in order.

    Args:
        model: with the head of the task, on the device to work on.
        task: what is predicted.
        tokenizer: the model's.
        found: items, read one window ahead.
        max_length: tokens at most; longer texts are cut.
        stride: tokens that windows of a context share.
        batch: examples at a time.
        window: items read ahead.
        counts: `cut` grows by the examples that were cut.

    Yields:
        `id`, and `label` and `scores` (probabilities by label), `score` (a regression), or `answer`, `score`
        (probability among the best spans) and `start` (its character in the context).
    """
    stream = iter(found)
    while held := list(islice(stream, window)):
        if task.kind == "qa":
            yield from _answers(model, tokenizer, held, max_length, stride, batch, counts)
            continue
        second = None if held[0].second is None else [item.second or "" for item in held]
        texts = Texts([item.first for item in held], second, None)
        examples = encode_texts(texts, tokenizer, max_length, config=model.config)
        if counts is not None:
            counts["cut"] += examples.cut
        logits = class_logits(model, task, examples, pad_id=tokenizer.pad_token_id, batch=batch)
        for item, row in zip(held, logits.astype(np.float64), strict=True):
            yield {"id": item.id, **_row(task, row)}


def _row(task: Task, logits: NDArray[np.float64]) -> dict[str, Any]:
    if task.kind == "regression":
        return {"score": round(float(logits[0]), DIGITS)}
    shares = np.exp(logits - logits.max())
    shares = np.round(shares / shares.sum(), DIGITS)
    return {
        "label": task.labels[int(shares.argmax())],
        "scores": {label: float(share) for label, share in zip(task.labels, shares, strict=True)},
    }


def _answers(
    model: Any,
    tokenizer: Any,
    held: list[Item],
    max_length: int,
    stride: int,
    batch: int,
    counts: Counter[str] | None,
) -> Iterator[dict[str, Any]]:
    questions = [Question(str(number), item.first, item.second or "", ()) for number, item in enumerate(held)]
    examples = windows(
        questions, tokenizer, max_length=max_length, stride=stride, labelled=False,
        types=takes_types(tokenizer, model.config),
    )  # fmt: skip
    if counts is not None:
        counts["cut"] += examples.cut
    spans = answers(model, examples, pad_id=tokenizer.pad_token_id, batch=batch)
    for item, span in zip(held, spans.values(), strict=True):
        yield {
            "id": item.id, "answer": span.text, "score": round(span.probability, DIGITS), "start": span.start
        }  # fmt: skip
