"""Deformable-DETR (Zhu et al. 2021), transformers' own modules, with the queries that the pretext needs.

One-stage, no box refinement. A query has a content and a position half; what is added to queries (a patch) is
added to both, since the point that a query looks around is a function of its position half. Classes are
sigmoids: there is no class for no object.
"""

import math

import torch
from torch import Tensor, nn
from transformers import DeformableDetrForObjectDetection

from updetr.backbones import Backbone, build_backbone
from updetr.batches import Outputs
from updetr.detector_config import DetectorConfig
from updetr.hf_levels import LEVELS, deformable_config
from updetr.level_detector import LevelDetector
from updetr.level_memory import (
    GroupedDeformableAttention,
    LevelMemory,
    filled_share,
    group_self_attention,
    logit,
)

# Shapes: B images, S features of all levels, N queries, d their size, K classes, L decoder layers.

PACKED = 0.5**0.5  # the original draws queries, keys and values as one matrix of 3 d rows
PRIOR = 0.01  # probability of each class before training (Lin et al. 2017)
SMALL = -2.0  # logit of the sides of boxes before training


class DeformableDetector(LevelDetector):
    """Deformable-DETR behind the interface of `updetr.detector.Detector`.

    Args:
        config: its sizes; width divides by 32.
        backbone: used instead of the one that the configuration names; gives three maps.
    """

    def __init__(self, config: DetectorConfig, backbone: Backbone | None = None) -> None:
        backbone = backbone or build_backbone(config.backbone, maps=LEVELS)
        hf = DeformableDetrForObjectDetection(deformable_config(config, backbone))
        super().__init__(config, backbone, hf)
        self.hf.model.encoder.dropout = 0.0  # of the encoder's input, which the original leaves whole
        group_self_attention(self.hf.model.decoder, GroupedDeformableAttention)
        self._initialise()

    def encode_maps(self, maps: tuple[Tensor, ...], mask: Tensor) -> LevelMemory:
        """The encoder on three maps of the backbone and a coarser one that is made of the last."""
        inner = self.hf.model
        sources: list[Tensor] = []
        masks, filled, places = [], [], []
        finest = maps[-(len(inner.input_proj) - 1) :]
        for level, project in enumerate(inner.input_proj):
            source = project(finest[level] if level < len(finest) else finest[-1])
            seen, share = filled_share(mask, tuple(source.shape[-2:]))
            place = inner.position_embedding(source.shape, source.device, source.dtype, seen)
            sources.append(source.flatten(2).transpose(1, 2))
            places.append(place.flatten(2).transpose(1, 2) + inner.level_embed[level])
            masks.append(seen)
            filled.append(share)
        there = torch.cat([seen.flatten(1) for seen in masks], 1)
        shapes = tuple((seen.shape[1], seen.shape[2]) for seen in masks)
        memory = LevelMemory(torch.cat(sources, 1), ~there, shapes, torch.stack(filled, 1), maps)
        encoded = inner.encoder(
            inputs_embeds=memory.memory,
            attention_mask=there,
            spatial_position_embeddings=torch.cat(places, 1),
            valid_ratios=memory.filled,
            **memory.layout(),
        )
        return memory._replace(memory=encoded.last_hidden_state)

    def decode_with_states(
        self,
        memory: LevelMemory,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
        order: Tensor | None = None,
    ) -> tuple[Outputs, Tensor]:
        """As for every detector; what is added is added to a query's content and position."""
        inner = self.hf.model
        asked = inner.query_position_embeddings.weight
        asked = (asked if order is None else asked[order])[:queries].expand(len(memory.memory), -1, -1)
        places, content = asked.chunk(2, -1)
        if query_extra is not None:
            places, content = places + query_extra, content + query_extra
        points = inner.reference_points(places).sigmoid()
        found = inner.decoder(
            inputs_embeds=content,
            object_queries_position_embeddings=places,
            encoder_hidden_states=memory.memory,
            encoder_attention_mask=~memory.padding,
            reference_points=points,
            valid_ratios=memory.filled,
            groups=groups,
            **memory.layout(),
        )
        states = found.intermediate_hidden_states.transpose(0, 1)
        shifts = self.hf.bbox_embed[0](states)  # the heads are the same in all layers
        centres = shifts[..., :2] + logit(points)
        boxes = torch.cat([centres, shifts[..., 2:]], -1).sigmoid()
        return Outputs(self.hf.class_embed[0](states), boxes), states

    @torch.no_grad()
    def _initialise(self) -> None:
        """As the original does: transformers draws every linear layer and the queries from N(0, 0.02)."""
        inner = self.hf.model
        for part in (inner.encoder, inner.decoder):
            for name, weight in part.named_parameters():
                if weight.dim() > 1 and "sampling_offsets" not in name and "attention_weights" not in name:
                    packed = name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))
                    nn.init.xavier_uniform_(weight, PACKED if packed else 1.0)
        for project, _ in inner.input_proj:
            nn.init.xavier_uniform_(project.weight)
            nn.init.zeros_(project.bias)
        nn.init.normal_(inner.query_position_embeddings.weight)
        heads = (self.hf.class_embed[0], *self.hf.bbox_embed[0].layers)
        for layer in heads:
            layer.reset_parameters()
        nn.init.constant_(heads[0].bias, -math.log(1 / PRIOR - 1))
        nn.init.zeros_(heads[-1].weight)
        nn.init.zeros_(heads[-1].bias)
        heads[-1].bias[2:] = SMALL
