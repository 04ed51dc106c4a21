"""The set loss of detection transformers, with the reconstruction of patches (Dai et al. 2021, section 3.1).

    L = sum over layers of  w_class CE  +  w_l1 |b - b^|_1 + w_giou (1 - GIoU)  +  w_rec (2 - 2 cos(p, p^))

Each layer has its own matching. The class loss is a mean over all queries, of which those without an object
count M / N (the paper's; 0.1 in the original code, the same for 10 patches and 100 queries). The other three
are sums over the matched pairs, divided by the number of true boxes. Sigmoid classes take the focal loss of
Deformable-DETR (Zhu et al. 2021) or the varifocal one of RT-DETR (Zhang et al. 2021) instead, also divided by
the number of boxes.

All layers are computed together. Means are over all processes (`nonet.training.strategies.global_mean`): two
processes give the gradient of one, where the original takes the mean of each process's class loss.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.kernels.set_cost import corners, overlaps
from nonet.training.strategies import global_mean
from updetr import matching
from updetr.batches import Outputs, Targets
from updetr.matching import Costs, Matches, NotFinite, check_targets

# Shapes: L decoder layers, B images, N queries, K classes, P matched pairs a layer, T true boxes over the
# whole batch, C channels of a patch's feature.

NO_OBJECT = 0.1  # weight of queries without an object where there are no groups (Carion et al. 2020)
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
VARIFOCAL_ALPHA, VARIFOCAL_GAMMA = 0.75, 2.0


class SetLossResult(NamedTuple):
    """What a batch costs.

    Attributes:
        terms: weighted scalars, each summed over the layers: `class`, `l1`, `giou`, and `reconstruction` with
            reconstructed features. Their sum is the loss.
        logged: scalars of the last layer, unweighted and without gradient: `class_error` (% of the matched
            queries whose largest logit is not the true label), `cardinality` (mean over images of how far
            the number of predicted objects is off), `iou` (mean of the matched pairs), `l1` and `giou` (a
            pair), `unmatched` (true boxes beyond the queries), with groups `own_group` (share of pairs whose
            query is of the box's own group; chance is 1 / M), with features `reconstruction`.
    """

    terms: dict[str, Tensor]
    logged: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The loss, a scalar."""
        return torch.stack(list(self.terms.values())).sum()


class SetLoss(nn.Module):
    """Matches predictions with true boxes and says what is wrong with them.

    Args:
        classes: K; the label of no object is K, the last logit, but for sigmoid classes, which have none.
        group: N / M, queries of a patch; None: there are no groups.
        match: `global`: over all queries, as in the original; `group`: within the box's own group.
        no_object: weight of queries without an object; None: M / N with groups, else 0.1.
        sigmoid: whether each class has a probability of its own (focal loss).
        iou_aware: such a probability shall say how well the box overlaps, as in RT-DETR (varifocal loss,
            Zhang et al. 2021); with `sigmoid` only.
        class_weight: of the class loss.
        l1_weight: of the distance, for boxes in 0..1.
        giou_weight: of the overlap.
        reconstruction_weight: of the features; 0 leaves them out.
        costs: weights in the matching.

    Raises:
        ValueError: matching within groups without groups, or a weight is negative.
    """

    def __init__(
        self,
        *,
        classes: int,
        group: int | None = None,
        match: Literal["global", "group"] = "global",
        no_object: float | None = None,
        sigmoid: bool = False,
        iou_aware: bool = False,
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        reconstruction_weight: float = 1.0,
        costs: Costs | None = None,
    ) -> None:
        super().__init__()
        if match == "group" and group is None:
            raise ValueError("matching within groups needs the size of a group")
        if iou_aware and not sigmoid:
            raise ValueError("iou_aware needs sigmoid classes")
        if no_object is None:
            no_object = NO_OBJECT if group is None else 1 / group
        self.weights = {
            "class": class_weight,
            "l1": l1_weight,
            "giou": giou_weight,
            "reconstruction": reconstruction_weight,
        }
        if min(no_object, *self.weights.values()) < 0:
            raise ValueError(f"weights are {self.weights} and {no_object} for no object; none is negative")
        self.classes, self.group, self.no_object, self.sigmoid = classes, group, no_object, sigmoid
        self.iou_aware = iou_aware
        self.matching, self.costs = match, costs

    def forward(
        self, outputs: Outputs, targets: Targets, num_boxes: Tensor | float | None = None
    ) -> SetLossResult:
        """What a batch costs.

        Args:
            outputs: of L layers; half precision is computed in float32.
            targets: on the same device.
            num_boxes: what sums over boxes are divided by; None: the mean over the processes of their number,
                at least 1.

        Returns:
            Terms and numbers to log. If predictions are not finite, every term is NaN, so that the trainer
            ends the run and names the examples.

        Raises:
            ValueError: outputs and targets do not fit.
        """
        self._check(outputs, targets)
        kind = torch.float64 if outputs.boxes.dtype == torch.float64 else torch.float32
        outputs = Outputs(*(None if part is None else part.to(kind) for part in outputs))
        group = self.group if self.matching == "group" else None
        share = _share(targets, outputs.boxes) if num_boxes is None else 1 / num_boxes
        try:
            pairs = matching.match(outputs, targets, costs=self.costs, sigmoid=self.sigmoid, group=group)
        except NotFinite:
            return self._not_finite(outputs, targets)
        L, P = pairs.queries.shape
        place = (torch.arange(L, device=pairs.queries.device)[:, None], pairs.images, pairs.queries)
        found_LP4, true_LP4 = outputs.boxes[place], targets.boxes.to(kind)[pairs.boxes]
        iou_LP, giou_LP = overlaps(corners(found_LP4), corners(true_LP4))
        l1_LP = (found_LP4 - true_LP4).abs().sum(-1)
        terms = {
            "class": self._class_loss(outputs.logits, targets, pairs, place, share, iou_LP.detach()),
            "l1": l1_LP.sum() * share,
            "giou": (1 - giou_LP).sum() * share,
        }
        of_pair = {"iou": iou_LP, "l1": l1_LP, "giou": 1 - giou_LP}
        if outputs.features is not None and self.weights["reconstruction"]:
            if targets.features is None:
                raise ValueError("the outputs have reconstructed features, and the targets none")
            said_LPC = F.normalize(outputs.features[place], dim=-1)
            wanted_LPC = F.normalize(targets.features.detach().to(kind), dim=-1)[pairs.boxes]
            of_pair["reconstruction"] = 2 - 2 * (said_LPC * wanted_LPC).sum(-1)
            terms["reconstruction"] = of_pair["reconstruction"].sum() * share
        weighted = {name: term * self.weights[name] for name, term in terms.items()}
        logged = {name: value[-1].detach().sum() / max(P, 1) for name, value in of_pair.items()}
        return SetLossResult(weighted, logged | self._counts(outputs.logits[-1], targets, pairs))

    def join(self, device: torch.device) -> None:
        """Take part in the sums of other processes with a batch of which nothing is left."""
        for _ in range(1 if self.sigmoid else 2):
            global_mean(torch.zeros((), device=device), 0.0)

    def _class_loss(
        self,
        logits: Tensor,
        targets: Targets,
        pairs: Matches,
        place: tuple[Tensor, ...],
        share: Tensor | float,
        iou_LP: Tensor,
    ) -> Tensor:
        L, B, N, _ = logits.shape
        labels_LP = targets.labels[pairs.boxes]
        if self.sigmoid:
            wanted = torch.zeros_like(logits)
            if self.iou_aware:
                wanted[(*place, labels_LP)] = iou_LP
                return _varifocal(logits, wanted, (*place, labels_LP)) * share
            wanted[(*place, labels_LP)] = 1
            return _focal(logits, wanted) * share
        labels_LBN = targets.labels.new_full((L, B, N), self.classes)
        labels_LBN[place] = labels_LP
        weight = logits.new_ones(self.classes + 1)
        weight[-1] = self.no_object
        loss = F.cross_entropy(logits.flatten(0, 2), labels_LBN.flatten(), weight, reduction="sum")
        matched = pairs.queries.shape[1]
        return global_mean(loss, matched + (B * N - matched) * self.no_object)  # the same in every layer

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _counts(self, logits_BNK: Tensor, targets: Targets, pairs: Matches) -> dict[str, Tensor]:
        """What is counted in the last layer."""
        images, queries, boxes = pairs.images[-1], pairs.queries[-1], pairs.boxes[-1]
        P = max(len(boxes), 1)
        said_BN = logits_BNK.argmax(-1)
        right = said_BN[images, queries] == targets.labels[boxes]
        objects_BN = logits_BNK.amax(-1) > 0 if self.sigmoid else said_BN != self.classes
        counts_B = torch.tensor(targets.counts, dtype=torch.float32).to(logits_BNK.device)
        logged = {
            "class_error": 100 * (1 - right.float().sum() / P) * (len(boxes) > 0),
            "cardinality": (objects_BN.sum(1) - counts_B).abs().mean(),
            "unmatched": counts_B.new_full((), pairs.unmatched),
        }
        if self.group is not None and targets.groups is not None:
            logged["own_group"] = (queries // self.group == targets.groups[boxes]).float().sum() / P
        return logged

    def _check(self, outputs: Outputs, targets: Targets) -> None:
        logits = self.classes + (not self.sigmoid)
        if outputs.logits.shape[-1] != logits:
            raise ValueError(
                f"{outputs.logits.shape[-1]} logits of a query do not fit {self.classes} classes"
            )
        if targets.labels.is_cpu and len(targets.labels) and int(targets.labels.max()) >= self.classes:
            raise ValueError(f"label {int(targets.labels.max())} is not one of {self.classes} classes")
        check_targets(outputs, targets)

    def _not_finite(self, outputs: Outputs, targets: Targets) -> SetLossResult:
        nan = (outputs.logits.sum() + outputs.boxes.sum()) * float("nan")
        if not self.sigmoid:
            nan = global_mean(nan, 1.0)  # other processes wait for this one in theirs
        names, counted = ["class", "l1", "giou"], ["class_error", "cardinality", "iou", "unmatched"]
        if outputs.features is not None and self.weights["reconstruction"]:
            names.append("reconstruction")
        if self.group is not None and targets.groups is not None:
            counted.append("own_group")
        return SetLossResult(dict.fromkeys(names, nan), dict.fromkeys([*counted, *names[1:]], nan.detach()))


def _share(targets: Targets, like: Tensor) -> Tensor:
    """One over the number of boxes: the mean over the processes, at least 1."""
    share = global_mean(like.new_ones(()), float(len(targets.labels)))  # 0 where there is no box at all
    return torch.where(share > 0, share, 1.0).clamp(max=1)


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """The focal loss, summed."""
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    off = p + wanted - 2 * p * wanted  # 1 - the probability of what is true
    return ((1 - FOCAL_ALPHA + (2 * FOCAL_ALPHA - 1) * wanted) * off**FOCAL_GAMMA * entropy).sum()


def _varifocal(logits: Tensor, wanted: Tensor, matched: tuple[Tensor, ...]) -> Tensor:
    """The varifocal loss, summed: matched pairs weigh as much as their boxes overlap, others a p^2."""
    weight = VARIFOCAL_ALPHA * logits.detach().sigmoid() ** VARIFOCAL_GAMMA
    weight[matched] = wanted[matched]
    return F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
