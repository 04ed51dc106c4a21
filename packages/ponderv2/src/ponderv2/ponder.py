"""The model of PonderV2: points are encoded, and what was encoded has to render the frames of a camera.

    features = SpUNet(voxels)   ->  volume = U-Net(means of features)  ->  field at the volume  ->  rays

After pre-training the backbone is kept, and the rest thrown away, or used to draw meshes and views.
"""

from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ponderv2.feature_volume import DenseUNet, pool
from ponderv2.field import NeuralField
from ponderv2.model_config import PonderConfig
from ponderv2.ray_samples import Generators
from ponderv2.render_losses import RayTargets, RenderLosses
from ponderv2.renderer import Rendered, Renderer
from ponderv2.spunet import SpUNet, build_spunet
from ponderv2.unit_cube import LEGACY_PADDING, UnitCube

# Shapes: B scenes, M voxels of all of them, R rays or P points a scene, (Z, Y, X) cells, E of a text vector.


class Encoded(NamedTuple):
    """Scenes as the field reads them.

    Attributes:
        volume: (B, C, Z, Y, X).
        cube: where they lie in it.
        features: (M, width) of the backbone, by voxel.
    """

    volume: Tensor
    cube: UnitCube
    features: Tensor


class PointValues(NamedTuple):
    """The field at points of the world.

    Attributes:
        sdf: (B, P) signed distance in metres, positive in front of a surface.
        gradient: (B, P, 3) of it, metres by metre.
        color: (B, P, 3) in 0..1.
        semantic: (B, P, E), or None without a perceptron of meaning.
    """

    sdf: Tensor
    gradient: Tensor
    color: Tensor
    semantic: Tensor | None


class Rays(Protocol):
    """What `PonderModel.render` asks of rays; metres, in the world of the batch."""

    @property
    def origin(self) -> Any:
        """(B, R, 3)."""

    @property
    def direction(self) -> Any:
        """(B, R, 3) of length 1."""


class PonderModel(nn.Module):
    """Backbone, volume, field and renderer; see `build_ponder`.

    Args:
        backbone: sparse U-Net.
        dense: fills the volume.
        field: its perceptrons.
        renderer: looks along rays.
        terms: the losses.
        config: what the parts were built from.
        mask: hides voxels in training, called as mask(features, cells, generator); None hides nothing.
    """

    def __init__(
        self,
        backbone: SpUNet,
        dense: nn.Module,
        field: NeuralField,
        renderer: Renderer,
        terms: RenderLosses,
        *,
        config: PonderConfig,
        mask: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.dense, self.field = backbone, dense, field
        self.renderer, self.terms, self.config, self.mask = renderer, terms, config, mask

    def encode(self, batch: Any, generator: Any = None) -> Encoded:
        """The volume of a batch.

        Args:
            batch: a `ponderv2.batches.Batch`.
            generator: for the mask, in training.

        Raises:
            UserError: a data set without norms, or a cloud without extent; the text names them.
        """
        volume, features = self.config.volume, batch.features
        cube = UnitCube.of_boxes(
            batch.box, padding=volume.padding, legacy=volume.legacy, names=list(batch.names)
        )
        if self.mask is not None and self.training:
            features = self.mask(features, batch.cells, generator)
        features = self.backbone(features, batch.cells, batch.dataset)
        scene = batch.cells[:, 0]
        pooled = pool(features, batch.coord, scene, cube, volume.shape, occupancy=volume.occupancy)
        return Encoded(self.dense(pooled), cube, features)

    def render(self, encoded: Encoded, rays: Rays, generator: Generators = None) -> Rendered:
        """What rays see, in sides of the cube, as the losses compare it.

        Args:
            encoded: of B scenes.
            rays: in metres.
            generator: shakes the places on rays, in training: one for each scene, one for all, or torch's.
        """
        cube = encoded.cube
        return self.renderer(
            self.field.at(encoded.volume, cube),
            cube.to_cube(rays.origin),
            rays.direction,
            cube.low,
            cube.high,
            cube.scale,
            generator,
        )

    def render_rays(self, encoded: Encoded, origins_BR3: Tensor, directions_BR3: Tensor) -> Rendered:
        """What rays see, in metres.

        Args:
            encoded: of B scenes.
            origins_BR3: (B, R, 3) metres.
            directions_BR3: (B, R, 3) of length 1.
        """
        return self.render(encoded, _Rays(origins_BR3, directions_BR3)).metres()

    def query(
        self, encoded: Encoded, points_BP3: Tensor, directions_BP3: Tensor | None = None
    ) -> PointValues:
        """The field at points of the world, without rendering.

        Args:
            encoded: of B scenes.
            points_BP3: (B, P, 3) metres.
            directions_BP3: (B, P, 3) of length 1, which way one looks; None: straight onto the surface.
        """
        field, cube = self.field.at(encoded.volume, encoded.cube), encoded.cube
        points = cube.to_cube(points_BP3)
        if directions_BP3 is None:
            gradient = field.values(points, torch.zeros_like(points)).gradient
            directions_BP3 = -nn.functional.normalize(gradient.detach(), dim=-1)
        found = field.values(points, directions_BP3)
        semantic = None
        if found.hidden is not None:
            semantic = field.meaning(found.hidden, torch.ones_like(found.sdf))
        gradient = found.gradient / LEGACY_PADDING if cube.legacy else found.gradient
        return PointValues(found.sdf / cube.scale[:, None], gradient, found.color, semantic)

    def forward(self, batch: Any, generator: Any = None) -> Rendered:
        """What the rays of a batch see; see `encode` and `render`."""
        return self.render(self.encode(batch, generator), batch.rays, generator)

    def losses(self, rendered: Rendered, batch: Any, text: Tensor | None = None) -> dict[str, Tensor]:
        """Name -> weighted scalar.

        Args:
            rendered: of the batch's rays.
            batch: what the camera saw, in metres.
            text: (K, E) text vectors of length 1 by label, for supervision by 2D labels; None: none.
        """
        rays = batch.rays
        depth = rays.depth * rendered.scale[:, None]
        return self.terms(rendered, RayTargets(depth, rays.color, rays.label, batch.valid), text)


class _Rays(NamedTuple):
    origin: Tensor
    direction: Tensor


def build_ponder(config: PonderConfig, *, mask: nn.Module | None = None) -> PonderModel:
    """A model with initial weights.

    Args:
        config: its sizes.
        mask: hides voxels in training.
    """
    backbone, volume, placed = build_spunet(config.backbone), config.volume, config.renderer
    return PonderModel(
        backbone,
        DenseUNet(backbone.out_channels + volume.occupancy, volume.out, widths=volume.widths),
        NeuralField(config.field, volume.out),
        Renderer(
            samples=placed.samples,
            importance=placed.importance,
            steps=placed.steps,
            near=placed.near,
            jitter=placed.jitter,
            sharpness=placed.sharpness,
        ),
        RenderLosses(**asdict(config.losses)),
        config=config,
        mask=mask,
    )
