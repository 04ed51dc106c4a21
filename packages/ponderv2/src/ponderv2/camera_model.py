"""The backbone of cameras: images to one volume around the car (UniPAD, Yang et al. 2024).

images -> ConvNeXt (masked) -> feature pyramid -> depth head;   volume = lift(pyramid, chances of depth)
"""

from torch import Tensor, nn

from ponderv2.image_lift import Cameras, DepthHead, FeaturePyramid, cell_centers, lift
from ponderv2.masked_convnext import STRIDES, MaskedConvNeXt
from ponderv2.outdoor_options import OutdoorOptions

# Shapes: B frames, V cameras, C channels, (Z, Y, X) cells.


class CameraBackbone(nn.Module):
    """ConvNeXt, feature pyramid and depth head, with the lift behind them.

    Args:
        options: names, widths, bins, range and cells.

    Raises:
        UserError: as `MaskedConvNeXt` does.
    """

    points: Tensor

    def __init__(self, options: OutdoorOptions) -> None:
        super().__init__()
        self.options = options
        self.encoder = MaskedConvNeXt(
            options.image_backbone, weights=options.image_weights, frozen_stages=options.frozen_stages
        )
        self.pyramid = FeaturePyramid(self.encoder.widths, options.pyramid_width)
        self.depth = DepthHead(options.pyramid_width, len(STRIDES), options.depth_bins)
        self.out_channels = options.pyramid_width
        points = cell_centers(options.low, options.high, options.cells)
        self.register_buffer("points", points, persistent=False)

    def forward(self, cameras: Cameras) -> Tensor:
        """(B, C, Z, Y, X) float32 of the cameras of B frames."""
        images = cameras.images.flatten(0, 1)
        visible = None if cameras.visible is None else cameras.visible.flatten(0, 1)
        maps = self.pyramid(self.encoder(images, visible))
        volume = lift(maps, self.depth(maps), cameras, self.points, depth_bin=self.options.depth_bin)
        X, Y, Z = self.options.cells
        return volume.reshape(len(volume), self.out_channels, Z, Y, X)
