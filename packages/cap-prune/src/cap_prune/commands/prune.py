"""Prune an encoder step by step while it is trained; every level of sparsity is kept."""

from dataclasses import dataclass, field
from typing import Literal

from cap_prune.mask_options import MaskOptions
from cap_prune.train_options import LossOptions, TaskOptions

TARGETS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
UNITS_ONLY = ("first-order", "random")
WEIGHTS_ONLY = ("movement", "soft-movement")


@dataclass(frozen=True, kw_only=True)
class Options(TaskOptions):
    """Prune an encoder while it learns a task from labels, a teacher and contrast with three banks.

    Heads and feed-forward neurons are removed at each target, for good, and the model is smaller and faster.
    With masks.density, masks.pattern, movement or soft-movement single weights become zeros instead. Each
    level is a folder of the run, `step-10` or `density-0.10`, that loads as a model; `resume` goes on with
    an interrupted run.
    """

    teacher: str | None = None
    """folder of the fine-tuned dense model, such as RUN/model of the verb teacher; none: learn from labels"""
    method: Literal["first-order", "magnitude", "random", "wanda", "movement", "soft-movement"] = (
        "first-order"
    )
    """what is pruned first: the units whose gates change the loss least (first-order), units or weights that
    are small (magnitude) or small times their inputs (wanda), any units (random), or weights that move
    towards zero (movement; soft-movement: below a threshold)"""
    targets: str | tuple[float, ...] | None = None
    """percents of heads, and of neurons, of the dense model that are gone after each step, such as 50,70,90;
    none: 10,20,...,90"""
    epochs: float | None = None
    """passes over the training examples, for units at each step; none: 2 for units, 10 for single weights;
    0: trainer.steps says how many steps there are"""
    importance_samples: int | None = 2048
    """examples that units are scored on at each step, drawn by trainer.seed; none: all, as in the original"""
    force: bool = False
    """go on with a teacher that is hardly better than the most frequent label"""
    loss: LossOptions = field(default_factory=LossOptions)
    """what is trained on"""
    masks: MaskOptions = field(default_factory=MaskOptions)
    """of single weights"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        super().__post_init__()
        if self.epochs is not None and self.epochs < 0:
            raise UserError(f"epochs is {self.epochs:g}; it is 0 or more")
        if self.importance_samples is not None and self.importance_samples < 1:
            raise UserError(f"importance_samples is {self.importance_samples}; it is at least 1")
        if not self.masked:
            if self.masks != MaskOptions():
                raise UserError("masks are of single weights: give masks.density or masks.pattern with them")
            _ = self.percents
            return
        if self.method in UNITS_ONLY:
            raise UserError(
                f"{self.method} prunes heads and neurons; for single weights take movement, soft-movement, "
                "magnitude or wanda, or leave masks out"
            )
        if self.targets is not None:
            raise UserError("targets are of heads and neurons; for single weights give masks.density alone")
        self.masks.densities(self.method)

    @property
    def passes(self) -> float:
        """Epochs, with the default of what is pruned."""
        return self.epochs if self.epochs is not None else 10 if self.masked else 2

    @property
    def percents(self) -> tuple[float, ...]:
        """The targets as numbers."""
        from nonet.errors import UserError

        if self.targets is None:
            return TARGETS
        if not isinstance(self.targets, str):
            return self.targets
        try:
            return tuple(float(word) for word in self.targets.replace(",", " ").split())
        except ValueError:
            raise UserError(f"targets are {self.targets!r}; write percents like 50,70,90") from None

    @property
    def masked(self) -> bool:
        """Whether single weights are pruned instead of heads and neurons."""
        masks = self.masks
        return self.method in WEIGHTS_ONLY or bool(masks.density or masks.pattern or masks.block)


def run(options: Options) -> int:
    """Prune, train, score and save every level; prints the run's folder."""
    from cap_prune.prune_run import prune_student

    prune_student(options)
    return 0
