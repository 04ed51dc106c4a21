"""What detectors on several maps at once share: their encoded images, and self-attention in groups (ours).

transformers gives the decoders of Deformable-DETR no mask for self-attention, and that of RT-DETR one that
costs as much as all queries together; here groups of queries that do not see each other are a reshape.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrSelfAttention
from transformers.models.rt_detr.modeling_rt_detr import RTDetrSelfAttention

from updetr.positions import mask_of_map

# Shapes: B images, S features of all levels, V levels, N queries, d their size.


class LevelMemory(NamedTuple):
    """A batch of images, encoded on several maps; one memory serves any number of decodes.

    Attributes:
        memory: (B, S, d) float, the features of all levels, the finest first.
        padding: (B, S) bool, True where there is no image.
        shapes: (height, width) of each level's map.
        filled: (B, V, 2) float, the share of each map's width and height where there is an image.
        maps: the backbone's maps, (B, channels, height, width) each.
    """

    memory: Tensor
    padding: Tensor
    shapes: tuple[tuple[int, int], ...]
    filled: Tensor
    maps: tuple[Tensor, ...]

    def layout(self) -> dict[str, object]:
        """How the levels lie in the memory, as transformers' decoders are told."""
        sizes = torch.tensor(self.shapes, dtype=torch.long, device=self.memory.device)
        ends = sizes.prod(1).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        return {
            "spatial_shapes": sizes, "spatial_shapes_list": list(self.shapes), "level_start_index": starts,
        }  # fmt: skip


class _Grouped:
    """Self-attention that cuts its queries into groups of equal size, each blind to the others."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        *,
        groups: int = 1,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor | None]:
        """As transformers' own; `groups` divides the queries, and comes through the decoder's `kwargs`."""
        B, N, d = hidden_states.shape
        if N % groups:
            raise ValueError(f"{N} queries cannot be cut into {groups} groups of equal size")
        cut = (B * groups, N // groups, d)
        places = None if position_embeddings is None else position_embeddings.reshape(cut)
        found, weights = super().forward(  # type: ignore[misc]
            hidden_states.reshape(cut), attention_mask, places, **kwargs
        )
        return found.reshape(B, N, d), weights


class GroupedDeformableAttention(_Grouped, DeformableDetrSelfAttention):  # type: ignore[misc]
    """Deformable-DETR's self-attention of queries, in groups."""


class GroupedRTAttention(_Grouped, RTDetrSelfAttention):  # type: ignore[misc]
    """RT-DETR's self-attention of queries, in groups."""


def group_self_attention(decoder: nn.Module, kind: type[nn.Module]) -> None:
    """Put attention in groups into each layer of a decoder of transformers, in place of its own.

    Args:
        decoder: with `layers` that have `self_attn`, and its `config`.
        kind: one of the classes above.
    """
    config = decoder.config
    for layer in decoder.layers:
        own = layer.self_attn
        made = kind(config, config.d_model, config.decoder_attention_heads, own.attention_dropout)
        made.load_state_dict(own.state_dict())
        layer.self_attn = made


def filled_share(mask_BHW: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where a map has an image, and how much of its sides that is.

    Args:
        mask_BHW: (B, H, W) bool, True where there is an image, at the size of the pixels.
        shape: (h, w) of the map.

    Returns:
        (B, h, w) bool, and (B, 2) float: shares of width and height.
    """
    h, w = shape
    mask = mask_of_map(mask_BHW, shape)
    across, down = mask[:, 0].sum(-1) / w, mask[:, :, 0].sum(-1) / h
    return mask, torch.stack([across, down], -1)


def logit(share: Tensor, eps: float = 1e-5) -> Tensor:
    """log(x / (1 - x)) of shares in 0..1, kept `eps` away from both ends, as transformers does."""
    return torch.log(share.clamp(eps, 1) / (1 - share).clamp(eps, 1))
