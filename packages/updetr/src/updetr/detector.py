"""DETR: a convolutional backbone, a transformer, and a set of boxes at once (Carion et al. 2020).

The parts are initialised and named as in the original code: queries are N(0, 1), the heads as PyTorch has it.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from updetr.backbones import Backbone, build_backbone
from updetr.batches import Outputs
from updetr.detector_config import DetectorConfig
from updetr.positions import mask_of_map, sine_positions
from updetr.set_detector import SetDetector
from updetr.transformer import Transformer

# Shapes: B images, H x W pixels, S = h w features of the backbone's last map, C their channels, N queries, d
# their size, K classes, L decoder layers.


class Memory(NamedTuple):
    """An encoded batch of images; one memory serves any number of decodes.

    Attributes:
        memory: (B, S, d) float.
        positions: (B, S, d) float, where each feature lies.
        padding: (B, S) bool, True where there is no image.
        maps: the backbone's maps, (B, channels, height, width) each, the last one the one that was encoded.
    """

    memory: Tensor
    positions: Tensor
    padding: Tensor
    maps: tuple[Tensor, ...]


class MLP(nn.Module):
    """Linear layers with ReLUs between them: `sizes[0]` numbers to `sizes[-1]`."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., sizes[0]) to (..., sizes[-1])."""
        for number, layer in enumerate(self.layers):
            x = layer(x.relu() if number else x)
        return x


class Detector(SetDetector):
    """A detection transformer, pre-norm or post-norm.

    Args:
        config: its sizes; `arch` is detr-prenorm or detr, the others are built by `updetr.other_detectors`.
        backbone: used instead of the one that the configuration names.

    Attributes:
        config: as given.
        backbone: gives the maps.
        input_proj: 1 x 1 convolution, C to d.
        transformer: encoder and decoder.
        query_embed: (N, d) what the queries ask for.
        class_embed: d to K + 1 logits, the last of them no object.
        bbox_embed: d to cxcywh before the sigmoid.
        sigmoid: False: classes share a softmax with no object.
    """

    sigmoid = False

    def __init__(self, config: DetectorConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        if config.arch not in ("detr", "detr-prenorm"):
            raise ValueError(f"{config.arch} is built by updetr.other_detectors.build")
        self.config = config
        width = config.width
        self.backbone = backbone or build_backbone(config.backbone, dilation=config.dilation)
        self.input_proj = nn.Conv2d(self.backbone.channels[-1], width, 1)
        self.transformer = Transformer(
            width,
            heads=config.heads,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            hidden=config.hidden,
            dropout=config.dropout,
            prenorm=config.arch == "detr-prenorm",
        )
        self.query_embed = nn.Embedding(config.queries, width)
        self.class_embed = nn.Linear(width, len(config.labels) + 1)
        self.bbox_embed = MLP(width, width, width, 4)

    def encode_maps(self, maps: tuple[Tensor, ...], mask_BHW: Tensor) -> Memory:
        """The encoder on maps that the backbone gave before, of a cache for example.

        Args:
            maps: of the backbone; the last one is encoded.
            mask_BHW: (B, H, W) bool, True where there is an image: at the size of the pixels, or of the map.
        """
        source = self.input_proj(maps[-1])
        mask = mask_of_map(mask_BHW, tuple(source.shape[-2:]))
        kind = self.query_embed.weight.dtype  # that of the sums through the layers, under autocast too
        positions = sine_positions(mask, self.config.width).flatten(1, 2).to(kind)
        padding = ~mask.flatten(1)
        memory = self.transformer.encoder(source.flatten(2).transpose(1, 2).to(kind), positions, padding)
        return Memory(memory, positions, padding, maps)

    def decode_with_states(
        self,
        memory: Memory,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
        order: Tensor | None = None,
    ) -> tuple[Outputs, Tensor]:
        """As for every detector; the heads are shared by all layers, and the states are normalised."""
        asked = self.query_embed.weight if order is None else self.query_embed.weight[order]
        asked = asked[:queries].expand(len(memory.memory), -1, -1)
        places = asked if query_extra is None else asked + query_extra
        states = self.transformer.decoder(
            places, memory.memory, memory.positions, memory.padding, groups=groups
        )
        with torch.autocast(states.device.type, enabled=False):  # 8 bits say a box to 1/256 of the image
            return Outputs(self.class_embed(states), self.bbox_embed(states).sigmoid()), states


def parameter_count(module: nn.Module, *, trainable: bool = False) -> int:
    """How many numbers are learnt; `trainable` leaves out the frozen ones."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trainable)
