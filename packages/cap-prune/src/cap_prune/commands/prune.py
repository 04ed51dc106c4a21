"""Prune an encoder step by step while it is trained; every level of sparsity is kept."""

from dataclasses import dataclass, field
from typing import Literal

from cap_prune.train_options import LossOptions, TaskOptions

UNIT_METHODS = ("first-order", "magnitude", "random", "wanda")


@dataclass(frozen=True, kw_only=True)
class Options(TaskOptions):
    """Prune an encoder while it learns a task from labels, a teacher and contrast with three banks.

    Heads and feed-forward neurons are removed at each target, for good. Each level is a folder of the run,
    `step-10` and so on, that loads as a model; `resume` goes on with an interrupted run.
    """

    teacher: str | None = None
    """folder of the fine-tuned dense model, such as RUN/model of the verb teacher; none: learn from labels"""
    method: Literal["first-order", "magnitude", "random", "wanda"] = "first-order"
    """what is pruned first: the units whose gates change the loss least (first-order), that write least
    (magnitude; wanda: times their inputs), or any (random)"""
    targets: str | tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    """percents of heads, and of neurons, of the dense model that are gone after each step: 50,70,90"""
    epochs: float = 2
    """passes over the training examples at each step; 0: trainer.steps says how many steps each has"""
    importance_samples: int | None = 2048
    """examples that units are scored on at each step, drawn by trainer.seed; none: all, as in the original"""
    force: bool = False
    """go on with a teacher of other labels, or one that is hardly better than the most frequent label"""
    loss: LossOptions = field(default_factory=LossOptions)
    """what is trained on"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        super().__post_init__()
        if self.epochs < 0:
            raise UserError(f"epochs is {self.epochs:g}; it is 0 or more")
        if self.importance_samples is not None and self.importance_samples < 1:
            raise UserError(f"importance_samples is {self.importance_samples}; it is at least 1")
        _ = self.percents

    @property
    def percents(self) -> tuple[float, ...]:
        """The targets as numbers."""
        from nonet.errors import UserError

        if not isinstance(self.targets, str):
            return self.targets
        try:
            return tuple(float(word) for word in self.targets.replace(",", " ").split())
        except ValueError:
            raise UserError(f"targets are {self.targets!r}; write percents like 50,70,90") from None

    @property
    def masked(self) -> bool:
        """Whether single weights are pruned instead of heads and neurons."""
        return False


def run(options: Options) -> int:
    """Prune, train, score and save every level; prints the run's folder."""
    from cap_prune.prune_run import prune_student

    prune_student(options)
    return 0
