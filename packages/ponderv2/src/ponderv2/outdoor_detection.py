"""A detector of boxes on streets: a backbone, its volume, and one of two heads."""

from typing import Any

from torch import Tensor, nn

from ponderv2.box_codes import TrueBoxes, true_boxes
from ponderv2.boxes3d import Boxes3D
from ponderv2.camera_model import CameraBackbone
from ponderv2.center_head import CenterHead
from ponderv2.outdoor_batches import OutdoorBatch
from ponderv2.outdoor_config import OutdoorDetectorConfig
from ponderv2.outdoor_model import build_backbone, range_cube, street_volume
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.query_head import QueryHead
from ponderv2.spunet import SpUNet

# Shapes: B frames, C channels, (Z, Y, X) cells.


class StreetFeatures(nn.Module):
    """A backbone of LiDAR or cameras, with its volume: what pre-training leaves.

    Args:
        backbone: of either kind.
        options: range and cells.
    """

    def __init__(self, backbone: SpUNet | CameraBackbone, options: OutdoorOptions) -> None:
        super().__init__()
        self.backbone, self.options = backbone, options

    @property
    def width(self) -> int:
        """C."""
        return self.backbone.out_channels

    def forward(self, batch: OutdoorBatch) -> Tensor:
        """(B, C, Z, Y, X)."""
        device = next(self.backbone.parameters()).device
        cube = range_cube(self.options, len(batch), device)
        return street_volume(self.backbone, batch, cube, self.options)


class OutdoorDetector(nn.Module):
    """Boxes of frames, and their loss.

    Args:
        features: the backbone.
        head: a `CenterHead` or a `QueryHead`.
        config: what both were built from.
    """

    def __init__(
        self, features: StreetFeatures, head: CenterHead | QueryHead, config: OutdoorDetectorConfig
    ) -> None:
        super().__init__()
        self.features, self.head, self.config = features, head, config

    def forward(self, batch: OutdoorBatch) -> Any:
        """What the head says of a batch; see its `forward`."""
        return self.head(self.features(batch))

    def losses(self, outputs: Any, batch: OutdoorBatch) -> dict[str, Tensor]:
        """Name -> weighted scalar, of what `forward` gave.

        Raises:
            UserError: the batch has no boxes.
        """
        return self.head.losses(outputs, self.truth(batch))

    def truth(self, batch: OutdoorBatch) -> list[TrueBoxes]:
        """The boxes of each frame that are learned from: with LiDAR, those with a point inside.

        Raises:
            UserError: nobody drew boxes in a frame of the batch.
        """
        options, device = self.config.outdoor, next(self.head.parameters()).device
        return [
            true_boxes(
                boxes,
                options.low,
                options.high,
                measured=self.config.modality == "lidar",
                device=device,
            )
            for boxes in batch.true_boxes()
        ]

    def detect(self, outputs: Any) -> list[Boxes3D]:
        """The boxes of each frame, best first, in the world of the batch."""
        return self.head.detect(outputs)


def build_outdoor_detector(config: OutdoorDetectorConfig) -> OutdoorDetector:
    """A detector with initial weights, but for those of images that the config names."""
    features = StreetFeatures(build_backbone(config), config.outdoor)
    classes = len(config.classes)
    head: CenterHead | QueryHead
    if config.head == "centre":
        head = CenterHead(features.width, classes, config.outdoor, width=config.width)
    else:
        head = QueryHead(
            features.width, classes, config.outdoor, queries=config.queries, layers=config.layers,
            width=config.width,
        )  # fmt: skip
    return OutdoorDetector(features, head, config)
