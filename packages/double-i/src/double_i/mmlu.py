"""Multiple-choice questions from the folders of MMLU (Hendrycks et al. 2021), five examples before each.

dev/SUBJECT_dev.csv holds the examples, test/SUBJECT_test.csv the questions: rows of question, four options,
letter, without a header. A question's answer is the most likely of the four letters; accuracy is over all
questions (micro). The prompt is that of the authors' own evaluation. Source: the paper; the runner is ours.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from double_i.first_words import LocalModel
from nonet.errors import UserError

LETTERS = "ABCD"


class Item(NamedTuple):
    """A question with four options."""

    question: str
    options: tuple[str, ...]
    answer: str
    """a letter"""


class Subject(NamedTuple):
    """One of the 57."""

    name: str
    examples: list[Item]
    items: list[Item]


class MmluResult(NamedTuple):
    """Answers of one model."""

    right: NDArray[np.bool_]
    """one a question, in the order of the subjects"""
    subjects: list[str]
    """of each question"""
    short: int
    """questions that had fewer examples than asked for, as the model has no more positions"""

    @property
    def accuracy(self) -> float:
        """Over all questions."""
        return float(self.right.mean())

    def by_subject(self) -> dict[str, tuple[float, int]]:
        """Accuracy and number of questions of each subject."""
        names = np.array(self.subjects)
        return {
            name: (float(self.right[names == name].mean()), int((names == name).sum()))
            for name in dict.fromkeys(self.subjects)
        }


def read_mmlu(folder: str | Path, subjects: Sequence[str] = ()) -> list[Subject]:
    """Subjects of a folder with dev/ and test/, in order of their names.

    Args:
        folder: with dev/ and test/.
        subjects: names of those wanted; empty: all.

    Raises:
        UserError: no such folder, a subject without examples, or a row of another form.
    """
    folder = Path(folder)
    files = sorted((folder / "test").glob("*_test.csv"))
    if not files:
        raise UserError(f"{folder}: no test/SUBJECT_test.csv in it; give the folder that holds dev and test")
    found = {file.name.removesuffix("_test.csv"): file for file in files}
    missing = [name for name in subjects if name not in found]
    if missing:
        raise UserError(f"{folder}/test: no subject {missing[0]}")
    return [
        Subject(name, _read(folder / "dev" / f"{name}_dev.csv"), _read(file))
        for name, file in found.items()
        if not subjects or name in subjects
    ]


def prompt(subject: Subject, item: Item, shots: int) -> str:
    """The text up to the answer's letter."""
    topic = subject.name.replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {topic}.\n\n"
    shown = "".join(f"{_question(example)} {example.answer}\n\n" for example in subject.examples[:shots])
    return head + shown + _question(item)


def evaluate(
    local: LocalModel,
    subjects: Sequence[Subject],
    *,
    shots: int = 5,
    longest: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> MmluResult:
    """Answer every question.

    Args:
        local: the model.
        subjects: from `read_mmlu`.
        shots: examples before each question.
        longest: tokens that a prompt may have; by default the model's positions. Longer ones lose examples.
        progress: is told how many questions each batch had.
    """
    limit = longest or local.limit or getattr(local.config, "max_position_embeddings", None)
    prompts: list[str] = []
    owners: list[str] = []
    short = 0
    for subject in subjects:
        for item in subject.items:
            count = min(shots, len(subject.examples))
            text = prompt(subject, item, count)
            while limit is not None and count and len(local.encode(text)) > limit:
                count -= 1
                text = prompt(subject, item, count)
            short += count < min(shots, len(subject.examples))
            prompts.append(text)
            owners.append(subject.name)
    letters = [[letter, f" {letter}"] for letter in LETTERS]
    chosen = local.option_scores(prompts, letters, progress).argmax(1)
    gold = np.array([LETTERS.index(item.answer) for subject in subjects for item in subject.items])
    return MmluResult(chosen == gold, owners, short)


def _question(item: Item) -> str:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, item.options, strict=True))
    return f"{item.question}{options}\nAnswer:"


def _read(file: Path) -> list[Item]:
    if not file.exists():
        raise UserError(f"{file}: not there")
    items = []
    with open(file, encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        for row in reader:
            if not row:
                continue
            if len(row) != 6 or row[5].strip() not in tuple(LETTERS):
                raise UserError(
                    f"{file}:{reader.line_num}: {len(row)} columns; due: question, four options, one of A-D"
                )
            items.append(Item(row[0], tuple(row[1:5]), row[5].strip()))
    if not items:
        raise UserError(f"{file}: holds no questions")
    return items
