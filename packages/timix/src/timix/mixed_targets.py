"""What is right for a mixed image: both texts, by area (paper; released `TPMix.py` and `model_mplug.py`).

    hard:  Y_i = lam e_i + (1 - lam) e_partner(i)
    soft:  Y_i = lam P_i + (1 - lam) P_partner(i),  P the unmixed images' probabilities of all texts
    blend: soft with alpha P + (1 - alpha) I in P's place, P of momentum encoders (ours): alpha 0 is hard

The released loop computes hard ones, discards them and uses soft ones; on several devices it flips P over all
of them but images over each one. Here a partner is always one of the own device, and so is its row of P.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nonet.errors import UserError
from nonet.training.gathering import Ranks, gather_rows
from timix.text_aware_mix import MixPlan

# Shapes: B images of a rank, M mixed ones of them; C texts of all ranks, rank 0's first.

Mode = Literal["hard", "soft", "blend"]


class World(NamedTuple):
    """Which of how many processes this is, where all have as many images (else: `Ranks`)."""

    rank: int
    size: int


@torch.no_grad()  # type: ignore[untyped-decorator]
def mix_targets(
    plan: MixPlan,
    mode: Mode = "hard",
    probs: Tensor | None = None,
    same: Tensor | None = None,
    world: World | Ranks | tuple[int, int] | None = None,
    *,
    alpha: Tensor | float = 1.0,
    smoothing: float = 0.0,
    shares: bool = True,
    every: bool = False,
) -> Tensor:
    """The labels of mixed images, without gradient.

    Args:
        plan: of this rank's batch.
        mode: hard, soft or blend.
        probs: (B, C) float, rows with sum 1: what the unmixed images of this rank make of all texts. For soft
            of the model itself; for blend of momentum encoders.
        same: which texts are right for the same images: (C,) int64, equal numbers for equals, or (C, C) bool,
            symmetric. The mass of a text is shared among them, else the loss would call its doubles wrong.
        world: rank and number of ranks, or the images of each; None: one.
        alpha: share of `probs` in blend.
        smoothing: share of the mass that is spread over all texts evenly, in 0..1.
        shares: False: for losses that judge each pair by itself (`mixed_sigmoid`), doubles have the whole
            mass of their text, at most 1, rather than a share of it.
        every: give labels to all images of the batch, each unmixed one its own text: for `plan.fill`.

    Returns:
        (M, C) float32, or (B, C) with `every`. Rows add up to 1 (with `shares`).

    Raises:
        UserError: no such mode, `probs` are missing or of another shape, `same` does not fit, or smoothing is
            out of range.
    """
    B, device = plan.batch, plan.lam.device
    ranks = _ranks(world, B)
    C = sum(ranks.sizes)
    if mode not in get_args(Mode):
        raise UserError(f"labels {mode}: say {', '.join(get_args(Mode))}")
    if not 0 <= smoothing <= 1:
        raise UserError(f"label smoothing of {smoothing:g}: give 0 to 1")
    own, lam = torch.zeros(B, C, device=device), plan.lam[:, None]
    own[:, ranks.own].fill_diagonal_(1)
    alone = own
    if mode != "hard":
        if probs is None or probs.shape != (B, C):
            raise UserError(
                f"labels {mode} need probabilities of shape {(B, C)}, and these are "
                f"{'missing' if probs is None else tuple(probs.shape)}"
            )
        found = probs.to(own)
        own = found if mode == "soft" else alpha * found + (1 - alpha) * own
    if plan.kind == "joined":  # one text for both; it is also right for what the partner's mix is made of
        targets = own[plan.rows]
        twins = _twins(plan)
        targets = (targets + twins[:, None] * own[plan.partner]) / (1 + twins[:, None])
    else:
        targets = lam * own[plan.rows] + (1 - lam) * own[plan.partner]
    if every:
        targets = alone.index_copy(0, plan.rows, targets)
    if same is not None:
        targets = _merge(targets, same, shares)
    return (1 - smoothing) * targets + smoothing / C


def text_targets(targets: Tensor, world: World | Ranks | tuple[int, int] | None = None) -> Tensor:
    """What is right for each text, given what is right for each mixed image: columns, in shares.

    The released code takes the rows of its matrix for this, which is right for hard labels only.

    Args:
        targets: (M, C) float: of this rank's mixed images.
        world: rank and number of ranks, each with M rows; or the rows of each, where M is B and they differ.
            With more than one, all call this together.

    Returns:
        (B, A) float32 without gradient, rows of this rank's texts, A mixed images of all ranks; each adds up
        to 1, or to 0 where a text is right for no mixed image.
    """
    columns = _ranks(world, 0)
    count = len(columns.sizes)
    if not isinstance(world, Ranks):
        columns = Ranks(columns.rank, (targets.shape[1] // count,) * count)
    rows = columns if isinstance(world, Ranks) else Ranks(columns.rank, (len(targets),) * count)
    mine = gather_rows(targets.detach(), rows)[:, columns.own].mT
    return mine / mine.sum(1, keepdim=True).clamp_min(torch.finfo(mine.dtype).tiny)


def _ranks(world: World | Ranks | tuple[int, int] | None, count: int) -> Ranks:
    """The images of each rank; `count` each, unless they are told."""
    if isinstance(world, Ranks):
        return world
    rank, size = world or (0, 1)
    return Ranks(rank, (count,) * size)


def _merge(targets: Tensor, same: Tensor, shares: bool) -> Tensor:
    C = targets.shape[1]
    if same.shape not in ((C,), (C, C)):
        raise UserError(f"`same` of shape {tuple(same.shape)} does not fit {C} texts")
    equal = (same[:, None] == same if same.ndim == 1 else same).to(targets)
    if not shares:
        return (targets @ equal).clamp(max=1)
    return targets @ (equal / equal.sum(1, keepdim=True).clamp_min(1))


def _twins(plan: MixPlan) -> Tensor:
    """(M,) 1 where the partner is mixed with this image in turn, so that both mixes are one image."""
    partner_of = torch.full((plan.batch,), -1, device=plan.rows.device)
    partner_of[plan.rows] = plan.partner
    return (partner_of[plan.partner] == plan.rows).to(plan.lam)
