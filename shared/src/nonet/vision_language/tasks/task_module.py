"""Training of a task under Lightning, validated by its own scores (ours)."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.training.seeds import step_seed
from nonet.training.trainer import global_mean
from nonet.vision_language.pair_data import UnreadableImages
from nonet.vision_language.pair_optimizer import PairRates, pair_optimizer
from nonet.vision_language.tasks.task import ImageReading, Task


class TaskModule(L.LightningModule):  # type: ignore[misc]
    """A task that learns.

    Logs `train/loss`, `train/NAME` of each loss, and `val/NAME` of each score. Validation answers all
    examples on every process: retrieval needs all of them at once, and its numbers are then the same
    everywhere.

    Args:
        task: frozen where it does not learn.
        rates: of the optimiser.
        steps: of the whole run.
        steps_per_epoch: optimiser steps of an epoch.
        seed: of what losses draw.
        watch: is shown every batch, and stops a run whose images cannot be read.
        validation: examples to validate on; none: nothing is validated.
        reading: of their images.
        batch: examples at once in validation.
        workers: processes that read their images.
    """

    def __init__(
        self, task: Task, rates: PairRates, *, steps: int, steps_per_epoch: int, seed: int,
        watch: UnreadableImages, validation: Sequence[Any] | None, reading: ImageReading, batch: int,
        workers: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.task, self.rates, self.watch = task, rates, watch
        self.steps, self.steps_per_epoch, self.seed = steps, steps_per_epoch, seed
        self.validation, self.reading = validation, reading
        self.batch, self.workers = batch, workers
        self._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.named_buffers() if name.startswith("task.queue.")
        ]  # the same on every process already

    def configure_model(self) -> None:
        """Refuse what is not there.

        Raises:
            UserError: weights are to be shared out over the devices (FSDP).
        """
        if self.device_mesh is not None:
            raise UserError("strategy fsdp does not go with fine-tuning here: use ddp")

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The sum of all losses' means over all processes."""
        self.watch(batch)
        accumulate = self.trainer.accumulate_grad_batches
        micro = batch_idx % accumulate
        if not micro:
            self.task.begin_step(self.global_step)
        seed = step_seed(self.seed, self.global_step, micro, self.global_rank)
        random = torch.Generator(self.device).manual_seed(seed)
        passed = (self.global_step + micro / accumulate) / self.steps_per_epoch
        terms = self.task.losses(batch, random=random, passed=passed)
        if self.task.more is not None:
            terms = terms | self.task.more(batch)
        means = {name: global_mean(*pair) for name, pair in terms.items()}
        loss = torch.stack(list(means.values())).sum()
        logged = {f"train/{name}": value.detach() for name, value in means.items()}
        self.log_dict(logged | {"train/loss": loss.detach()}, batch_size=1)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Answer everything, once; the batch only says when."""
        assert self.validation is not None
        found = self.task.evaluate(self.validation, self.reading, batch=self.batch, workers=self.workers)
        numbers = {f"val/{name}": value for name, value in found.scores.items()}
        self.log_dict(numbers, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> object:
        """AdamW with two rates, and their schedule."""
        return pair_optimizer(self.task, self.rates, steps=self.steps, steps_per_epoch=self.steps_per_epoch)
