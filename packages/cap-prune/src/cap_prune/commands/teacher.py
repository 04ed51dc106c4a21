"""Fine-tune the dense model that students are compared with and learn from."""

from dataclasses import dataclass

from cap_prune.train_options import TaskOptions


@dataclass(frozen=True, kw_only=True)
class Options(TaskOptions):
    """Fine-tune an encoder on one task, all weights, and score it on the dev side.

    The folder `model` of the run is what `prune --teacher` takes.
    """

    epochs: float = 3
    """passes over the training examples; 0: trainer.steps says how long"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        super().__post_init__()
        if self.epochs < 0:
            raise UserError(f"epochs is {self.epochs:g}; it is 0 or more")


def run(options: Options) -> int:
    """Train, score, save; prints the run's folder."""
    from cap_prune.teacher_run import train_teacher

    train_teacher(options)
    return 0
