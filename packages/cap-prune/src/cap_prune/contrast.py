"""Contrastive pruning: the model that shrinks stays close to what other models make of the same example.

Xu et al. 2022, section 3 (PrC, SnC, FiC), with the details that only their released code shows. With unit
vectors z_i of the batch, a bank of R vectors of every training example, and some extra examples drawn anew in
each step, the candidates of anchor i are

    C = { sg(z_j), j in batch } + { bank[j, r], j in batch } + { bank[k, r], k extra }  but for sg(z_i)

and with s_ic = z_i . c / tau its loss over a set of positives P is

    l_i = -1/|P| sum_{c in P} log softmax(s_i)_c = logsumexp_{c in C} s_ic - mean_{c in P} s_ic

Unsupervised, P are the candidates of the same example; supervised, those of the same label. Anchors without
positives have no loss. `paper` is the mean of l_i over anchors. `released` divides once more by the number of
positives, (sum_i l_i) / (sum_i |P_i|), which makes the supervised term thousands of times smaller.

Positives are gathered and classes summed up: no mask of anchors by candidates is ever made. On several
devices the batch is that of all devices together, and so is the loss.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cap_prune.banks import KINDS, Banks, draw

# Shapes: B anchors of this device, G examples in the batch on all devices, K extra examples, M = G + K,
# R vectors that a bank has of an example, C = G + M R candidates, N training examples, d width, L classes.

Reduction = Literal["paper", "released"]
Term = tuple[Tensor, Tensor]
"""the sum of this device's losses, and the number that divides it after both are summed over all devices"""
NAMES = {"pre": "prc", "snap": "snc", "fine": "fic"}
"""what the paper calls the contrast with each bank"""


class Everyone(NamedTuple):
    """The batch on all devices together; no gradient."""

    z_Gd: Tensor
    index_G: Tensor
    first: int
    """where this device's examples begin"""


class Terms(NamedTuple):
    """The losses of one bank."""

    unsupervised: Term
    supervised: Term | None
    """None without labels"""


def contrastive_loss(
    z_Bd: Tensor,
    index_B: Tensor,
    bank_NRd: Tensor,
    *,
    tau: float,
    extra_K: Tensor | None = None,
    labels_N: Tensor | None = None,
    classes: int | None = None,
    reduction: Reduction = "paper",
    everyone: Everyone | None = None,
) -> Terms:
    """The contrastive losses of a batch with one bank.

    For two anchors and a bank of one vector each, both the rows of the unit matrix, tau 1 and no extra
    examples, each anchor loses ln(e + 2) - 1 = 0.551445.

    Args:
        z_Bd: (B, d) unit vectors; the only thing that gets a gradient.
        index_B: (B,) int64 rows of the bank that belong to them.
        bank_NRd: (N, R, d) unit vectors of any float type, on any device.
        tau: similarities are divided by it; positive.
        extra_K: (K,) int64 rows of other candidates, ascending, each once; they may be in the batch, too.
        labels_N: (N,) int64 labels of the training set; None: no supervised loss.
        classes: number of labels; None: the greatest label and one.
        reduction: of the losses of the anchors, see above.
        everyone: the batch on all devices, if it is at hand.

    Returns:
        Sums of losses and what divides them, float32.
    """
    everyone = everyone or gather(z_Bd, index_B)
    with torch.autocast(z_Bd.device.type, enabled=False):
        z_Bd, R, G = z_Bd.float(), bank_NRd.shape[1], len(everyone.index_G)
        ids_M = everyone.index_G
        if extra_K is not None:
            ids_M = torch.cat([ids_M, extra_K.to(ids_M.device)])
        rows_MRd = bank_NRd.index_select(0, ids_M.to(bank_NRd.device)).to(z_Bd.device, torch.float32)
        scores_BC = torch.cat([z_Bd @ everyone.z_Gd.T, z_Bd @ rows_MRd.flatten(0, 1).T], dim=1) / tau
        own_B1 = torch.arange(everyone.first, everyone.first + len(z_Bd), device=z_Bd.device)[:, None]
        normaliser_B = scores_BC.scatter(1, own_B1, float("-inf")).logsumexp(1)

        scores_BM = scores_BC[:, G:].view(len(z_Bd), len(ids_M), R).sum(2)  # of all candidates of an example
        scores_BM = scores_BM + F.pad(scores_BC[:, :G], (0, len(ids_M) - G))
        sizes_M = torch.full((len(ids_M),), float(R), device=z_Bd.device)  # so many they are
        sizes_M[:G] += 1

        def term(sum_B: Tensor, count_B: Tensor) -> Term:
            """The loss, given sums of scores and numbers of positives with the anchor itself among them."""
            count_B = count_B - 1
            loss_B = normaliser_B - (sum_B - scores_BC.gather(1, own_B1)[:, 0]) / count_B.clamp(min=1)
            some_B = count_B > 0
            divisor = count_B.sum() if reduction == "released" else some_B.sum()
            return torch.where(some_B, loss_B, 0).sum(), divisor

        unsupervised = term(*_same_example(index_B, ids_M, G, scores_BM, sizes_M))
        if labels_N is None:
            return Terms(unsupervised, None)
        labels_N = labels_N.to(z_Bd.device)
        classes = int(labels_N.max()) + 1 if classes is None else classes
        member_ML = F.one_hot(labels_N[ids_M], classes).float()
        labels_B = labels_N[index_B]
        sum_B = (scores_BM @ member_ML).gather(1, labels_B[:, None])[:, 0]
        return Terms(unsupervised, term(sum_B, (sizes_M @ member_ML)[labels_B]))


