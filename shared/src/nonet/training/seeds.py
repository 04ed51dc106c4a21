"""Randomness as a function of (seed, step, micro-batch, rank), so that a run can be resumed at any step.

Nothing of a generator's state is stored: before each micro-batch torch's generators (CPU and GPU) are seeded
anew. What happened before - validation, data loading, a restart - cannot shift the dropout masks that follow.
"""

import random
from typing import Any

import lightning as L
import numpy as np
import torch


def step_seed(seed: int, step: int, micro_batch: int = 0, rank: int = 0) -> int:
    """A 63-bit seed, well mixed: neighbouring arguments give unrelated numbers.

    Args:
        seed: the run's, 0 or more.
        step: optimiser steps taken before.
        micro_batch: which of the batches that make up the step, from 0.
        rank: which process.
    """
    low, high = np.random.SeedSequence([seed, step, micro_batch, rank]).generate_state(2, np.uint32)
    return (int(high) << 32 | int(low)) & (2**63 - 1)


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators (CPU and GPU): the initial weights follow from it."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class SeedEveryStep(L.Callback):  # type: ignore[misc]
    """Seeds torch's generators before every micro-batch.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed for this step and micro-batch, on this rank."""
        micro_batch = batch_idx % trainer.accumulate_grad_batches
        torch.manual_seed(step_seed(self.seed, trainer.global_step, micro_batch, trainer.global_rank))
