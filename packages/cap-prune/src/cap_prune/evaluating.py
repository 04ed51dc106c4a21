"""Scores of a model on a task, and the outputs they are made from (GLUE's measures; SQuAD's by its script).

Nothing of a result depends on how examples are put into batches, but for rounding of sums.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cap_prune.examples import Batch, Examples, collate, inputs_of, move
from cap_prune.tasks import Task, columns_of
from nonet.data.batching import OrderedBatches
from nonet.errors import RunFailed, UserError
from nonet.metrics.classification import accuracy, f1, macro_f1
from nonet.metrics.correlation import matthews, pearson, spearman

# Shapes: N examples, C classes, L tokens.

Floats = NDArray[np.float32]

BATCH = 64
"""examples that are evaluated together"""
MEASURES: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": lambda found, gold: accuracy(found, gold),
    "f1": lambda found, gold: f1(found, gold, labels=[1]),
    "macro_f1": lambda found, gold: macro_f1(found, gold),
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
"""of predicted and true labels or numbers; `f1` is that of class 1"""


def evaluate(
    model: Any, task: Task, examples: Examples, *, pad_id: int | None = None, batch: int = BATCH
) -> dict[str, float]:
    """Score a model.

    Args:
        model: of transformers, with the head of the task, on the device to work on. Its mode is restored.
        task: the task; a model that names its labels in another order is read by name.
        examples: of one side, with labels.
        pad_id: the tokenizer's number for padding; None: the config's.
        batch: examples at a time.

    Returns:
        The task's measures, as shares 0..1 and correlations -1..1; of SQuAD as its script has them, 0..100.

    Raises:
        UserError: labels are hidden, or the model's head is not the task's.
        RunFailed: outputs are not finite.
    """
    if task.kind == "qa":
        if examples.questions is None or not examples.questions.answers:
            raise UserError("there are no answers to score against")
        from nonet.metrics.reading import reading_scores

        spans = answers(model, examples, pad_id=pad_id, batch=batch)
        found = {key: span.text for key, span in spans.items()}
        return reading_scores(found, examples.questions.answers)
    if examples.labels is None:
        raise UserError("the labels of this side are hidden, so that there is nothing to score against")
    logits = class_logits(model, task, examples, pad_id=pad_id, batch=batch)
    predicted = logits[:, 0].astype(np.float64) if task.kind == "regression" else logits.argmax(1)
    return {name: MEASURES[name](predicted.tolist(), examples.labels.tolist()) for name in task.measures}


def class_logits(
    model: Any, task: Task, examples: Examples, *, pad_id: int | None = None, batch: int = BATCH
) -> Floats:
    """The model's outputs for every example, columns in the order of the task's labels.

    Returns:
        (N, C) float32, C the task's labels, or 1 of a regression; in the order of the examples.
    """
    check_head(model, task)
    out = np.empty((len(examples), task.outputs), np.float32)
    order = columns_of(model.config.id2label, task) if task.kind == "classification" else [0]
    for places, outputs in forward(model, examples, pad_id=pad_id, batch=batch):
        out[places] = outputs.logits.float().cpu().numpy()[:, order]
    return finite(out)


def answers(
    model: Any, examples: Examples, *, pad_id: int | None = None, batch: int = BATCH, **limits: int
) -> dict[str, Any]:
    """The best span of each question, by the question's id, as `squad_answers.Span`.

    Args:
        model: with a head for questions.
        examples: windows of contexts.
        pad_id: the tokenizer's number for padding; None: the config's.
        batch: windows at a time.
        **limits: those of `squad_answers.best_spans`.

    Raises:
        UserError: the model has no head for questions.
    """
    from cap_prune.squad_answers import best_spans

    if examples.questions is None:
        raise UserError("these examples are no windows of contexts with questions")
    starts: list[Any] = [None] * len(examples)
    ends: list[Any] = [None] * len(examples)
    for places, outputs in forward(model, examples, pad_id=pad_id, batch=batch):
        if not hasattr(outputs, "start_logits"):
            raise UserError(f"{type(model).__name__} has no head for questions; the task is squad")
        for side, values in ((starts, outputs.start_logits), (ends, outputs.end_logits)):
            rows = finite(values.float().cpu().numpy())
            for place, row in zip(places, rows, strict=True):
                side[int(place)] = row[: int(examples.lengths[place])]
    return best_spans(starts, ends, examples.questions, **limits)


def forward(
    model: Any, examples: Examples, *, pad_id: int | None = None, batch: int = BATCH
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """The numbers and the outputs of batches of similar lengths, longest first, without gradients.

    Raises:
        UserError: there are no examples.
    """
    import torch

    padding = _pad_id(model, pad_id)
    device = next(model.parameters()).device
    with evaluation_mode(model), torch.no_grad():
        for places in OrderedBatches(examples.lengths, batch=batch, by_length=True).epoch(0):
            rows = collate([examples[(0, int(place))] for place in places], padding)
            yield places, model(**inputs_of(move(rows, device)))


def plain_batches(
    examples: Examples, pad_id: int, *, batch: int = BATCH, device: Any = "cpu", order: Sequence[int] = ()
) -> Iterator[Batch]:
    """All examples in batches of similar lengths, on a device; or those of `order` as they come."""
    if order:
        parts: Any = [order[at : at + batch] for at in range(0, len(order), batch)]
    else:
        parts = OrderedBatches(examples.lengths, batch=batch, by_length=True).epoch(0)
    together = partial(collate, pad_id=pad_id)
    for places in parts:
        yield move(together([examples[(0, int(place))] for place in places]), device)


def check_head(model: Any, task: Task) -> None:
    """Nothing, if a model's head gives what the task needs.

    Raises:
        UserError: another head, or another number of outputs.
    """
    wanted = "ForQuestionAnswering" if task.kind == "qa" else "ForSequenceClassification"
    if not type(model).__name__.endswith(wanted):
        raise UserError(f"{type(model).__name__} has no head for task {task.name}; it needs ...{wanted}")
    if task.kind == "regression" and model.config.num_labels != 1:
        raise UserError(
            f"the model tells {model.config.num_labels} classes apart; {task.name} is a regression"
        )


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """The model in evaluation mode for as long as the block lasts."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


def finite(values: Floats) -> Floats:
    """The values.

    Raises:
        RunFailed: one is not finite, so that no label can be told.
    """
    if not np.isfinite(values).all():
        raise RunFailed("the model's outputs are not finite numbers, so that nothing can be scored")
    return values


def _pad_id(model: Any, pad_id: int | None) -> int:
    found = pad_id if pad_id is not None else model.config.pad_token_id
    if found is None:
        raise UserError("neither the tokenizer nor the model's config names a padding token")
    return int(found)
