"""Detection by queries that look into the volume, one box each (UVTR, Li et al. 2022; Zhu et al. 2021).

A query has a place in the volume. In each layer queries exchange what they know, look at a few points around
their place, whose offsets and weights they choose, and shift the place. True boxes and queries are paired at
the least total cost; what is not paired should find no class.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.errors import RunFailed
from nonet.kernels.trilinear import trilinear
from nonet.training.strategies import global_mean
from ponderv2.box_codes import CODE, TrueBoxes, code_distance, decoded
from ponderv2.boxes3d import Boxes3D
from ponderv2.outdoor_options import OutdoorOptions

# Shapes: B frames, Q queries, D width, K classes, P points of a query, n true boxes of a frame.

CLASS_WEIGHT, BOX_WEIGHT = 2.0, 0.25  # of the focal loss and of the boxes, in losses and in costs
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss
PRIOR = 0.01  # chance of a class before training
MOST = 300  # detections of a frame
POINTS = 4  # that a query looks at in a layer
EDGE = 1e-5  # places stay so far from the ends when they are turned into logits


class QueryOutputs(NamedTuple):
    """What each layer found.

    Attributes:
        logits: of each layer (B, Q, K) float32.
        codes: of each layer (B, Q, 10) float32, x, y, z in metres.
    """

    logits: list[Tensor]
    codes: list[Tensor]


class QueryHead(nn.Module):
    """Queries, their layers, their losses, and detections.

    Args:
        channels: C of the volume.
        classes: K.
        options: range.
        queries: Q; 900 in the paper.
        layers: 6 in the paper.
        width: D, a multiple of `heads`.
        heads: of attention between queries.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        options: OutdoorOptions,
        *,
        queries: int = 900,
        layers: int = 6,
        width: int = 256,
        heads: int = 8,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.narrow = nn.Conv3d(channels, width, 1)
        self.content = nn.Embedding(queries, width)
        self.position = nn.Embedding(queries, width)
        self.place = nn.Linear(width, 3)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.to_class = nn.ModuleList(nn.Linear(width, classes) for _ in range(layers))
        self.to_box = nn.ModuleList(_to_code(width) for _ in range(layers))
        for linear in self.to_class:
            nn.init.constant_(linear.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.place.weight)  # as UVTR: from U(-1, 1) most places begin at the borders
        nn.init.zeros_(self.place.bias)
        self.register_buffer("low", torch.tensor(options.low), persistent=False)
        self.register_buffer("high", torch.tensor(options.high), persistent=False)

    def forward(self, volume: Tensor) -> QueryOutputs:
        """(B, C, Z, Y, X) -> what each layer found."""
        values = self.narrow(volume).float()
        x = self.content.weight.expand(len(volume), -1, -1)
        position = self.position.weight.expand_as(x)
        place = self.place(position).sigmoid()
        outputs = QueryOutputs([], [])
        for layer, to_class, to_box in zip(self.layers, self.to_class, self.to_box, strict=True):
            x = layer(x, position, values, place)
            raw = to_box(x).float()
            place = (raw[..., :3] + torch.logit(place.float(), EDGE)).sigmoid()
            center = self.low + place * (self.high - self.low)
            outputs.logits.append(to_class(x).float())
            outputs.codes.append(torch.cat([center, raw[..., 3:]], -1))
            place = place.detach()
        return outputs

    def losses(self, outputs: QueryOutputs, truth: Sequence[TrueBoxes]) -> dict[str, Tensor]:
        """`class` and `box` of the last layer, and `class_0`, `box_0`, ... of those before it.

        Raises:
            RunFailed: a prediction is not finite, so that nothing can be paired.
        """
        terms = {}
        last = len(outputs.logits) - 1
        count = float(max(1, sum(len(boxes.labels) for boxes in truth)))
        for layer, (logits, codes) in enumerate(zip(outputs.logits, outputs.codes, strict=True)):
            wanted = torch.zeros_like(logits)
            distances = [codes.sum() * 0]
            for frame, boxes in enumerate(truth):
                queries, of_true = assign(logits[frame], codes[frame], boxes)
                wanted[frame, queries, boxes.labels[of_true]] = 1
                distances.append(code_distance(codes[frame, queries], boxes.codes[of_true]).sum())
            name = "" if layer == last else f"_{layer}"
            terms[f"class{name}"] = CLASS_WEIGHT * global_mean(_focal(logits, wanted).sum(), count)
            terms[f"box{name}"] = BOX_WEIGHT * global_mean(torch.stack(distances).sum(), count)
        return terms

    @torch.no_grad()
    def detect(self, outputs: QueryOutputs) -> list[Boxes3D]:
        """The likeliest pairs of query and class of the last layer, best first."""
        found = []
        for logits, codes in zip(outputs.logits[-1], outputs.codes[-1], strict=True):
            scores, places = logits.sigmoid().flatten().topk(min(MOST, logits.numel()))
            found.append(decoded(codes[places // self.classes], places % self.classes, scores))
        return found


@torch.no_grad()
def assign(logits_QK: Tensor, codes_QC: Tensor, boxes: TrueBoxes) -> tuple[Tensor, Tensor]:
    """Pair the true boxes of a frame with queries at the least total cost.

        cost = 2 (focal loss of "yes" - focal loss of "no" for the class) + 0.25 distance of the codes

    The distance leaves velocities out, as UVTR does.

    Args:
        logits_QK: (Q, K).
        codes_QC: (Q, 10).
        boxes: n of them.

    Returns:
        Queries and true boxes, min(Q, n) int64 each.

    Raises:
        RunFailed: a cost is not finite.
    """
    yes = _focal(logits_QK, torch.ones_like(logits_QK)) - _focal(logits_QK, torch.zeros_like(logits_QK))
    true = boxes.codes.clone()
    true[:, 8:] = torch.nan  # unknown, so that it counts nothing
    cost = CLASS_WEIGHT * yes[:, boxes.labels] + BOX_WEIGHT * code_distance(codes_QC[:, None], true[None])
    if not bool(cost.isfinite().all()):
        raise RunFailed("predicted boxes are not finite, so that they cannot be paired with true ones")
    queries, of_true = linear_sum_assignment(cost.cpu().numpy())
    device = logits_QK.device
    return torch.as_tensor(queries, device=device), torch.as_tensor(of_true, device=device)


class _Layer(nn.Module):
    """Attention between queries, a look into the volume, and a perceptron, each added and normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.offset = nn.Linear(width, POINTS * 3)
        self.weight = nn.Linear(width, POINTS)
        self.look = nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        nn.init.zeros_(self.offset.weight)
        nn.init.uniform_(self.offset.bias, -2, 2)  # cells around the place

    def forward(self, x: Tensor, position: Tensor, values: Tensor, place: Tensor) -> Tensor:
        """(B, Q, D), (B, Q, D), (B, D, Z, Y, X) and places (B, Q, 3) in 0..1 -> (B, Q, D)."""
        asked = x + position
        x = self.norms[0](x + self.attention(asked, asked, x, need_weights=False)[0])
        B, Q, _ = x.shape
        asked = x + position
        cells = place.new_tensor(values.shape[:1:-1])  # x, y, z
        offset = self.offset(asked).view(B, Q, POINTS, 3).float() * 2 / (cells - 1).clamp_min(1)
        grid = (place[:, :, None] * 2 - 1 + offset).flatten(1, 2)
        seen = trilinear(values, grid).view(B, Q, POINTS, -1)
        weight = self.weight(asked).float().softmax(-1)
        x = self.norms[1](x + self.look((seen * weight[..., None]).sum(2).to(x.dtype)))
        return self.norms[2](x + self.perceptron(x))  # type: ignore[no-any-return]


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """The focal loss of each class's own chance (Lin et al. 2017), of the shape of the logits."""
    chance = logits.sigmoid()
    right = torch.where(wanted > 0, chance, 1 - chance)
    share = torch.where(wanted > 0, ALPHA, 1 - ALPHA)
    return share * (1 - right) ** GAMMA * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _to_code(width: int) -> nn.Sequential:
    last = nn.Linear(width, CODE)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)
