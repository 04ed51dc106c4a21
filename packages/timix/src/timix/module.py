"""Pre-training with mixed images: the losses of pairs, of regions and of mixed images (paper; released code).

One backward pass of their sum by default. `separate` takes the three optimiser steps of the released loop
instead, one after the other with one AdamW: regions, pairs, mixed images, each with the weights that the one
before left, the last with texts that are encoded anew.
"""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from nonet.data.batching import generator
from nonet.runs import Run
from nonet.training.trainer import global_mean
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses, PairStep, Terms
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_module import Moment
from nonet.vision_language.pair_optimizer import PairRates
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.pretraining.region_module import RegionModule
from timix.mix_pass import MixPass
from timix.score_notes import ScoreNotes

# Shapes: B pairs, E regions, N patches.


class MixModule(RegionModule):
    """An image-text model that also learns from mixed images, and its patch predictor from regions.

    Logs, beside what `RegionModule` does, `train/mix` and `train/mix_floor` (the weighted loss of mixed
    images, and what it cannot go below; 0 in a step without any), `train/mix_weight`, `train/lam` (an image's
    share in its own label; 1 without), `train/score_entropy` (of the predictor on captions; ln 2 = 0.693
    where it knows nothing).

    Args:
        model: what is trained.
        losses: of pairs; its `see` is that of the mixed pass.
        rates: of the optimiser.
        steps: of the whole run.
        steps_per_epoch: of a pass through the pairs.
        mixed: how images are mixed; None: they are not.
        mix_weight: (step, passes) to the weight of mixed images; 0: none in this step.
        detector: the patch predictor; None: none.
        pta_weight: of its loss.
        block: vision block behind which it looks, from 0.
        twin, queue, alpha, seed: as of `PairModule`.
        separate: three optimiser steps a batch.
        clip: with `separate`, the largest norm of a gradient; None: not clipped.
        skips: with `separate`, leave out what is not finite, and what comes behind it in the batch, as
            `FiniteLoss(skip=...)` does and expects.
    """

    def __init__(
        self,
        model: PairModel,
        losses: PairLosses,
        rates: PairRates,
        *,
        steps: int,
        steps_per_epoch: int,
        mixed: MixPass | None,
        mix_weight: Callable[[int, float], float],
        detector: PatchDetector | None = None,
        pta_weight: float = 1.0,
        block: int = 0,
        twin: Twin | None = None,
        queue: FeatureQueue | None = None,
        alpha: float = 0.4,
        seed: int = 0,
        separate: bool = False,
        clip: float | None = None,
        skips: bool = False,
    ) -> None:
        super().__init__(
            model, losses, rates, steps=steps, steps_per_epoch=steps_per_epoch, detector=detector,
            pta_weight=pta_weight, block=block, twin=twin, queue=queue, alpha=alpha, seed=seed,
        )  # fmt: skip
        self.mixed, self.mix_weight, self.clip, self.skips = mixed, mix_weight, clip, skips
        self.automatic_optimization = not separate

    def extra_terms(self, batch: dict[str, Any], found: PairStep, moment: Moment) -> Terms:
        """The losses of mixed images and of regions."""
        terms: Terms = {}
        weight = self.mix_weight(moment.step, moment.epochs)
        if self.mixed is not None and weight > 0:
            scores = self.mixed.scores(self.model, found, self.detector)
            terms["mix"] = self._mix(batch, found, moment, scores, self.mixed.probabilities(found), weight)
        elif self.mixed is not None:
            _note_none(found)
        return terms | super().extra_terms(batch, found, moment)

    def learns(self) -> list[str]:
        """Names of the losses that a run has."""
        first, last = super().learns(), len(self.losses.weights)
        return [*first[:last], *(["mix"] if self.mixed is not None else []), *first[last:]]

    def kind_of_step(self, batch: dict[str, Any], batch_idx: int) -> str:
        """Of the batches with mixed images and of those without one is counted each."""
        moment, kind = self.moment(batch_idx), super().kind_of_step(batch, batch_idx)
        mixes = self.mixed is not None and self.mix_weight(moment.step, moment.epochs) > 0
        return f"{kind}, mixed" if mixes else kind

    def callbacks(self, run: Run) -> list[L.Callback]:
        """Tell of scores that were not finite."""
        more = [] if self.mixed is None else [ScoreNotes(run, self.mixed.mixer)]
        return [*super().callbacks(run), *more]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The sum of all losses; with `separate` the three steps are made here."""
        if self.automatic_optimization:
            return super().training_step(batch, batch_idx)
        return self._three_steps(batch, batch_idx)

    def _mix(
        self, batch: dict[str, Any], found: PairStep, moment: Moment, scores: Tensor, probs: Tensor | None,
        weight: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        assert self.mixed is not None
        plan = self.mixed.plan(scores, generator(self.seed, "mix", moment.step, moment.micro_batch))
        loss, said = self.mixed.loss(
            self.model, batch, found, plan, probs=probs, alpha=self.alpha * moment.first_epoch,
            queue=self.queue,
        )  # fmt: skip
        count = torch.tensor(len(scores), device=loss.device)
        for name, value in (
            ("mix_floor", weight * said["floor"]), ("lam", said["lam"]),
            ("mix_weight", loss.new_tensor(weight)),
        ):  # fmt: skip
            found.logged[name] = (value * count, count)
        return weight * loss * count, count

    def _three_steps(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        moment, logged = self.moment(batch_idx), Terms()
        optimizer: Any = self.optimizers()
        weight = 0.0 if self.mixed is None else self.mix_weight(moment.step, moment.epochs)
        means: dict[str, Tensor] = {}
        sound = True
        if self.learns_regions and batch.get("regions") is not None:
            means["pta"] = global_mean(*self.region_term(batch, logged))
            sound = self._one_step(optimizer.optimizer, means["pta"], sound)
        found = self.main_terms(batch, moment)
        found.logged |= logged
        terms = {name: global_mean(*pair) for name, pair in found.terms.items()}
        scores = probs = None
        if self.mixed is not None and weight > 0:
            scores = self.mixed.scores(self.model, found, self.detector)
            probs = self.mixed.probabilities(found)
        means |= terms
        last = optimizer if scores is None else optimizer.optimizer
        sound = self._one_step(last, torch.stack(list(terms.values())).sum(), sound)
        self.remember(found)
        if scores is not None:
            self.model.clamp_tau()
            again = self._encoded_again(batch, found)
            again.logged = found.logged
            means["mix"] = global_mean(*self._mix(batch, again, moment, scores, probs, weight))
            self._one_step(optimizer, means["mix"], sound)
        elif self.mixed is not None:
            _note_none(found)
        self.lr_schedulers().step()  # type: ignore[union-attr]
        one = torch.ones((), device=found.tau.device)
        return self.note({name: (value.detach(), one) for name, value in means.items()}, found, moment)

    def _encoded_again(self, batch: dict[str, Any], found: PairStep) -> PairStep:
        """What the mixed pass takes from the main one, with the weights of now and without its image part."""
        text = self.model.encode_text(batch["input_ids"], batch["attention_mask"])
        features = self.model.text_features(text)
        return PairStep(
            {}, {}, found.seen._replace(patches=None), text, found.image_features.detach(), features,
            found.ranks, found.every_image.detach(), features.float(), found.every_id, self.model.tau,
        )  # fmt: skip

    def _one_step(self, optimizer: Any, loss: Tensor, sound: bool) -> bool:
        """Backward, clip, step. Lightning counts the steps of its own optimiser, one a batch: the last one.

        Args:
            optimizer: Lightning's in the last step, torch's in those before.
            loss: of this step.
            sound: whether all was finite in the steps before.

        Returns:
            Whether all was finite so far. What is not is not stepped with, where steps are to be skipped; the
            last step of such a batch gets a gradient of NaN, by which `FiniteLoss` knows it.
        """
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(weights, self.clip, norm)
        if self.skips:
            sound = sound and bool(torch.isfinite(loss) & torch.isfinite(norm))
            if not sound:
                for gradient in gradients:
                    gradient.fill_(torch.nan)
                if not isinstance(optimizer, LightningOptimizer):
                    return sound
        optimizer.step()
        return sound


def _note_none(found: PairStep) -> None:
    """Log a step without mixed images, so that means over steps stay means."""
    one = torch.ones((), device=found.tau.device)
    found.logged |= {name: (0 * one, one) for name in ("mix", "mix_floor", "mix_weight")} | {
        "lam": (one, one)
    }
