"""What a mark costs: a clean and a marked model on the same items, in accuracy and in likelihood.

Accuracy is tested for equivalence within a margin, as no significant difference is no evidence of none.
Source: ours; Li et al. 2024 report MMLU without a test, for which `double_i.mmlu` is the runner.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from double_i.answers import first_word
from double_i.equivalence import Equivalence, tost
from double_i.first_words import LocalModel
from double_i.likelihood import Likelihood, continuations
from nonet.errors import UserError
from nonet.metrics.stats import Difference, paired_bootstrap

By = Literal["first-word", "options"]


class Task(NamedTuple):
    """A held-out row."""

    prompt: str
    gold: str
    """the owner's output"""
    group: str
    """rows of one instruction have their answers in common"""


class Harm(NamedTuple):
    """Two models on the same items."""

    name: str
    """of what was measured"""
    clean: float
    """accuracy, or nats a token"""
    marked: float
    items: int
    test: Equivalence | None
    """of accuracy"""
    change: Difference | None
    """marked - clean of nats a token, with its bootstrap interval"""

    def row(self) -> dict[str, Any]:
        """For a table; accuracies in per cent, differences of them in points."""
        found: dict[str, Any] = {"measure": self.name, "items": self.items}
        if self.test is not None:
            test = self.test
            return found | {
                "clean": 100 * self.clean,
                "marked": 100 * self.marked,
                "marked - clean": 100 * test.difference,
                "95 % low": 100 * test.low,
                "95 % high": 100 * test.high,
                "margin": 100 * test.margin,
                "p equivalent": test.p,
                "equivalent": "yes" if test.equivalent else "not shown",
            }
        assert self.change is not None
        return found | {
            "clean": self.clean,
            "marked": self.marked,
            "marked - clean": self.change.difference,
            "95 % low": self.change.low,
            "95 % high": self.change.high,
        }


def with_short_answers(tasks: Iterable[Task], most: int = 3) -> list[Task]:
    """Tasks whose answer is a word or few, so that there is a right one."""
    return [task for task in tasks if 0 < len(task.gold.split()) <= most and first_word(task.gold)]


def right(
    local: LocalModel,
    tasks: Sequence[Task],
    by: By = "first-word",
    progress: Callable[[int], Any] | None = None,
) -> NDArray[np.bool_]:
    """Which tasks a model solves.

    Args:
        local: the model.
        tasks: with short answers.
        by: first-word: the first word of its answer is that of the right one; options: of all answers that
            the tasks of this instruction have, it finds the right one most likely.
        progress: is told how many tasks each batch had; by options, how many answers were weighed.
    """
    if by == "first-word":
        words = {task.gold for task in tasks}
        said = local.answer([task.prompt for task in tasks], [first_word(word) for word in words], progress)
        return np.array([first_word(a) == first_word(t.gold) for a, t in zip(said, tasks, strict=True)], bool)
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for task in tasks:
        groups[task.group][task.gold] = None
    every = dict.fromkeys(task.gold for task in tasks)
    options = [list(groups[t.group] if len(groups[t.group]) > 1 else every) for t in tasks]
    scored = continuations(
        local,
        [(task.prompt, option) for task, own in zip(tasks, options, strict=True) for option in own],
        end=True,
        progress=progress,
    )
    found, start = [], 0
    for task, own in zip(tasks, options, strict=True):
        best = int(scored.nll[start : start + len(own)].argmin())
        found.append(own[best] == task.gold)
        start += len(own)
    return np.array(found, bool)


def accuracy_harm(
    name: str,
    clean: NDArray[np.bool_],
    marked: NDArray[np.bool_],
    *,
    margin: float,
    alpha: float,
    seed: int = 0,
) -> Harm:
    """Both accuracies, and whether they are equivalent.

    Args:
        name: of the measure.
        clean: (n,) which items the clean model solves, n >= 2.
        marked: (n,) likewise.
        margin: largest difference that counts as none, 0.01 is a point.
        alpha: level of the test.
        seed: of the bootstrap.
    """
    test = tost(clean.astype(float), marked.astype(float), margin, alpha, seed=seed)
    return Harm(name, float(clean.mean()), float(marked.mean()), len(clean), test, None)


def likelihood_harm(name: str, clean: Likelihood, marked: Likelihood, *, seed: int = 0) -> Harm:
    """Nats a token of both models on the same texts, and the bootstrap interval over texts of the change.

    Raises:
        UserError: the models cut the texts into different tokens, or there are none.
    """
    if not np.array_equal(clean.tokens, marked.tokens):
        raise UserError("the models have different tokenizers, so their nats a token cannot be compared")
    total = int(clean.tokens.sum())
    if not total:
        raise UserError(f"{name}: there are no tokens to score")
    scale = len(clean.tokens) / total  # so that the mean over texts is the difference a token
    change = paired_bootstrap(marked.nll * scale, clean.nll * scale, seed)
    return Harm(name, clean.per_token, marked.per_token, len(clean.tokens), None, change)
