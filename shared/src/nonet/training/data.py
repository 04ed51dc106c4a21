"""Training and validation data of one run: batches that follow from the step alone.

The number of the next batch is steps made times batches a step; nothing else about the data is stored or
restored.
"""

import hashlib
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import Batches, Pair, StepSampler, loader
from nonet.errors import UserError
from nonet.training.checkpoints import refuse_other_settings

FINGERPRINT_BATCHES = 8  # batches of epoch 0 that tell one order of examples from another


class StepData(L.LightningDataModule):  # type: ignore[misc]
    """What a trainer of `build_trainer` trains and validates on.

    A data set's item is `dataset[(epoch, index)]`. Every rank takes its share of each batch. A checkpoint
    keeps a fingerprint of the batches: a resumed run with another batch size, seed or data set is refused.

    Args:
        train_dataset: the examples to learn from.
        train_batches: which of them make up each batch, over all ranks.
        collate: a list of items to a batch; a dict with the key `ids` makes errors easier to trace.
        val_dataset: the examples to validate on; without them there is no validation.
        val_batches: theirs, such as OrderedBatches; epoch 0 of them is used.
        val_collate: theirs, if it is another.
        workers: processes that load training data, a device.
        steps: optimiser steps of the run, if the caller wants it compared with the trainer's.
        accumulate: batches a step, likewise.
    """

    def __init__(
        self,
        train_dataset: Any,
        train_batches: Batches,
        collate: Callable[[list[Any]], Any],
        val_dataset: Any = None,
        val_batches: Batches | None = None,
        *,
        val_collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
        steps: int | None = None,
        accumulate: int | None = None,
    ) -> None:
        super().__init__()
        if (val_dataset is None) != (val_batches is None):
            raise ValueError("val_dataset and val_batches come together")
        self.train_dataset, self.train_batches, self.collate = train_dataset, train_batches, collate
        self.val_dataset, self.val_batches = val_dataset, val_batches
        self.val_collate = val_collate or collate
        self.workers, self.steps, self.accumulate = workers, steps, accumulate
        self._state: dict[str, Any] = {}
        if val_dataset is None:  # Lightning asks whether there is a hook before it calls it
            self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]

    def setup(self, stage: str) -> None:
        """Compare with the trainer's length.

        Raises:
            ValueError: the caller gave this and the trainer different numbers.
        """
        trainer = self._trainer()
        for name, mine, theirs in (
            ("steps", self.steps, trainer.max_steps),
            ("accumulate", self.accumulate, trainer.accumulate_grad_batches),
        ):
            if mine is not None and mine != theirs:
                raise ValueError(f"{name} is {mine} for the data and {theirs} for the trainer")

    def train_dataloader(self) -> Any:
        """Batches from the trainer's step on, for ever."""
        trainer = self._trainer()
        start = trainer.global_step * trainer.accumulate_grad_batches
        sampler = StepSampler(
            self.train_batches, start=start, rank=trainer.global_rank, world=trainer.world_size
        )
        return self._loader(self.train_dataset, sampler, self.collate, self.workers)

    def val_dataloader(self) -> Any:
        """Every validation example once; a batch too small for all ranks is joined to the one before."""
        trainer = self._trainer()
        assert self.val_batches is not None
        batches = _Joined(self.val_batches, trainer.world_size)
        sampler = StepSampler(
            batches, steps=batches.steps(0), rank=trainer.global_rank, world=trainer.world_size
        )
        return self._loader(self.val_dataset, sampler, self.val_collate, min(self.workers, 2))

    def indices(self, batch: int) -> list[Pair]:
        """(epoch, index) of the examples in this rank's share of training batch 0, 1, ... of the run."""
        trainer = self._trainer()
        sampler = StepSampler(
            self.train_batches, start=batch, steps=1, rank=trainer.global_rank, world=trainer.world_size
        )
        return next(iter(sampler))

    def state_dict(self) -> dict[str, Any]:
        """What tells these training batches from others."""
        if not self._state:
            first = self.train_batches.epoch(0)
            order = hashlib.sha256()
            for items in first[:FINGERPRINT_BATCHES]:
                order.update(np.asarray(len(items), dtype="<i8").tobytes() + items.astype("<i8").tobytes())
            self._state = {
                "examples": len(self.train_dataset) if hasattr(self.train_dataset, "__len__") else None,
                "batches an epoch": len(first),
                "size of the first batch": len(first[0]),
                "order of the examples": order.hexdigest()[:12],
            }
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare with the checkpoint's.

        Raises:
            UserError: another batch size, seed or data set.
        """
        try:
            refuse_other_settings(state, self.state_dict())
        except UserError as error:
            raise UserError(f"other data, batch size or seed: {error}") from None

    def _trainer(self) -> L.Trainer:
        if self.trainer is None:
            raise ValueError("this data belongs to no trainer yet: call trainer.fit(module, datamodule=data)")
        return self.trainer

    def _loader(
        self, dataset: Any, sampler: StepSampler, collate: Callable[[list[Any]], Any], workers: int
    ) -> Any:
        pin = self._trainer().strategy.root_device.type == "cuda"
        made = loader(dataset, sampler, collate, workers=workers, pin=pin)
        if workers and made.worker_init_fn is None:
            made.worker_init_fn = _leave_signals
        return made


class _Joined(Batches):
    """The batches of epoch 0, those with fewer than `least` items joined to a neighbour."""

    def __init__(self, batches: Batches, least: int) -> None:
        self._batches: list[NDArray[np.int64]] = []
        few: list[NDArray[np.int64]] = []
        for items in batches.epoch(0):
            few.append(items)
            if sum(map(len, few)) >= least:
                self._batches.append(np.concatenate(few))
                few = []
        if few and not self._batches:
            count = sum(map(len, few))
            raise UserError(
                f"{count} validation examples are too few for {least} processes: give more, or use fewer"
            )
        if few:
            self._batches[-1] = np.concatenate([self._batches[-1], *few])

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The same for every epoch."""
        return list(self._batches)


def _leave_signals(worker: int) -> None:
    """Let the training process decide what Ctrl-C and a first SIGTERM mean; they reach its workers, too."""

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, first)
