"""The outdoor models of PonderV2 and UniPAD: a street is encoded, and has to render what was measured.

    LiDAR:   SpUNet(voxels) -> means in 180 x 180 x 5 cells      cameras: images lifted into the same cells
    volume = ReLU(BN(Conv3d))  ->  field, shared by geometry and appearance  ->  rays

Lengths are scaled by 1 / 54 m along all axes. PonderV2's outdoor branch scales each axis by itself, so that
its depth depends on the direction.
"""

from typing import Any

import torch
from torch import Tensor

from ponderv2.camera_model import CameraBackbone
from ponderv2.feature_volume import DenseConv, pool
from ponderv2.field import NeuralField
from ponderv2.model_config import FieldConfig
from ponderv2.outdoor_config import OutdoorConfig
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.render_losses import RayTargets, RenderLosses
from ponderv2.renderer import Rendered, Renderer
from ponderv2.spunet import SpUNet, build_spunet
from ponderv2.unit_cube import UnitCube

# Shapes: B frames, M voxels of all of them, R rays a frame, (Z, Y, X) cells.

HIDDEN, GEOMETRY = 16, 16
SDF_LAYERS, COLOR_LAYERS = 6, 4


class OutdoorModel(PonderModel):
    """Backbone, volume, field and renderer of streets; see `build_outdoor_model`.

    Args:
        backbone: a `SpUNet` or a `CameraBackbone`.
        config: what it was built from.
    """

    def __init__(self, backbone: SpUNet | CameraBackbone, config: OutdoorConfig) -> None:
        options = config.outdoor
        field = FieldConfig(
            hidden=HIDDEN, geometry=GEOMETRY, sdf_layers=SDF_LAYERS, color_layers=COLOR_LAYERS, position=1.0,
            shared=True,
        )  # fmt: skip
        super().__init__(
            backbone,  # type: ignore[arg-type]
            DenseConv(backbone.out_channels, options.volume_width),
            NeuralField(field, options.volume_width),
            Renderer(
                samples=options.samples, importance=options.fine_samples, near=options.near * options.unit
            ),
            RenderLosses(
                depth=options.depth_weight, color=0, sdf=options.sdf_weight, free=options.free_weight,
                eikonal=options.eikonal_weight, semantic=0, truncation=options.truncation * options.unit,
            ),
            config=config,  # type: ignore[arg-type]
        )  # fmt: skip
        self.street = config
        self.color_terms = RenderLosses(
            depth=0, color=options.color_weight, sdf=0, free=0, eikonal=0, semantic=0
        )

    def encode(self, batch: Any, generator: Any = None) -> Encoded:
        """The volume of a batch.

        Args:
            batch: an `OutdoorBatch`, whose masks were drawn with it.
            generator: not asked for anything.

        Returns:
            The volume; `features` are the backbone's of each cell, (B Z Y X, C).
        """
        options = self.street.outdoor
        cube = range_cube(options, len(batch), self.renderer.sharpness.device)
        seen = street_volume(self.backbone, batch, cube, options)
        return Encoded(self.dense(seen), cube, seen.flatten(2).transpose(1, 2).flatten(0, 1))

    def losses(self, rendered: Rendered, batch: Any, text: Tensor | None = None) -> dict[str, Tensor]:
        """Name -> weighted scalar. Rays without depth teach colours, those without colour depth.

        Args:
            rendered: of the batch's rays.
            batch: what was measured, in metres.
            text: not used: streets have no labels of pixels here.
        """
        rays = batch.rays
        depth = rays.depth * rendered.scale[:, None]
        target = RayTargets(depth, rays.color, rays.label, batch.valid)
        colored = target._replace(valid=batch.valid & batch.colored)
        return self.terms(rendered, target) | self.color_terms(rendered, colored)


def build_outdoor_model(config: OutdoorConfig) -> OutdoorModel:
    """A model with initial weights, but for those of images that the config names.

    Raises:
        UserError: the images' network cannot be had.
    """
    return OutdoorModel(build_backbone(config), config)


def build_backbone(config: OutdoorConfig) -> SpUNet | CameraBackbone:
    """The backbone alone, as `OutdoorModel` and the detectors have it."""
    return CameraBackbone(config.outdoor) if config.modality == "camera" else build_spunet(config.backbone)


def range_cube(options: OutdoorOptions, frames: int, device: torch.device) -> UnitCube:
    """The range as the volume and its box, for so many frames."""
    low, high = (torch.tensor(side, device=device) for side in (options.low, options.high))
    return UnitCube.of_range(low, high, scale=options.unit, scenes=frames)


def street_volume(
    backbone: SpUNet | CameraBackbone, batch: Any, cube: UnitCube, options: OutdoorOptions
) -> Tensor:
    """(B, C, Z, Y, X): what a backbone made of a batch, in the cells of the volume."""
    if isinstance(backbone, CameraBackbone):
        return backbone(batch.cameras)
    features = backbone(batch.features, batch.cells, batch.dataset)
    return pool(features, batch.coord, batch.cells[:, 0], cube, options.cells)
