"""One step of pre-training: render what the cameras saw, compare, learn (Zhu et al. 2023, section 3).

Randomness of the renderer and of masks is drawn for each scene of a batch from a generator that depends on
the seed, the step and the scene's place in the batch alone. Together with losses that are means over all
processes and norms over all processes (`sync_norm`), several processes learn what one learns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nonet.errors import UserError
from nonet.training.seeds import step_seed
from nonet.training.trainer import RunningMeans, global_mean
from ponderv2.held_views import HeldBatch, HeldScene
from ponderv2.loss_guard import suspects
from ponderv2.rate_options import RateOptions
from ponderv2.rate_schedules import build_rates
from ponderv2.view_rendering import Picture, render_view, score_view

# Shapes: B scenes, R rays of each, M voxels, K classes, D numbers of a text vector.

MEASURES = ("psnr", "psnr_seen", "ssim", "depth_error", "relative_error", "seen")


class PretrainModule(L.LightningModule):
    """A model with its renderer, trained on batches of posed images.

    Logs `train/loss`, `train/NAME` for each term, and `train/missed`, the share of rays that miss the box. In
    validation, of held-out views `val/psnr` (dB), `val/psnr_seen`, `val/ssim`, `val/depth_error` (metres),
    `val/relative_error` and `val/seen` (see `view_rendering.ViewScore`), and the same as `val/input_...` of
    views that training sees.

    Args:
        model: indoor (`ponder.PonderModel`) or outdoor: `model(batch)`, or `encode` and `render`, and
            `losses`.
        rates: optimiser, rate and schedule.
        steps: of the run.
        seed: of jitter and masks.
        text: each data set's (K, D) unit vectors of its classes, to learn from labels of images; none: no
        label
            is looked at.
        point_head: scores of voxels by text vectors; none: without that loss.
        point_weight: weight of that loss.
        factor: a parameter's name to the factor of its rate.
        draw: takes the step, the number of a validated scene, the scene, and pictures of its views.
    """

    def __init__(
        self,
        model: nn.Module,
        rates: RateOptions,
        *,
        steps: int,
        seed: int,
        text: Mapping[str, Tensor] | None = None,
        point_head: nn.Module | None = None,
        point_weight: float = 0.0,
        factor: Callable[[str], float] | None = None,
        draw: Callable[[int, int, HeldScene, Sequence[Picture]], None] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.point_head = model, point_head
        self.rates, self.steps, self.seed = rates, steps, seed
        self.point_weight, self.factor, self.draw = point_weight, factor, draw
        self.text = {name: vectors.float() for name, vectors in (text or {}).items()}
        self.terms: dict[str, Tensor] = {}
        self._under_way: tuple[Any, Any] = None, None
        names = [f"{kind}{name}" for kind in ("", "input_") for name in MEASURES]
        self.means = RunningMeans(*names)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        self._under_way = batch, None
        rendered, terms = self.rendered_terms(batch, batch_idx)
        self._under_way = batch, rendered
        self.terms = {name: value.detach() for name, value in terms.items()}
        loss = torch.stack(list(terms.values())).sum()
        logged = {f"train/{name}": value for name, value in self.terms.items()}
        hit = getattr(rendered, "hit", None)
        if hit is not None:
            logged["train/missed"] = 1 - hit.float().mean()
        dropped = len(getattr(batch, "dropped", ()))
        logged |= {"train/loss": loss.detach(), "train/dropped_scenes": loss.new_tensor(float(dropped))}
        self.log_dict(logged, batch_size=len(batch.names))
        return loss

    def rendered_terms(self, batch: Any, batch_idx: int) -> tuple[Any, dict[str, Tensor]]:
        """What the rays of a batch see, and the terms of its loss by name."""
        generators = self.generators(len(batch.names), batch_idx)
        if not hasattr(self.model, "encode"):
            rendered = self.model(batch)
            return rendered, dict(self.model.losses(rendered, batch))
        encoded = self.model.encode(batch, generator=generators)
        rendered = self.model.render(encoded, batch.rays, generator=generators)
        terms = dict(self.model.losses(rendered, batch, text=self.text_of(batch.dataset)))
        if self.point_head is not None and self.point_weight:
            terms["point_text"] = self.point_weight * self._point_text(encoded.features, batch)
        return rendered, terms

    def generators(self, scenes: int, batch_idx: int) -> list[torch.Generator]:
        """One for each scene of this process's share of a batch, on the model's device."""
        each = self.trainer.accumulate_grad_batches
        rank, world = self.trainer.global_rank, self.trainer.world_size
        found = []
        for number in range(scenes):
            place = number * world + rank  # rank r of w has scenes r, r + w, ... of a batch
            generator = torch.Generator(self.device)
            found.append(
                generator.manual_seed(step_seed(self.seed, self.global_step, batch_idx % each, place))
            )
        return found

    def text_of(self, dataset: str) -> Tensor | None:
        """(K, D) vectors of a data set's classes; None where no label is learned from.

        Raises:
            UserError: other data sets have vectors, and this one has none.
        """
        if not self.text:
            return None
        if dataset not in self.text:
            raise UserError(f"data set {dataset}: no text vectors; there are those of {', '.join(self.text)}")
        if self.text[dataset].device != self.device:
            self.text[dataset] = self.text[dataset].to(self.device)
        return self.text[dataset]

    def suspects(self) -> tuple[str, ...]:
        """Scenes of the step under way that hold what is not finite."""
        return suspects(*self._under_way)

    def validation_step(self, batch: HeldBatch, batch_idx: int) -> None:
        """Render views, and compare with what was seen."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        for number, scene in enumerate(batch.scenes):
            with torch.autocast(self.device.type, enabled=False):
                encoded = self.model.encode(scene.batch)
                views = [*scene.held, *scene.seen]
                pictures = [render_view(self.model, encoded, view) for view in views]
            for place, (view, picture) in enumerate(zip(views, pictures, strict=True)):
                kind = "" if place < len(scene.held) else "input_"
                for name, value in score_view(picture, view)._asdict().items():
                    if value == value:  # NaN: nothing to compare
                        self.means.add(f"{kind}{name}", torch.tensor(value), 1)
            if self.draw is not None:
                self.draw(self.global_step, (batch_idx + number) * world + rank, scene, pictures)

    def on_validation_epoch_end(self) -> None:
        """The means over all views."""
        found = {f"val/{name}": value for name, value in self.means.take().items()}
        self.log_dict(found, batch_size=1)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser and schedule of the rates."""
        return build_rates(self, self.rates, steps=self.steps, factor=self.factor)

    def _point_text(self, features_MC: Tensor, batch: Any) -> Tensor:
        """Cross-entropy of the voxels with labels against the text vectors of their data set."""
        if batch.semantic is None:
            raise UserError(
                f"scene {batch.names[0]}: its points have no labels: set point_text to 0, or label them"
            )
        known = batch.semantic >= 0
        assert self.point_head is not None
        scores = self.point_head(features_MC.float()[known], batch.dataset)
        return global_mean(cross_entropy(scores, batch.semantic[known], reduction="sum"), known.sum())
