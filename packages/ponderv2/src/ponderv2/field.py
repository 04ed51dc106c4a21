"""The neural field: what a point of space is, read off the volume (PonderV2, Zhu et al. 2023).

With f(p) the volume at p, split in a half for geometry and one for appearance (or shared, as outdoors),

    (s, h) = MLP_sdf(p, f_geometry),   g = ds/dp
    colour = sigmoid MLP_color(p, [g, f_appearance, h, d]),   meaning = MLP_semantic(p, [g, f_appearance, h])

s is the signed distance, positive in front of a surface, d the direction of the ray, and in the layers

    x_0 = position * Linear(p),   x_{l+1} = act(Linear_l(x_l + Linear_l'(f)))

without the activation in the last one. Lengths are in sides of the unit cube. Training takes a gradient of g,
hence the second gradient of trilinear sampling. All of it is float32, under autocast as well (float64 stays).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from nonet.kernels.trilinear import trilinear
from ponderv2.model_config import FieldConfig
from ponderv2.unit_cube import Reader, UnitCube

# Shapes: B scenes, P points of a scene, C channels of the volume, H numbers of geometry, E of a text vector.

BETA = 100  # of the softplus between layers of distances: nearly a ReLU, but with a second derivative


class FieldValues(NamedTuple):
    """A field at points.

    Attributes:
        sdf: (B, P) signed distance.
        gradient: (B, P, 3) of it by the coordinates of `UnitCube.to_place`. Those are the cube's, and a unit
            of length cancels; under legacy they are the volume's, and it is `LEGACY_PADDING` times as long.
        color: (B, P, 3) in 0..1.
        hidden: (B, P, hidden) of meaning, before the last layer; None where there is no such perceptron.
    """

    sdf: Tensor
    gradient: Tensor
    color: Tensor
    hidden: Tensor | None


class Field(Protocol):
    """What the renderer asks; analytic fields answer it in tests."""

    def sdf(self, points_BP3: Tensor) -> Tensor:
        """(B, P) signed distances, as the search for the surface asks for them."""

    def values(self, points_BP3: Tensor, directions_BP3: Tensor) -> FieldValues:
        """Everything at points that are seen from directions."""

    def meaning(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """The last layer of meaning for sums of hidden numbers with weights that sum to `weight`."""


class FeatureMLP(nn.Module):
    """Layers that take up the features anew each time.

    Args:
        features: of a point.
        hidden: units.
        out: numbers at the end.
        layers: how many.
        position: factor of the point's own coordinates.
        smooth: softplus between layers instead of ReLU, for what is differentiated twice.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        out: int,
        layers: int,
        *,
        position: float = 0.0,
        smooth: bool = False,
    ) -> None:
        super().__init__()
        self.position = position
        self.of_point = nn.Linear(3, hidden)
        self.of_features = nn.ModuleList(nn.Linear(features, hidden) for _ in range(layers))
        self.layers = nn.ModuleList(
            nn.Linear(hidden, hidden if number < layers - 1 else out) for number in range(layers)
        )
        self.act = nn.Softplus(beta=BETA) if smooth else nn.ReLU()

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """(..., 3) and (..., features) -> (..., out)."""
        return self.layers[-1](self.before_last(points, features))

    def before_last(self, points: Tensor, features: Tensor) -> Tensor:
        """(..., hidden): what goes into the last layer, which is linear."""
        x = self.of_point(points) * self.position
        for number, (layer, take_up) in enumerate(zip(self.layers, self.of_features, strict=True)):
            x = x + take_up(features)
            if number < len(self.layers) - 1:
                x = self.act(layer(x))
        return x


