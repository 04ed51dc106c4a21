"""One scene's volume and field, trained further on that scene's own frames before it is drawn. Source: ours.

A volume that the backbone fills in one go is coarse: its cells are 6 cm and more. Here the filled volume
itself becomes what is learned, on a finer grid if wanted, together with the perceptrons; the backbone is done
with. The losses are those of pre-training. This is a fit to one scene, as NeRFs are, and no pre-training.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.errors import RunFailed, UserError
from ponderv2.batches import Batch, RayBatch
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.scene_inputs import draw_pixels
from ponderv2.scenes import View


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """How a scene is fitted.

    Attributes:
        steps: of Adam; 0 leaves everything as it is.
        rays: in each step.
        rate: learning rate of the volume; that of the perceptrons is a tenth. Both fall along a cosine.
        finer: cells of the fitted volume for each of the encoded one, along every axis.
        seed: of the rays.
    """

    steps: int = 200
    rays: int = 1024
    rate: float = 1e-2
    finer: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("rays", 1), ("finer", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least {least}")
        if not self.rate > 0:
            raise UserError(f"rate is {self.rate:g}; it is above 0")


class Fitted(NamedTuple):
    """A scene after its fit.

    Attributes:
        model: a copy with the fitted perceptrons, in eval mode.
        encoded: with the fitted volume.
        losses: (steps,) the sum of the losses, by step.
    """

    model: PonderModel
    encoded: Encoded
    losses: list[float]


def fit_scene(
    model: PonderModel,
    encoded: Encoded,
    batch: Batch,
    views: Sequence[View],
    plan: FitPlan,
    *,
    done: Callable[[], object] = lambda: None,
) -> Fitted:
    """Fit the volume and the perceptrons of one scene to its frames.

    Args:
        model: stays as it is.
        encoded: of `batch`; stays as it is.
        batch: of one scene.
        views: the frames to learn from, in the batch's world.
        plan: how.
        done: called after each step.

    Raises:
        RunFailed: a loss is not finite; the text names the scene and the term.
        UserError: no view has depth.
    """
    if not plan.steps:
        return Fitted(model, encoded, [])
    model = copy.deepcopy(model).requires_grad_(False).eval()
    model.renderer.train()  # places on rays are shaken
    volume = finer_volume(encoded.volume.detach(), plan.finer).requires_grad_(True)
    encoded = encoded._replace(volume=volume)
    perceptrons = [weight.requires_grad_(True) for weight in model.field.parameters()]
    perceptrons += [weight.requires_grad_(True) for weight in model.renderer.parameters()]
    optimizer = torch.optim.Adam(
        [{"params": [volume], "lr": plan.rate}, {"params": perceptrons, "lr": plan.rate / 10}]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.steps, eta_min=plan.rate / 100)
    random = np.random.default_rng(plan.seed)
    shake = torch.Generator(device=volume.device).manual_seed(plan.seed)
    losses = []
    for step in range(plan.steps):
        seen = with_rays(batch, views, plan.rays, random)
        assert seen.rays is not None
        terms = model.losses(model.render(encoded, seen.rays, generator=[shake]), seen)
        for name, value in terms.items():
            if not torch.isfinite(value):
                raise RunFailed(f"scene {batch.names[0]}: {name} is not finite in step {step} of its fit")
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        done()
    return Fitted(model.requires_grad_(False).eval(), encoded._replace(volume=volume.detach()), losses)


def with_rays(batch: Batch, views: Sequence[View], count: int, random: np.random.Generator) -> Batch:
    """The batch with `count` random rays of its views."""
    drawn = draw_pixels(views, count, random)
    rays = RayBatch(*(torch.from_numpy(part)[None].to(batch.coord.device) for part in drawn))
    return replace(batch, rays=rays, valid=torch.ones_like(rays.depth, dtype=torch.bool))


def finer_volume(volume: Tensor, times: int) -> Tensor:
    """A copy with so many times as many cells along each axis, by trilinear interpolation.

    Corners of the grid stay where they are (align_corners), as sampling takes them to.
    """
    if times == 1:
        return volume.clone()
    size = [side * times for side in volume.shape[-3:]]
    return F.interpolate(volume, size=size, mode="trilinear", align_corners=True)
