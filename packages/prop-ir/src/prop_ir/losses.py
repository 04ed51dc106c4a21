"""The losses of pre-training: which word set the document prefers, and masked words (section 2.3).

A preference loss is a function of d = s(better set) - s(worse set). Losses are sums with their counts, so
that several devices can divide by the count of all of them.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.kernels.linear_cross_entropy import linear_cross_entropy
from prop_ir.model import PropModel

# Shapes: P pairs of word sets, M masked pieces.

Preference = Literal["softmax_hinge", "hinge", "logistic"]


class Term(NamedTuple):
    """One number, summed over what it counts."""

    total: Tensor
    """scalar float32"""
    count: Tensor
    """scalar int64"""
    weight: float
    """in the loss; 0: only looked at"""


class SoftmaxHinge(nn.Module):
    """max(0, 1 - (p+ - p-)) of the two scores' softmax, which is 2 sigmoid(-d): the released code's loss.

    1 at d = 0 and never above 2: its gradient vanishes for pairs that are badly wrong.
    """

    def forward(self, better_P: Tensor, worse_P: Tensor) -> Tensor:
        """One loss a pair (P,)."""
        return 2 * torch.sigmoid(worse_P - better_P)


class Hinge(nn.Module):
    """max(0, 1 - d): the paper's loss."""

    def forward(self, better_P: Tensor, worse_P: Tensor) -> Tensor:
        """One loss a pair (P,)."""
        return F.relu(1 - (better_P - worse_P))


class Logistic(nn.Module):
    """log(1 + exp(-d)), as in RankNet; ln 2 = 0.6931 at d = 0."""

    def forward(self, better_P: Tensor, worse_P: Tensor) -> Tensor:
        """One loss a pair (P,)."""
        return F.softplus(worse_P - better_P)


PREFERENCES: dict[str, type[nn.Module]] = {
    "softmax_hinge": SoftmaxHinge,
    "hinge": Hinge,
    "logistic": Logistic,
}


class PropLoss(nn.Module):
    """`rop_weight` times the preference between word sets plus `mlm_weight` times the masked-word loss.

    Args:
        preference: which loss of d.
        rop_weight: 0 only looks at the preference.
        mlm_weight: 0 leaves masked words out.
    """

    def __init__(
        self, preference: Preference = "softmax_hinge", *, rop_weight: float = 1.0, mlm_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.preference = PREFERENCES[preference]()
        self.rop_weight, self.mlm_weight = rop_weight, mlm_weight

    def forward(self, model: PropModel, batch: dict[str, Tensor]) -> dict[str, Term]:
        """The terms of a batch.

        Args:
            model: gives scores and hidden states.
            batch: see `prop_ir.data.collate`; rows 2i and 2i + 1 are the better and worse set of pair i.

        Returns:
            "rop"; "mlm" (nats a masked piece) unless its weight is 0; and "accuracy", the pairs whose better
            set has the higher score, with weight 0.
        """
        out = model(batch)
        better_P, worse_P = out["scores"].float().view(-1, 2).unbind(1)
        pairs = torch.tensor(len(better_P), device=better_P.device)
        terms = {"rop": Term(self.preference(better_P, worse_P).sum(), pairs, self.rop_weight)}
        if self.mlm_weight:
            weight, bias = model.decoder()
            total = linear_cross_entropy(out["hidden"], weight, batch["labels"], bias=bias, reduction="sum")
            terms["mlm"] = Term(total, (batch["labels"] != -100).sum(), self.mlm_weight)
        right = (better_P > worse_P).sum().float()
        return terms | {"accuracy": Term(right.detach(), pairs, 0.0)}


class Objective(nn.Module):
    """A model and its losses as one module, from a batch to terms; what several devices share out.

    Args:
        model: ranker and masked-word head.
        losses: the loss terms.
    """

    def __init__(self, model: PropModel, losses: PropLoss) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Term]:
        """The terms of a batch, see `PropLoss`."""
        terms: dict[str, Term] = self.losses(self.model, batch)
        return terms
