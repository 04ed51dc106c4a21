"""What rendering is compared with: frames of a depth camera (PonderV2, Zhu et al. 2023).

With D the depth of a ray, M = D > 0, T the truncation, s_i the signed distance and t_i the place of a sample,

    depth    = mean over M of |D - D^|                    color = mean of |C - C^|
    sdf      = mean over |t_i - D| <= T of |t_i + s_i - D|
    free     = mean over t_i < D - T of relu(T - s_i)     eikonal = mean of (|g_i| - 1)^2
    semantic = mean over labelled rays r in M of -log( exp(e_r . c_r / tau) / sum_q exp(e_r . c_q / tau) )

where c_r is the text vector of a ray's class, e_r the rendered one, of length 1, and q runs over the labelled
rays, as in the released code: rays of one class are negatives of each other. Summed class by class that is
log sum_c n_c exp(e_r . c / tau), and no table of rays by rays is made. Rays without a label are no negatives
(the released code gives them a vector of zeros). Lengths are in sides of the cube. Rays that miss the box and
padding are not counted anywhere. Means are over the rays of all processes.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.strategies import global_mean
from ponderv2.field import precise
from ponderv2.renderer import Rendered

# Shapes: B scenes, R rays a scene, S samples a ray, K classes, E numbers of a text vector.


class RayTargets(NamedTuple):
    """What a camera saw of rays.

    Attributes:
        depth: (B, R) distance along the ray in sides of the cube, 0 where there is none.
        color: (B, R, 3) in 0..1.
        label: (B, R) int64, -1 without a class.
        valid: (B, R) bool, False for padding.
    """

    depth: Tensor
    color: Tensor
    label: Tensor
    valid: Tensor


class RenderLosses(nn.Module):
    """The losses of a batch of rays, weighted; a weight of 0 leaves one out.

    Args:
        depth: weight of the depth of a ray.
        color: of its colour.
        sdf: of distances near the surface.
        free: of distances before it.
        eikonal: of slopes that are not 1.
        semantic: of the text vector.
        truncation: T, in sides of the cube.
        temperature: tau.
    """

    def __init__(
        self,
        *,
        depth: float = 1.0,
        color: float = 10.0,
        sdf: float = 10.0,
        free: float = 1.0,
        eikonal: float = 0.01,
        semantic: float = 0.1,
        truncation: float = 0.05,
        temperature: float = 0.01,
    ) -> None:
        super().__init__()
        self.weights = {
            "depth": depth, "color": color, "sdf": sdf, "free": free, "eikonal": eikonal, "semantic": semantic
        }  # fmt: skip
        self.truncation, self.temperature = truncation, temperature

    def forward(
        self, rendered: Rendered, target: RayTargets, text_KE: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compare.

        Args:
            rendered: of B scenes with R rays each.
            target: of the same rays.
            text_KE: (K, E) text vectors of length 1, in the order of labels; None: nothing is learned from
                labels (supervision `none`).

        Returns:
            Name -> weighted scalar, of the weights above 0; `semantic` only with text vectors.

        Raises:
            UserError: a label without a text vector, or a model that renders no meaning.
        """
        found: dict[str, Tensor] = {}
        with torch.autocast(rendered.depth.device.type, enabled=False):
            counted = rendered.hit & target.valid
            deep = counted & (target.depth > 0)
            if self.weights["depth"]:
                found["depth"] = _mean((rendered.depth - target.depth).abs(), deep)
            if self.weights["color"]:
                found["color"] = _mean((rendered.color - target.color).abs().mean(-1), counted)
            found |= self._distances(rendered, target.depth[..., None], deep[..., None])
            if self.weights["eikonal"]:
                length = (rendered.gradient.square().sum(-1) + 1e-12).sqrt()
                found["eikonal"] = _mean((length - 1).square(), counted[..., None].expand_as(length))
            if self.weights["semantic"] and text_KE is not None:
                found["semantic"] = self._meaning(rendered, target.label, deep, text_KE)
        return {name: self.weights[name] * value for name, value in found.items()}

    def _distances(self, rendered: Rendered, depth: Tensor, deep: Tensor) -> dict[str, Tensor]:
        found = {}
        before = depth - rendered.distances
        if self.weights["sdf"]:
            near = deep & (before.abs() <= self.truncation)
            found["sdf"] = _mean((rendered.sdf - before).abs(), near)
        if self.weights["free"]:
            free = deep & (before > self.truncation)
            found["free"] = _mean(torch.relu(self.truncation - rendered.sdf), free)
        return found

    def _meaning(self, rendered: Rendered, label: Tensor, deep: Tensor, text: Tensor) -> Tensor:
        if rendered.semantic is None:
            raise UserError(
                "text vectors are given, but the model renders none; build it with field.semantic"
            )
        if bool((label >= len(text)).any()):
            raise UserError(f"a ray has the label {int(label.max())}, and there are {len(text)} text vectors")
        told = deep & (label >= 0)
        own = label[told]
        seen = nn.functional.normalize(precise(rendered.semantic[told]), dim=-1)
        likeness = seen @ text.to(seen.dtype).T / self.temperature
        rays_K = _over_processes(torch.bincount(own, minlength=len(text)).to(likeness.dtype))
        against = (likeness + rays_K.log()).logsumexp(-1)
        lost = against - likeness.gather(1, own[:, None])[:, 0]
        return global_mean(lost.sum(), len(lost))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of `values` at the places of a mask, over all processes; 0 where there are none."""
    return global_mean(torch.where(where, values, torch.zeros_like(values)).sum(), where.sum())


def _over_processes(counts: Tensor) -> Tensor:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(counts)
    return counts