class NeuralField(nn.Module):
    """The perceptrons; with a volume they become a field (see `at`).

    Args:
        config: their sizes.
        channels: C, of the volume.
    """

    def __init__(self, config: FieldConfig, channels: int) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        half = channels if config.shared else channels // 2
        beside = 3 + half + config.geometry  # gradient, features, geometry

        def layers(features: int, out: int, count: int, smooth: bool = False) -> FeatureMLP:
            return FeatureMLP(features, config.hidden, out, count, position=config.position, smooth=smooth)

        self.sdf = layers(half, 1 + config.geometry, config.sdf_layers, smooth=True)
        self.color = layers(beside + 3, 3, config.color_layers)
        self.semantic = layers(beside, config.semantic, config.semantic_layers) if config.semantic else None

    def at(self, volume_BCZYX: Tensor, cube: UnitCube) -> "VolumeField":
        """The field of B volumes.

        Args:
            volume_BCZYX: (B, C, Z, Y, X) float; a gradient passes.
            cube: where points lie in them.
        """
        with _exact(volume_BCZYX, torch.is_grad_enabled()):
            volume = precise(volume_BCZYX)
            parts = (volume, volume) if self.config.shared else volume.chunk(2, 1)
            # channels of a cell side by side, so that sampling need not copy
            geometry, appearance = (part.contiguous(memory_format=torch.channels_last_3d) for part in parts)
            return VolumeField(self, geometry, appearance, cube.map(precise))


@dataclass(frozen=True)
class VolumeField:
    """The field of B scenes, made by `NeuralField.at`.

    Attributes:
        net: the perceptrons.
        geometry: (B, C', Z, Y, X) float32, what distances are read off.
        appearance: (B, C', Z, Y, X) float32, what colour and meaning are read off.
        cube: where points lie in them.
    """

    net: NeuralField
    geometry: Tensor
    appearance: Tensor
    cube: UnitCube

    def sdf(self, points_BP3: Tensor, reader: Reader = "sampler") -> Tensor:
        """(B, P) signed distances."""
        with _exact(points_BP3, torch.is_grad_enabled()):
            return self._geometry(self.cube.to_place(precise(points_BP3), reader))[..., 0]

    def values(self, points_BP3: Tensor, directions_BP3: Tensor) -> FieldValues:
        """Everything at points that are seen from directions. A gradient passes to the volume and to the
        perceptrons, not to points and directions."""
        learn = torch.is_grad_enabled()
        with _exact(points_BP3, True):
            place = self.cube.to_place(precise(points_BP3)).detach().requires_grad_()
            sdf, geometry = self._geometry(place).tensor_split([1], -1)
            (gradient,) = torch.autograd.grad(sdf.sum(), place, create_graph=learn)
        with _exact(points_BP3, learn):
            place = place.detach()
            features = trilinear(self.appearance, self.cube.place_to_grid(place))
            beside = torch.cat([gradient, features, geometry], -1)
            color = self.net.color(place, torch.cat([beside, precise(directions_BP3)], -1)).sigmoid()
            hidden = None if self.net.semantic is None else self.net.semantic.before_last(place, beside)
            return FieldValues(sdf[..., 0] if learn else sdf[..., 0].detach(), gradient, color, hidden)

    def meaning(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """What hidden numbers mean that were summed along a ray.

        The last layer is linear, so

            sum_i w_i (A x_i + b) = A sum_i w_i x_i + b sum_i w_i

        and the few hidden numbers are summed in place of the many of a text vector.

        Args:
            hidden: (..., hidden) sum of w_i x_i.
            weight: (...) sum of w_i.

        Returns:
            (..., E).
        """
        last = self.net.semantic.layers[-1]  # type: ignore[union-attr]
        with _exact(hidden, torch.is_grad_enabled()):
            return hidden @ last.weight.T + weight[..., None] * last.bias

    def _geometry(self, place: Tensor) -> Tensor:
        """(B, P, 1 + geometry): distance, and what is handed on."""
        return self.net.sdf(place, trilinear(self.geometry, self.cube.place_to_grid(place)))


def precise(tensor: Tensor) -> Tensor:
    """In float32 at least, and no inference tensor, which could take no part in what is differentiated:
    Lightning validates in inference mode, and a normal is a gradient there, too."""
    tensor = tensor.clone() if tensor.is_inference() else tensor
    return tensor if tensor.dtype == torch.float64 else tensor.float()


@contextmanager
def _exact(tensor: Tensor, learn: bool) -> Iterator[None]:
    """Without autocast, out of inference mode, with gradients or not."""
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(learn),
        torch.autocast(tensor.device.type, enabled=False),
    ):
        yield
