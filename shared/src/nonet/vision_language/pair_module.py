"""Training of an image-text model under Lightning, with room for further losses (ours).

One backward pass for the sum of all losses. A method that adds a loss subclasses `PairModule` and gives it in
`extra_terms`, from what the losses here have computed already.
"""

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.training.seeds import step_seed
from nonet.training.trainer import global_mean
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses, PairStep, Terms
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_optimizer import PairRates, pair_optimizer


@dataclass(frozen=True)
class Moment:
    """Where in a run a batch is."""

    step: int
    """optimiser steps taken before"""
    micro_batch: int
    """which of the batches of an accumulated step it is, from 0"""
    epochs: float
    """passes through the data so far; 0.5 in the middle of the first epoch"""

    @property
    def first_epoch(self) -> float:
        """How much of the first epoch is over, 0 to 1: the ramp that shares and weights rise with."""
        return min(self.epochs, 1.0)


class PairModule(L.LightningModule):  # type: ignore[misc]
    """An image-text model, its losses, its twin and its queue.

    Logs `train/loss`, `train/NAME` for each weighted loss, `train/NAME_accuracy`, `train/alpha`, `train/tau`.
    Parts of the model that no loss reaches are not trained.

    Args:
        model: what is trained.
        losses: of a batch of pairs.
        rates: of the optimiser.
        steps: of the whole run.
        steps_per_epoch: batches of an epoch, divided by those of a step.
        twin: the momentum model; None: none.
        queue: of the twin's features of earlier pairs; None: the batch alone.
        alpha: share of what the twin says, once the first epoch is over.
        seed: of masks and negatives.

    Raises:
        UserError: a queue without a twin to fill it, or alpha is out of range.
    """

    def __init__(
        self,
        model: PairModel,
        losses: PairLosses,
        rates: PairRates,
        *,
        steps: int,
        steps_per_epoch: int,
        twin: Twin | None = None,
        queue: FeatureQueue | None = None,
        alpha: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if queue is not None and twin is None:
            raise UserError(
                "a queue holds features of a momentum model: without one it is left out (queue 0)"
            )
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha is {alpha:g}; it lies in 0..1")
        if steps_per_epoch < 1:
            raise UserError(f"{steps_per_epoch} steps an epoch: there is at least 1")
        self.model, self.losses, self.rates = model, losses, rates
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.twin, self.queue, self.alpha, self.seed = twin, queue, alpha, seed
        for name in losses.idle(model):
            part = getattr(model, name)
            for weight in [part] if isinstance(part, torch.nn.Parameter) else part.parameters():
                if weight is not model.text.embeddings.words.weight:  # word heads share the text tower's
                    weight.requires_grad_(False)
        # DDP would send the whole queue to every process in every step; it is the same there already.
        names = [] if queue is None else [f"queue.{name}" for name, _ in queue.named_buffers()]
        self._ddp_params_and_buffers_to_ignore = names

    def configure_model(self) -> None:
        """Refuse what is not there.

        Raises:
            UserError: weights are to be shared out over the devices (FSDP).
        """
        if self.device_mesh is not None:
            raise UserError("strategy fsdp does not go with momentum models and hard negatives: use ddp")

    def moment(self, batch_idx: int) -> Moment:
        """Where in the run this batch is."""
        accumulate = 1 if self._trainer is None else self._trainer.accumulate_grad_batches
        micro = batch_idx % accumulate
        return Moment(self.global_step, micro, (self.global_step + micro / accumulate) / self.steps_per_epoch)

    def kind_of_step(self, batch: dict[str, Any], batch_idx: int) -> str:
        """What a batch's operations are counted under: batches of one kind take as many."""
        return "pairs" if batch.get("regions") is None else "pairs and regions"

    def generator(self, moment: Moment, device: torch.device) -> torch.Generator:
        """Random numbers of this process that depend on seed, step and micro-batch alone."""
        seed = step_seed(self.seed, moment.step, moment.micro_batch, self.global_rank)
        return torch.Generator(device).manual_seed(seed)

    def extra_terms(self, batch: dict[str, Any], found: PairStep, moment: Moment) -> Terms:
        """Further weighted losses of the batch by name, as sums and counts; none here.

        What is put into `found.logged` is logged.
        """
        return {}

    def main_terms(self, batch: dict[str, Any], moment: Moment) -> PairStep:
        """Move the twin in the first batch of a step, and compute the losses of a batch."""
        if moment.micro_batch == 0:
            self.model.clamp_tau()
            if self.twin is not None and moment.step > 0:
                self.twin.update(self.model)
        return self.losses(
            self.model,
            batch,
            generator=self.generator(moment, batch["input_ids"].device),
            twin=self.twin,
            queue=self.queue,
            alpha=self.alpha * moment.first_epoch,
        )

    def remember(self, found: PairStep) -> None:
        """Put the batch into the queue; all losses that read it are computed."""
        if self.queue is not None:
            assert found.teacher_image is not None
            assert found.teacher_text is not None
            self.queue.push(found.teacher_image, found.teacher_text, found.every_id)

    def note(self, terms: Terms, found: PairStep, moment: Moment) -> Tensor:
        """The sum of the terms' means over all processes, logged."""
        means = {name: global_mean(*pair) for name, pair in terms.items()}
        loss = torch.stack(list(means.values())).sum()
        logged = {f"train/{name}": value.detach() for name, value in means.items()}
        logged |= {f"train/{name}": global_mean(*pair) for name, pair in found.logged.items()}
        logged |= {"train/loss": loss.detach(), "train/tau": self.model.tau.detach().clone()}
        if self.twin is not None:
            logged["train/alpha"] = loss.new_tensor(self.alpha * moment.first_epoch)
        self.log_dict(logged, batch_size=1)
        return loss

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The sum of all losses' means over all processes."""
        moment = self.moment(batch_idx)
        found = self.main_terms(batch, moment)
        terms = found.terms | self.extra_terms(batch, found, moment)
        self.remember(found)
        return self.note(terms, found, moment)

    def configure_optimizers(self) -> object:
        """AdamW with two rates, and their schedule."""
        return pair_optimizer(self, self.rates, steps=self.steps, steps_per_epoch=self.steps_per_epoch)
