"""Masks for the boxes of a detector: DETR's small head (Carion et al. 2020, section 4.4 and figure 8).

A query looks at the encoded image with attention of its own, whose weights, one map a head, say roughly where
its object is; convolutions refine them with ever finer maps of the backbone. Each query is computed by
itself, so that only those that matter need to be.
"""

import math
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.errors import UserError
from updetr.backbone_base import Backbone
from updetr.backbones import RESNETS, build_backbone
from updetr.batches import Images, Outputs
from updetr.detector import Detector, Memory

# Shapes: B images, N queries, T of them over the whole batch, d their size, h x w features of the last map.

NORM_GROUPS = 8


class AttentionMaps(nn.Module):
    """Where each query looks, a map for each head; all maps of a query together sum to one.

    Args:
        width: d.
        heads: of attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.q_proj, self.k_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, states_Td: Tensor, memory_Tdhw: Tensor, padding_Thw: Tensor) -> Tensor:
        """(T, heads, h, w) weights.

        Args:
            states_Td: (T, d) the queries.
            memory_Tdhw: (T, d, h, w) the encoded image of each.
            padding_Thw: (T, h, w) bool, True where there is no image.
        """
        keys = F.conv2d(memory_Tdhw, self.k_proj.weight[:, :, None, None], self.k_proj.bias)
        keys = keys.unflatten(1, (self.heads, -1))
        asked = self.q_proj(states_Td).unflatten(1, (self.heads, -1))
        scores = torch.einsum("tnc,tnchw->tnhw", asked / math.sqrt(asked.shape[-1]), keys)
        scores = scores.masked_fill(padding_Thw[:, None], torch.finfo(scores.dtype).min)
        return scores.flatten(1).softmax(-1).view_as(scores)


class ConvBlock(nn.Module):
    """3 x 3 convolution, group norm, ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.norm = nn.GroupNorm(math.gcd(NORM_GROUPS, out), out)

    def forward(self, x: Tensor) -> Tensor:
        """(T, channels, h, w) to (T, out, h, w)."""
        return self.norm(self.conv(x)).relu()


class MaskHead(nn.Module):
    """Attention maps and the image's features to a mask, at the size of the finest map.

    Args:
        width: d; halved at each of the finer maps, twice at the least.
        heads: of attention.
        channels: of the backbone's maps, the last one that was encoded; from the one before it on they are
            added, from coarse to fine.
    """

    def __init__(self, width: int, heads: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        finer = channels[-2::-1]
        sizes = [width // 2 ** (level + 1) for level in range(len(finer) + 1)]
        if sizes[-1] < 1:
            raise ValueError(f"width {width} is too small for {len(finer)} finer maps")
        self.attention = AttentionMaps(width, heads)
        self.conv1 = ConvBlock(width + heads, width + heads)
        self.conv2 = ConvBlock(width + heads, sizes[0])
        self.adapters = nn.ModuleList(
            nn.Conv2d(own, size, 1) for own, size in zip(finer, sizes, strict=False)
        )
        self.stages = nn.ModuleList(ConvBlock(a, b) for a, b in pairwise(sizes))
        self.output = nn.Conv2d(sizes[-1], 1, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(
        self,
        states_Td: Tensor,
        images_T: Tensor,
        source: Tensor,
        memory: Tensor,
        padding: Tensor,
        maps: tuple[Tensor, ...],
    ) -> Tensor:
        """Logits of the masks, (T, H, W) at the size of the finest map.

        Args:
            states_Td: (T, d) the queries that masks are wanted of.
            images_T: (T,) int64, the image of each.
            source: (B, d, h, w) the last map as it went into the encoder.
            memory: (B, d, h, w) as it came out of it.
            padding: (B, h, w) bool, True where there is no image.
            maps: of the backbone.
        """
        where = self.attention(states_Td, memory[images_T], padding[images_T])
        x = self.conv2(self.conv1(torch.cat([source[images_T], where], 1)))
        for adapter, stage, finer in zip(self.adapters, self.stages, maps[-2::-1], strict=True):
            added = adapter(finer)[images_T]
            x = stage(added + F.interpolate(x, size=added.shape[-2:], mode="nearest"))
        return self.output(x)[:, 0]


class Segmenter(nn.Module):
    """A fine-tuned detector, frozen, and a mask head that learns.

    Args:
        detector: DETR, pre-norm or post-norm, with one of our ResNets; its backbone gives all its maps from
            now on.

    Attributes:
        detector: as given.
        head: the mask head.

    Raises:
        UserError: another architecture or backbone.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        config = detector.config
        if not isinstance(detector, Detector) or config.backbone not in RESNETS:
            raise UserError(
                f"a mask head needs a detr or detr-prenorm with one of {', '.join(RESNETS)}; this is a "
                f"{config.arch} with {config.backbone}"
            )
        self.detector = detector.requires_grad_(False)
        self.head = MaskHead(config.width, config.heads, give_all_maps(detector.backbone, config.backbone))

    def train(self, mode: bool = True) -> Self:
        """The detector stays as in evaluation."""
        super().train(mode)
        self.detector.eval()
        return self

    @torch.no_grad()
    def detect(self, images: Images) -> tuple[Memory, Outputs, Tensor]:
        """The encoded images, the last layer's answers (L = 1), and the queries' states (B, N, d)."""
        memory = self.detector.encode(images)
        outputs, states = self.detector.decode_with_states(memory)
        return memory, Outputs(outputs.logits[-1:], outputs.boxes[-1:]), states[-1]

    def masks(self, memory: Memory, states_Td: Tensor, images_T: Tensor) -> Tensor:
        """Logits of masks, (T, H, W) at the size of the backbone's finest map; see `MaskHead`."""
        last = memory.maps[-1]
        with torch.no_grad():
            source = self.detector.input_proj(last)
        shape = last.shape[-2:]
        encoded = memory.memory.transpose(1, 2).unflatten(2, shape)
        padding = memory.padding.unflatten(1, shape)
        masks: Tensor = self.head(states_Td, images_T, source, encoded, padding, memory.maps)
        return masks


def give_all_maps(backbone: Backbone, name: str) -> tuple[int, ...]:
    """Let one of our ResNets give the maps of all its stages; their channels."""
    stages = len(RESNETS[name][0])
    with torch.device("meta"):
        wide = build_backbone(name, maps=stages)
    backbone.maps = stages  # type: ignore[assignment]
    backbone.channels = wide.channels
    return wide.channels
