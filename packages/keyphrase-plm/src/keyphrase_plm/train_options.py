"""The options that training shares between families; plain data, so that help loads no torch.

The defaults are ours: batches by tokens, bf16 where the GPU has it, a linear schedule, the weights of the
best present F1@M on a sample of the validation set, early stopping. The recipes of Wu et al.'s released code
are the presets `deepkpg`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What is trained on, for how long, and which weights are kept."""

    train: tuple[Path, ...]
    """documents with gold phrases: canonical JSON lines of `prepare`, or any layout that `prepare` reads"""
    val: tuple[Path, ...] = ()
    """documents for validation; none: nothing is validated and the last weights are kept"""
    format: str = "auto"
    """layout of the files; auto: found by looking at them"""
    out: Path | None = None
    """run folder; none: runs/keyphrase_plm/train-FAMILY-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    train_size: int | None = None
    """train on this many documents alone; smaller subsets of one seed are parts of larger ones"""
    train_fraction: float | None = None
    """train on this share of the documents alone, in (0, 1]"""
    subset_seed: int = 0
    """which documents a subset has; apart from trainer.seed, so that runs of other seeds share it"""
    val_size: int | None = 2000
    """validate on the first so many documents; none: all"""
    batch: int | None = None
    """documents a batch at most, over all devices; none: no limit"""
    batch_tokens: int | None = 16384
    """padded pieces a batch at most, sources and targets together; none: no limit"""
    epochs: float = 10
    """passes over the training documents; 0: trainer.steps says how long"""
    select: Literal["f1", "loss", "last"] = "f1"
    """weights to keep: of the greatest present F1@M of `select_size` validation documents, of the lowest
    validation loss, or the last ones"""
    select_size: int = 1000
    """validation documents that are predicted at each validation, for `select f1`"""
    patience: int = 5
    """stop after so many validations without a better one; 0: never"""
    warmup_share: float = 0.05
    """share of the steps in which the rate rises, unless optimizer.warmup says how many"""
    max_skipped: int = 10
    """steps whose loss is not finite are left out and counted, and so many in succession end the run; 0: the
    first one does"""
    digit_token: bool = False
    """make [digit] one token with an embedding of its own; else it is three pieces, as in the original"""
    examples: int = 8
    """validation documents with their predictions on the run's page"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=500, checkpoint_every=500)
    )
    """length, devices, precision, seed"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=5e-5, weight_decay=0.01, schedule="linear")
    )
    """optimiser, rate, schedule"""

    def __post_init__(self) -> None:
        for name in ("train_size", "val_size", "batch", "batch_tokens", "select_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is at least 1")
        if self.batch is None and self.batch_tokens is None:
            raise UserError("batch and batch_tokens are both none: one of them limits a batch")
        if self.train_size is not None and self.train_fraction is not None:
            raise UserError("train_size and train_fraction exclude each other: give one")
        if self.train_fraction is not None and not 0 < self.train_fraction <= 1:
            raise UserError(f"train_fraction is {self.train_fraction:g}; it lies in (0, 1]")
        for name in ("epochs", "patience", "examples", "subset_seed", "max_skipped"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it is 0 or more")
        if not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share is {self.warmup_share:g}; it lies in [0, 1)")
        if self.select == "f1" and self.trainer.strategy == "fsdp":
            raise UserError(
                "select f1 predicts with whole weights, which fsdp shares out: choose select loss or last"
            )
