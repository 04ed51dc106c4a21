"""Detection by a map of centres seen from above (Zhou et al. 2019; Yin et al. 2021, CenterPoint).

The volume is collapsed along z; a network of 3 x 3 convolutions gives each position a chance for each class
and a box. Where a box's centre falls the chance should be 1, and less around it by a bell curve as wide as a
shift of the box that leaves an overlap of 0.1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.training.strategies import global_mean
from ponderv2.box_codes import CODE, TrueBoxes, code_distance, decoded
from ponderv2.boxes3d import Boxes3D
from ponderv2.outdoor_options import OutdoorOptions

# Shapes: B frames, C channels, Z layers, Y x X positions, K classes, n true boxes of a frame.

OVERLAP = 0.1  # IoU of a box with itself, shifted by the radius along both edges
LEAST_RADIUS = 2  # positions
BOX_WEIGHT = 0.25  # of the boxes against the centres
PRIOR = 0.1  # chance of a class at each position before training
MOST = 500  # detections of a frame
LEAST_SCORE = 0.05  # of a detection


class CenterHead(nn.Module):
    """Chances and boxes at each position, their losses, and detections.

    Args:
        channels: C of the volume.
        classes: K.
        options: range and cells.
        width: channels of the convolutions.
    """

    def __init__(self, channels: int, classes: int, options: OutdoorOptions, *, width: int = 128) -> None:
        super().__init__()
        self.options, self.classes = options, classes
        first = channels * options.cells[2]
        self.trunk = nn.Sequential(_block(first, width), _block(width, width))
        self.heat = nn.Sequential(_block(width, width // 2), nn.Conv2d(width // 2, classes, 3, padding=1))
        self.box = nn.Sequential(_block(width, width // 2), nn.Conv2d(width // 2, CODE, 3, padding=1))
        last = self.heat[-1]
        nn.init.constant_(last.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type,union-attr]

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, Z, Y, X) -> logits (B, K, Y, X) and codes (B, 10, Y, X), float32.

        A code's x and y are metres in the range, as are those of true boxes.
        """
        seen = self.trunk(volume.flatten(1, 2))
        logits, raw = self.heat(seen).float(), self.box(seen).float()
        return logits, torch.cat([raw[:, :2] + self._places(raw), raw[:, 2:]], 1)

    def losses(self, outputs: tuple[Tensor, Tensor], truth: Sequence[TrueBoxes]) -> dict[str, Tensor]:
        """`heat`, the focal loss of the centres per true box, and `box`, 0.25 the distance of the codes."""
        logits, codes = outputs
        heat = torch.stack([self.heat_of(boxes, logits) for boxes in truth])
        count = max(1, sum(len(boxes.labels) for boxes in truth))  # a street without boxes teaches, too
        distances = [
            code_distance(codes[frame][:, v, u].T, boxes.codes)
            for frame, boxes in enumerate(truth)
            for u, v in [self._positions(boxes)[0].unbind(1)]
        ]
        return {
            "heat": global_mean(focal_loss(logits, heat), float(count)),
            "box": BOX_WEIGHT * global_mean(torch.cat(distances).sum(), float(count)),
        }

    @torch.no_grad()
    def heat_of(self, boxes: TrueBoxes, like: Tensor) -> Tensor:
        """(K, Y, X) wanted chances of a frame, 1 at centres."""
        heat = like.new_zeros(like.shape[1:])
        cells, radii = self._positions(boxes)
        rows = torch.arange(like.shape[2], device=like.device)
        columns = torch.arange(like.shape[3], device=like.device)
        for label, (u, v), radius in zip(boxes.labels.tolist(), cells.tolist(), radii.tolist(), strict=True):
            sigma = (2 * radius + 1) / 6
            across, along = columns - u, rows - v
            bell = torch.exp(-(along[:, None] ** 2 + across**2) / (2 * sigma**2))
            near = (along[:, None].abs() <= radius) & (across.abs() <= radius)
            heat[label] = torch.maximum(heat[label], bell * near)
        return heat

    @torch.no_grad()
    def detect(self, outputs: tuple[Tensor, Tensor]) -> list[Boxes3D]:
        """The boxes at positions whose chance is the highest of its class within 3 x 3, best first."""
        logits, codes = outputs
        chances = logits.sigmoid()
        peaks = chances * (F.max_pool2d(chances, 3, stride=1, padding=1) == chances)
        found = []
        for frame, chance in enumerate(peaks):
            scores, places = chance.flatten().topk(min(MOST, chance.numel()))
            scores, places = scores[scores > LEAST_SCORE], places[scores > LEAST_SCORE]
            positions = chance[0].numel()
            labels, at = places // positions, places % positions
            found.append(decoded(codes[frame].flatten(1)[:, at].T, labels, scores))
        return found

    def _positions(self, boxes: TrueBoxes) -> tuple[Tensor, Tensor]:
        """(n, 2) int64 x, y of the nearest positions, and (n,) int64 radii in positions."""
        X, Y, _ = self.options.cells
        low, high = (boxes.codes.new_tensor(side[:2]) for side in (self.options.low, self.options.high))
        last = boxes.codes.new_tensor([X - 1, Y - 1])
        step = (high - low) / last.clamp_min(1)
        cells = torch.minimum(((boxes.codes[:, :2] - low) / step).round().clamp_min(0), last)
        edges = boxes.codes[:, 3:5].exp() / step.mean()
        return cells.long(), radius_of(edges)

    def _places(self, like: Tensor) -> Tensor:
        """(2, Y, X) metres: x and y of each position."""
        X, Y, _ = self.options.cells
        (x0, y0, _), (x1, y1, _) = self.options.low, self.options.high
        y, x = torch.meshgrid(
            torch.linspace(y0, y1, Y, device=like.device),
            torch.linspace(x0, x1, X, device=like.device),
            indexing="ij",
        )
        return torch.stack([x, y])


def radius_of(edges_n2: Tensor) -> Tensor:
    """(n,) int64: the largest shift along both edges, in positions, that leaves an overlap of 0.1; 2 or more.

    With edges a and b, shifted by r: (a - r)(b - r) = 2 t / (1 + t) a b for an IoU of t. A square of 22
    positions may shift by 12.
    """
    a, b = edges_n2.unbind(1)
    shared = 2 * OVERLAP / (1 + OVERLAP)
    shift = ((a + b) - ((a + b) ** 2 - 4 * (1 - shared) * a * b).clamp_min(0).sqrt()) / 2
    return shift.floor().long().clamp_min(LEAST_RADIUS)


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """The sum over positions and classes of the focal loss of centres (Law and Deng 2018, equation 1).

    -(1 - p)^2 log p where the heat is 1;   -(1 - heat)^4 p^2 log(1 - p) elsewhere
    """
    chance = logits.sigmoid()
    centre = heat == 1
    at_centre = (1 - chance) ** 2 * F.logsigmoid(logits)
    beside = (1 - heat) ** 4 * chance**2 * F.logsigmoid(-logits)
    return -torch.where(centre, at_centre, beside).sum()


def _block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
