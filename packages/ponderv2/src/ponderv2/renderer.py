"""Rendering of a field along rays, as NeuS does (Wang et al. 2021), and PonderV2 after it (Zhu et al. 2023).

Where a ray o + t d is looked at says `ponderv2.ray_samples`. Then, with delta_i = t_{i+1} - t_i, the logistic
function sigma and the sharpness k = exp(10 v), which is learned,

    c_i = -relu(-d . g_i),   a(x, y) = (sigma(k x) - sigma(k y) + 1e-5) / (sigma(k x) + 1e-5)
    alpha_i = clip a(s_i - c_i delta_i / 2, s_i + c_i delta_i / 2) to 0..1
    w_i = alpha_i prod_{j<i} (1 - alpha_j + 1e-7)
    colour = sum w_i colour_i,   depth = sum w_i t_i / (sum w_i + 1e-10),   normal = sum w_i g_i / |g_i|

A sample stands at the beginning of its interval, as in the released code. All of it is float32, also under
autocast, and lengths are in sides of the cube. Rays that miss the box are looked at nowhere: they are marked,
and no loss counts them (the released code renders them at their origin).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from nonet.kernels.compositing import composite
from ponderv2.field import Field, precise
from ponderv2.ray_samples import Generators, Placement, intersect, opacity, place_samples, points_on

# Shapes: B scenes, R rays a scene, S samples a ray, E numbers of a text vector.

SHARPNESS_RANGE = (1e-6, 1e6)


@dataclass(frozen=True)
class Rendered:
    """What rays see; lengths in sides of the cube.

    Attributes:
        color: (B, R, 3) over black; in 0..1 in evaluation.
        depth: (B, R) distance along the ray.
        normal: (B, R, 3) weighted sum of unit vectors, shorter than 1 where they differ or little is hit.
        semantic: (B, R, E), or None without a perceptron of meaning.
        opacity: (B, R) sum of the weights.
        weights: (B, R, S) of samples.
        distances: (B, R, S) where they stand, ascending.
        sdf: (B, R, S) signed distance there.
        gradient: (B, R, S, 3) of it.
        hit: (B, R) bool: the ray meets the box; everything else of a ray that does not is zeros.
        scale: (B,) sides of the cube in a metre.
    """

    color: Tensor
    depth: Tensor
    normal: Tensor
    semantic: Tensor | None
    opacity: Tensor
    weights: Tensor
    distances: Tensor
    sdf: Tensor
    gradient: Tensor
    hit: Tensor
    scale: Tensor

    def metres(self) -> "Rendered":
        """The same with depth, distances and sdf in metres; `scale` is then 1."""
        metre = self.scale[:, None]
        return replace(
            self,
            depth=self.depth / metre,
            distances=self.distances / metre[..., None],
            sdf=self.sdf / metre[..., None],
            scale=torch.ones_like(self.scale),
        )

    @property
    def missed(self) -> int:
        """How many rays miss the box."""
        return int((~self.hit).sum())


class Renderer(nn.Module):
    """Looks along rays; of a model's weights it holds the sharpness alone.

    Args:
        samples: places drawn evenly.
        importance: places added near the surface.
        steps: in how many searches.
        near: nearest place, in sides of the cube.
        jitter: what is shaken in training: each place, or all of a ray alike.
        sharpness: v at the beginning.
    """

    def __init__(
        self,
        *,
        samples: int = 96,
        importance: int = 36,
        steps: int = 1,
        near: float = 0.01,
        jitter: Literal["sample", "ray"] = "sample",
        sharpness: float = 0.3,
    ) -> None:
        super().__init__()
        self.near, self.jitter = near, jitter
        self.placement = Placement(samples, importance, steps)
        self.sharpness = nn.Parameter(torch.tensor(float(sharpness)))

    @property
    def k(self) -> Tensor:
        """() how sharp a surface is: e^3 = 20.09 for v = 0.3."""
        return (10 * precise(self.sharpness)).exp().clamp(*SHARPNESS_RANGE)

    def forward(
        self,
        field: Field,
        origins_BR3: Tensor,
        directions_BR3: Tensor,
        low_3: Tensor,
        high_3: Tensor,
        scale_B: Tensor | None = None,
        generator: Generators = None,
    ) -> Rendered:
        """Look along rays.

        Args:
            field: of B scenes.
            origins_BR3: (B, R, 3) in sides of the cube.
            directions_BR3: (B, R, 3) of length 1.
            low_3: (3,) where the box begins.
            high_3: (3,) where it ends.
            scale_B: (B,) sides of the cube in a metre, for `Rendered.metres`; None for 1.
            generator: shakes the places, in training; one for each scene, one for all, or torch's own.
        """
        with torch.autocast(origins_BR3.device.type, enabled=False):
            origins, directions = precise(origins_BR3), precise(directions_BR3)
            near, far, hit = intersect(origins, directions, low_3, high_3, self.near)
            shaken = self.jitter if self.training else "none"
            edges = place_samples(
                field, origins, directions, near, far, self.placement, shaken=shaken, generator=generator
            )
            t, delta = edges[..., :-1], edges.diff(dim=-1)
            values = field.values(*points_on(origins, directions, t))
            sdf, gradient = values.sdf.view(t.shape), values.gradient.view(*t.shape, 3)
            cosine = -torch.relu(-(directions[:, :, None] * gradient).sum(-1))
            alpha = opacity(sdf, cosine, delta, self.k).clamp(0, 1)
            alpha = alpha * hit[..., None]
            unit = gradient / _length(gradient)[..., None]
            hidden = [] if values.hidden is None else [values.hidden.view(*t.shape, -1)]
            seen = torch.cat([values.color.view(*t.shape, 3), t[..., None], unit, *hidden], -1)
            weights, sums = composite(alpha.flatten(0, 1), seen.flatten(0, 1))
            weights, sums = weights.view(t.shape), sums.view(*t.shape[:2], -1)
            total = weights.sum(-1)
            color, depth = sums[..., :3], sums[..., 3] / (total + 1e-10)
            return Rendered(
                color=color if self.training else color.clamp(0, 1),
                depth=torch.minimum(torch.maximum(depth, t[..., 0]), t[..., -1]) * hit,
                normal=sums[..., 4:7],
                semantic=field.meaning(sums[..., 7:], total) if hidden else None,
                opacity=total,
                weights=weights,
                distances=t,
                sdf=sdf * hit[..., None],
                gradient=gradient * hit[..., None, None],
                hit=hit,
                scale=torch.ones_like(t[:, 0, 0]) if scale_B is None else scale_B,
            )


def _length(vectors: Tensor) -> Tensor:
    """(...) of (..., 3); its gradient at 0 is finite."""
    return (vectors.square().sum(-1) + 1e-12).sqrt()
