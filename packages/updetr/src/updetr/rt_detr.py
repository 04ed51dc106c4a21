"""RT-DETR (Zhao et al. 2024), transformers' own modules, with queries that can be given.

By itself it has none: its queries are the encoder's most promising features, and the boxes predicted there.
For the pretext the choice is left out: the content of a query is what is added to it (a patch), its first box
a cell of a grid that each group of queries lays over the image. Denoising, an aid of its training, is off.
Classes are sigmoids. It knows no padding: boxes are those of the padded picture inside, and of the image
outside.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import RTDetrForObjectDetection

from nonet.errors import UserError
from updetr.backbones import Backbone, build_backbone
from updetr.batches import Outputs
from updetr.detector_config import DetectorConfig
from updetr.hf_levels import LEVELS, rt_config
from updetr.level_detector import LevelDetector
from updetr.level_memory import GroupedRTAttention, LevelMemory, group_self_attention, logit

# Shapes: B images, S features of all levels, n queries, d their size, K classes, L decoder layers.

PRIOR = 0.01  # probability of each class before training (Lin et al. 2017)
CELL = 0.5  # sides of a grid's boxes before the first layer, shares of the image's


class RTDetector(LevelDetector):
    """RT-DETR behind the interface of `updetr.detector.Detector`.

    Args:
        config: its sizes; `encoder_layers` are those of the coarsest level.
        backbone: used instead of the one that the configuration names; gives three maps.
    """

    def __init__(self, config: DetectorConfig, backbone: Backbone | None = None) -> None:
        backbone = backbone or build_backbone(config.backbone, maps=LEVELS)
        super().__init__(config, backbone, RTDetrForObjectDetection(rt_config(config, backbone)))
        group_self_attention(self.hf.model.decoder, GroupedRTAttention)
        self._initialise()

    def encode_maps(self, maps: tuple[Tensor, ...], mask: Tensor) -> LevelMemory:
        """The encoder on three maps of the backbone, padded so that each is twice as large as the next."""
        inner, stride = self.hf.model, self.backbone.stride
        height, width = maps[-1].shape[-2:]
        features = []
        for level, (project, x) in enumerate(zip(inner.encoder_input_proj, maps[-LEVELS:], strict=True)):
            factor = 2 ** (LEVELS - 1 - level)
            right, below = factor * width - x.shape[3], factor * height - x.shape[2]
            features.append(project(F.pad(x, (0, right, 0, below))))
        levels = inner.encoder(features).last_hidden_state
        sources = [project(x) for project, x in zip(inner.decoder_input_proj, levels, strict=True)]
        shapes = tuple((x.shape[2], x.shape[3]) for x in sources)
        memory = torch.cat([x.flatten(2).transpose(1, 2) for x in sources], 1)
        sides = torch.stack([mask[:, 0].sum(-1), mask[:, :, 0].sum(-1)], -1)
        canvas = sides.new_tensor([width * stride, height * stride])
        filled = (sides / canvas)[:, None].expand(-1, LEVELS, -1)
        padding = torch.zeros(memory.shape[:2], dtype=torch.bool, device=memory.device)
        return LevelMemory(memory, padding, shapes, filled, maps)

    def decode_with_states(
        self,
        memory: LevelMemory,
        *,
        query_extra: Tensor | None = None,
        groups: int = 1,
        queries: int | None = None,
        order: Tensor | None = None,
    ) -> tuple[Outputs, Tensor]:
        """As for every detector; without `query_extra` the encoder's choice is one more layer, the first.

        Raises:
            UserError: the images are too small for so many queries.
        """
        count = queries or self.config.queries
        chosen = None
        if query_extra is None:
            chosen, content, boxes = self._choose(memory, count)
        else:
            content = query_extra
            cells = self._cells(count // groups, order)[:count].to(content)
            filled = memory.filled[:, :1]
            boxes = logit(cells * torch.cat([filled, filled], -1))
        found = self.hf.model.decoder(
            inputs_embeds=content,
            encoder_hidden_states=memory.memory,
            reference_points=boxes.detach(),
            groups=groups,
            **memory.layout(),
        )
        logits = found.intermediate_logits.transpose(0, 1)
        said = found.intermediate_reference_points.transpose(0, 1)
        if chosen is not None:
            logits = torch.cat([chosen[None], logits])
            said = torch.cat([boxes.sigmoid()[None], said])
        scale = memory.filled[:, :1].repeat(1, 1, 2)
        return Outputs(logits, said / scale), found.intermediate_hidden_states.transpose(0, 1)

    def _cells(self, group: int, order: Tensor | None) -> Tensor:
        """The grids of all groups of that size, (N, 4), or in another order."""
        cells = reference_grid(group).repeat(-(-self.config.queries // group), 1)
        return cells if order is None else cells[order.cpu()]

    def _choose(self, memory: LevelMemory, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, contents and box logits of the features that look most like objects, (B, count, ...)."""
        inner = self.hf.model
        if count > memory.memory.shape[1]:
            raise UserError(
                f"{count} queries, but images of this size have {memory.memory.shape[1]} features to choose "
                "from: use larger images or fewer queries"
            )
        anchors, valid = inner.generate_anchors(
            memory.shapes, device=memory.memory.device, dtype=memory.memory.dtype
        )
        states = inner.enc_output(memory.memory * valid)
        logits = inner.enc_score_head(states)
        boxes = inner.enc_bbox_head(states) + anchors
        best = logits.amax(-1).topk(count, 1).indices[..., None]
        content = states.take_along_dim(best, 1).detach()
        return logits.take_along_dim(best, 1), content, boxes.take_along_dim(best, 1)

    @torch.no_grad()
    def _initialise(self) -> None:
        """As the original does, which is PyTorch's own; transformers draws even the gains of norms near 0."""
        for module in self.hf.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d | nn.LayerNorm):
                module.reset_parameters()
        for module in self.hf.modules():
            if hasattr(module, "sampling_offsets"):
                self.hf._init_weights(module)
        inner = self.hf.model
        prior = -math.log(1 / PRIOR - 1)
        for head in (inner.enc_score_head, *inner.decoder.class_embed):
            nn.init.constant_(head.bias, prior)
        for mlp in (inner.enc_bbox_head, *inner.decoder.bbox_embed):
            nn.init.zeros_(mlp.layers[-1].weight)
            nn.init.zeros_(mlp.layers[-1].bias)
        nn.init.xavier_uniform_(inner.enc_output[0].weight)
        for layer in inner.decoder.query_pos_head.layers:
            nn.init.xavier_uniform_(layer.weight)


def reference_grid(count: int) -> Tensor:
    """The first boxes of a group of queries: cells of a grid over the image.

    Args:
        count: queries of the group.

    Returns:
        (count, 4) float32, cxcywh in 0..1; centres row by row, the last row may be short.
    """
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    places = torch.arange(count)
    x, y = (places % columns + 0.5) / columns, (places // columns + 0.5) / rows
    return torch.stack([x, y, torch.full_like(x, CELL), torch.full_like(y, CELL)], -1)
