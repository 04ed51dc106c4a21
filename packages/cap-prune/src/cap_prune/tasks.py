"""The tasks: labels in the order of `datasets`, columns of their files, measures (GLUE; SQuAD v1.1).

A label's number is its place in `labels`. The order of MNLI differs between programs; a model that names its
labels is read by name, see `columns_of`, and one that is loaded for a task has its outputs in this order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from nonet.errors import UserError

Kind = Literal["classification", "regression", "qa"]

_NO_NAME = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class Task:
    """What is predicted and how it is scored.

    Attributes:
        name: as on the command line.
        kind: `classification` of texts or pairs, `regression` of one number, or `qa`, a span of a context.
        labels: names in the order of their numbers; none for the other kinds, or where the data names them.
        measures: names of what `evaluate` gives, as shares 0..1 (correlations -1..1); SQuAD's are 0..100.
        primary: the one that levels are compared by.
        texts: columns of the text or the pair, in files with a header.
        label: column of the label.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    measures: tuple[str, ...]
    primary: str
    texts: tuple[str, ...] = ("sentence1", "sentence2")
    label: str = "label"

    @property
    def outputs(self) -> int:
        """Numbers that a model's head gives: of an example, or of a token (qa)."""
        return {"classification": len(self.labels), "regression": 1, "qa": 2}[self.kind]


_ENTAILMENT = ("entailment", "not_entailment")
_SAME = ("not_equivalent", "equivalent")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("sst2", "classification", ("negative", "positive"), ("accuracy",), "accuracy", ("sentence",)),
        Task("mrpc", "classification", _SAME, ("accuracy", "f1"), "accuracy"),
        Task("rte", "classification", _ENTAILMENT, ("accuracy",), "accuracy"),
        Task(
            "cola", "classification", ("unacceptable", "acceptable"), ("matthews", "accuracy"), "matthews",
            ("sentence",),
        ),
        Task("stsb", "regression", (), ("spearman", "pearson"), "spearman", label="score"),
        Task("qnli", "classification", _ENTAILMENT, ("accuracy",), "accuracy", ("question", "sentence")),
        Task(
            "qqp", "classification", ("not_duplicate", "duplicate"), ("accuracy", "f1"), "accuracy",
            ("question1", "question2"), "is_duplicate",
        ),
        Task(
            "mnli", "classification", ("entailment", "neutral", "contradiction"), ("accuracy",), "accuracy",
            label="gold_label",
        ),
        Task("wnli", "classification", ("not_entailment", "entailment"), ("accuracy",), "accuracy"),
        Task("squad", "qa", (), ("f1", "exact_match"), "f1", ("question", "context"), "answers"),
        Task("classify", "classification", (), ("accuracy", "macro_f1"), "accuracy", ("text", "text2")),
        Task("regress", "regression", (), ("spearman", "pearson"), "spearman", ("text", "text2")),
    )
}  # fmt: skip
"""by name; `classify` and `regress` are for files of your own"""


def task_of(name: str, labels: tuple[str, ...] | None = None) -> Task:
    """The task of a name.

    Args:
        name: one of `TASKS`, in any case, with or without a hyphen.
        labels: for `classify`, the names found in the data or in a trained model's config.

    Raises:
        UserError: no such task, or fewer than two labels, or labels for a task that has its own.
    """
    task = TASKS.get(name.lower().replace("-", ""))
    if task is None:
        raise UserError(f"no task {name!r}; there are {', '.join(TASKS)}")
    if labels is None:
        return task
    if task.name != "classify":
        if tuple(labels) != task.labels:
            raise UserError(
                f"task {task.name} has its own labels {list(task.labels)}; leave {list(labels)} out"
            )
        return task
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise UserError(f"labels are {list(labels)}; a classifier needs two or more, each once")
    return replace(task, labels=tuple(labels))


def trained_task(config: Any, name: str | None = None) -> Task:
    """The task that a model was trained on, as its config says, or another one that is named.

    Args:
        config: of the model.
        name: the task; None: the one in the config.

    Raises:
        UserError: neither says which.
    """
    found = name or (getattr(config, "cap_task", None) or {}).get("task")
    if found is None:
        raise UserError("the model's config does not say which task it was trained on; name it with --task")
    task = task_of(found)
    if task.name != "classify":
        return task
    names = sorted((int(number), str(label)) for number, label in config.id2label.items())
    return task_of(found, tuple(label for _, label in names))


def trained_length(config: Any, task: Task, max_length: int | None = None) -> int:
    """Tokens of an example at most: as asked for, as in training, or 128 (384 for squad)."""
    trained = (getattr(config, "cap_task", None) or {}).get("max_length")
    return max_length or trained or (384 if task.kind == "qa" else 128)


def trained_stride(config: Any, stride: int | None = None) -> int:
    """Tokens that windows of squad share: as asked for, as in training, or 128."""
    trained = (getattr(config, "cap_task", None) or {}).get("stride", 128)
    return int(trained if stride is None else stride)


def label_config(task: Task) -> dict[str, Any]:
    """The entries of a config for the head of a task: labels with their numbers, kind of problem."""
    if task.kind == "qa":
        return {}
    if task.kind == "regression":
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "num_labels": len(task.labels),
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(task.labels)),
        "label2id": {label: number for number, label in enumerate(task.labels)},
    }


def columns_of(id2label: Mapping[int | str, str], task: Task) -> list[int]:
    """Which output of a model belongs to each label of a task, so that another order does no harm.

    Args:
        id2label: the model's labels, in any case, with `-`, `_` or a blank between words; `LABEL_0`,
            `LABEL_1`, ... name nothing and are taken in the task's order.
        task: a classification.

    Raises:
        UserError: another number of labels, or other names.
    """
    theirs = [str(name) for _, name in sorted((int(number), name) for number, name in id2label.items())]
    if len(theirs) == len(task.labels):
        if all(_NO_NAME.fullmatch(name) for name in theirs):
            return list(range(len(theirs)))
        for same in (str, _plain):
            place = {same(name): number for number, name in enumerate(theirs)}
            if set(place) == {same(label) for label in task.labels} and len(place) == len(theirs):
                return [place[same(label)] for label in task.labels]
    raise UserError(
        f"the model's labels are {theirs}, those of task {task.name} are {list(task.labels)}: another model, "
        "or another task?"
    )


def _plain(label: str) -> str:
    return label.lower().replace("-", "_").replace(" ", "_")