def _same_example(
    index_B: Tensor, ids_M: Tensor, G: int, scores_BM: Tensor, sizes_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores and number (B,) of each anchor's own candidates, in the batch and among the extra ones."""
    same_BG = (index_B[:, None] == ids_M[None, :G]).float()
    sum_B, count_B = (same_BG * scores_BM[:, :G]).sum(1), same_BG @ sizes_M[:G]
    extra_K = ids_M[G:]
    if len(extra_K) == 0:
        return sum_B, count_B
    place_B = torch.searchsorted(extra_K, index_B).clamp(max=len(extra_K) - 1)
    drawn_B = (extra_K[place_B] == index_B).float()
    found_B = scores_BM.gather(1, G + place_B[:, None])[:, 0]
    return sum_B + drawn_B * found_B, count_B + drawn_B * sizes_M[G + place_B]


def gather(z_Bd: Tensor, index_B: Tensor) -> Everyone:
    """The batch on all devices, in the order of ranks; devices may have different numbers of examples."""
    distributed = torch.distributed
    z_Bd = z_Bd.detach().float()
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return Everyone(z_Bd, index_B, 0)
    world, rank = distributed.get_world_size(), distributed.get_rank()
    size = torch.tensor([len(z_Bd)], device=z_Bd.device)
    found = [torch.zeros_like(size) for _ in range(world)]
    distributed.all_gather(found, size)
    sizes = torch.cat(found).tolist()
    z_Gd, index_G = (
        torch.cat([part[:count] for part, count in zip(_all(each, max(sizes), world), sizes, strict=True)])
        for each in (z_Bd, index_B)
    )
    return Everyone(z_Gd, index_G, sum(sizes[:rank]))


def _all(mine: Tensor, length: int, world: int) -> list[Tensor]:
    """Every device's tensor, filled up with zeros to `length` rows."""
    padded = mine.new_zeros(length, *mine.shape[1:])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in range(world)]
    torch.distributed.all_gather(parts, padded)
    return parts


class Contrast:
    """The contrast with all banks that there are: PrC, SnC once there is a snapshot, and FiC.

    Args:
        banks: vectors of every training example.
        weights: for `"pre"`, `"snap"`, `"fine"` the weights (unsupervised, supervised); what is missing or 0
            is left out.
        tau: similarities are divided by it.
        extra: vectors of extra examples at most; a bank with R of each draws floor(extra / R) examples.
        reduction: `"paper"` or `"released"`.
        labels: (N,) int64 labels of the training set, for the supervised losses; None or floats, which are no
            classes, switch these off.
        seed: of the draws of extra examples, which follow from it, the step and the bank.
        say: is told, once, what cannot be as it was asked for.

    Raises:
        ValueError: an unknown bank, a negative weight, or tau that is not positive.
    """

    def __init__(
        self,
        banks: Banks,
        *,
        weights: Mapping[str, tuple[float, float]],
        tau: float = 0.1,
        extra: int = 4096,
        reduction: Reduction = "paper",
        labels: Tensor | None = None,
        seed: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        if unknown := set(weights) - set(KINDS):
            raise ValueError(f"no bank is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
        if any(weight < 0 for pair in weights.values() for weight in pair):
            raise ValueError(f"weights are 0 or more, not {dict(weights)}")
        if not tau > 0:
            raise ValueError(f"tau is {tau:g}; it is positive")
        if labels is None or labels.is_floating_point():
            if any(supervised for _, supervised in weights.values()):
                say("the supervised contrast is off: this task has no classes")
            labels, weights = None, {kind: (pair[0], 0.0) for kind, pair in weights.items()}
        self.banks, self.weights, self.tau, self.extra = banks, dict(weights), tau, extra
        self.reduction: Reduction = reduction
        self.seed, self.labels = seed, labels
        self.classes = None if labels is None else int(labels.max()) + 1
        if extra > banks.count and any(map(any, weights.values())):
            say(f"{extra} extra examples are more than the {banks.count} there are: every one is a candidate")

    def __call__(self, z_Bd: Tensor, index_B: Tensor, step: int) -> dict[str, Term]:
        """The weighted losses by name: `prc`, `snc`, `fic`, and `prc_sup` and so on for the supervised ones.

        Args:
            z_Bd: (B, d) unit vectors of this device's batch.
            index_B: (B,) int64 numbers of its training examples.
            step: number of the training step, which decides the extra examples.

        Returns:
            Sums of losses and what divides them.
        """
        found: dict[str, Term] = {}
        everyone: Everyone | None = None
        if self.labels is not None and self.labels.device != z_Bd.device:
            self.labels = self.labels.to(z_Bd.device)
        for kind, (unsupervised, supervised) in self.weights.items():
            if not (unsupervised or supervised) or not self.banks.has(kind):
                continue
            everyone = everyone or gather(z_Bd, index_B)
            bank_NRd = self.banks.bank(kind)
            extra = draw(self.banks.count, self.extra // bank_NRd.shape[1], self.seed, step, kind)
            terms = contrastive_loss(
                z_Bd, index_B, bank_NRd, tau=self.tau, extra_K=extra, reduction=self.reduction,
                labels_N=self.labels if supervised else None, classes=self.classes, everyone=everyone,
            )  # fmt: skip
            if unsupervised:
                found[NAMES[kind]] = _times(unsupervised, terms.unsupervised)
            if terms.supervised is not None:
                found[f"{NAMES[kind]}_sup"] = _times(supervised, terms.supervised)
        return found


def _times(weight: float, term: Term) -> Term:
    return weight * term[0], term[1]
