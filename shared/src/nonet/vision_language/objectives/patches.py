"""Patches of a picture that were turned, mixed up, exchanged or emptied, and what is asked about them.

Kaleido-BERT (Zhuge et al. 2021) cuts a picture into grids of 1 x 1 to 5 x 5 and asks one question on each: by
how much it was rotated, in which order the pieces of a jigsaw lie, which patch is from another picture, and
which features greyed and blanked patches had. The released code (`scripts/pretrain_main.py`,
`easytransfer/losses/pretrain_loss.py`) has the losses; the corruptions are made here as the paper names them.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import log_softmax

from nonet.errors import UserError
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B pictures, C channels, k x k patches of h x w pixels, P = k * k, D features, K classes.

LUMA = (0.299, 0.587, 0.114)
"""weights of red, green and blue in a grey pixel (ITU-R BT.601)"""
MOST_PIECES = 6
"""of a jigsaw whose orders are all told apart: 720 of them"""


class ChangedPatches(NamedTuple):
    """Patches and what was done to them.

    Attributes:
        patches: (B, P, C, h, w) float.
        labels: (B, P) int64 for rotations, (B,) for jigsaws and camouflage; -100 where nothing is asked.
    """

    patches: Tensor
    labels: Tensor


def cut_grid(images: Tensor, k: int) -> Tensor:
    """The k x k patches of pictures, row by row.

    Args:
        images: (B, C, H, W) float; H and W are multiples of k.
        k: patches along a side.

    Returns:
        (B, k * k, C, H / k, W / k).
    """
    B, C, H, W = images.shape
    if k < 1 or H % k or W % k:
        raise UserError(f"{k} x {k} patches do not cut {H} x {W} pixels evenly; resize the pictures")
    grid = images.view(B, C, k, H // k, k, W // k)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(B, k * k, C, H // k, W // k)


def join_grid(patches: Tensor) -> Tensor:
    """The pictures that `cut_grid` cut: (B, k * k, C, h, w) gives (B, C, k * h, k * w)."""
    B, P, C, h, w = patches.shape
    k = round(P**0.5)
    if k * k != P:
        raise UserError(f"{P} patches are no square grid")
    return patches.view(B, k, k, C, h, w).permute(0, 3, 1, 4, 2, 5).reshape(B, C, k * h, k * w)


def rotate_patches(patches: Tensor, generator: Generator, mask: Tensor | None = None) -> ChangedPatches:
    """Turn patches by 0, 1, 2 or 3 quarters anticlockwise, each with the same chance.

    Args:
        patches: (B, P, C, h, h) float.
        generator: of the draws.
        mask: (B, P) bool: patches to turn and to ask about; None: all.

    Returns:
        The patches, and the number of quarters (B, P), -100 outside the mask.
    """
    if patches.shape[-1] != patches.shape[-2]:
        raise UserError(
            f"patches of {patches.shape[-2]} x {patches.shape[-1]} pixels cannot be turned: not square"
        )
    quarters = torch.randint(4, patches.shape[:2], generator=generator, device=patches.device)
    if mask is not None:
        quarters = quarters * mask
    turned = torch.stack([patches.rot90(count, (-2, -1)) for count in range(4)])
    found = turned.gather(0, quarters[None, :, :, None, None, None].expand(1, *patches.shape))[0]
    return ChangedPatches(found, quarters if mask is None else quarters.masked_fill(~mask, IGNORE))


def jigsaw_orders(pieces: int) -> Tensor:
    """All orders of the pieces, (pieces!, pieces) int64 in lexicographic order: 24 of a 2 x 2 grid."""
    if not 1 <= pieces <= MOST_PIECES:
        raise UserError(
            f"a jigsaw of {pieces} pieces has too many or no orders to tell apart; 1 to {MOST_PIECES}"
            " pieces have, or give a table of some orders"
        )
    return torch.tensor(list(permutations(range(pieces))))


def shuffle_jigsaw(patches: Tensor, generator: Generator, orders: Tensor | None = None) -> ChangedPatches:
    """Lay the patches of each picture in one of the orders.

    Args:
        patches: (B, P, C, h, w) float.
        generator: of the draws.
        orders: (R, P) int64, from which to choose; None: all, see `jigsaw_orders`.

    Returns:
        The patches, of which place p holds number orders[label, p]; and the labels (B,) in 0..R-1.
    """
    table = jigsaw_orders(patches.shape[1]) if orders is None else orders
    labels = torch.randint(len(table), (len(patches),), generator=generator, device=patches.device)
    chosen = table.to(patches.device)[labels]
    return ChangedPatches(patches.gather(1, chosen[:, :, None, None, None].expand_as(patches)), labels)


def camouflage_patches(patches: Tensor, generator: Generator) -> ChangedPatches:
    """Exchange one patch of each picture for one of another picture of the batch.

    Args:
        patches: (B, P, C, h, w) float, B at least 2.
        generator: of the draws.

    Returns:
        The patches, and the place of the exchanged one (B,) in 0..P-1.
    """
    B, P = patches.shape[:2]
    if B < 2:
        raise UserError("camouflage takes patches of another picture, so a batch needs at least 2")
    labels, places = torch.randint(P, (2, B), generator=generator, device=patches.device)
    rows = torch.arange(B, device=patches.device)
    others = (rows + torch.randint(1, B, (B,), generator=generator, device=patches.device)) % B
    found = patches.clone()
    found[rows, labels] = patches[others, places]
    return ChangedPatches(found, labels)


def grey_patches(patches: Tensor, mask: Tensor) -> Tensor:
    """The patches (B, P, 3, h, w), those of the mask (B, P) without colour: three equal channels."""
    if patches.shape[2] != len(LUMA):
        raise UserError(f"patches have {patches.shape[2]} channels; grey is made of 3")
    weights = patches.new_tensor(LUMA)[:, None, None]
    grey = (patches * weights).sum(2, keepdim=True).expand_as(patches)
    return torch.where(mask[:, :, None, None, None], grey, patches)


def blank_patches(patches: Tensor, mask: Tensor) -> Tensor:
    """The patches (B, P, C, h, w), those of the mask (B, P) all 0."""
    return patches.masked_fill(mask[:, :, None, None, None], 0)


def patch_classification(logits: Tensor, labels: Tensor) -> Objective:
    """Cross entropy of a rotation, an order or a place. Equal scores of 4 rotations give ln 4 = 1.386294.

    Args:
        logits: (..., K) float.
        labels: (...) int64, -100 ignored.

    Returns:
        The loss; aux: accuracy.
    """
    counted = labels != IGNORE
    hits = (logits.detach().argmax(-1) == labels).float()
    return Objective(mean_over(token_losses(logits, labels), counted), {"accuracy": mean_over(hits, counted)})


def patch_divergence(prediction: Tensor, features: Tensor, mask: Tensor) -> Objective:
    """Divergence of predicted from true patch features, both as a softmax: grey or blank to colour.

    loss = mean over masked patches of KL(softmax(features) || softmax(prediction)); 0 for equal ones.
    Features (ln .7, ln .3) and equal predictions give 0.0822829.

    Args:
        prediction: (B, P, D) float.
        features: (B, P, D) float of the coloured patches; no gradient flows into them.
        mask: (B, P) bool: the greyed or blanked patches.

    Returns:
        The loss; aux: count of patches.
    """
    logs = log_softmax(widen(prediction), -1)
    target = log_softmax(features.detach().to(logs.dtype), -1)
    each = (target.exp() * (target - logs)).sum(-1)
    return Objective(mean_over(each, mask), {"count": mask.sum()})


def aligned_patches(
    classified: Mapping[str, tuple[Tensor, Tensor]],
    restored: Mapping[str, tuple[Tensor, Tensor, Tensor]],
) -> Objective:
    """The questions about patches, added up (AKPM).

    Args:
        classified: logits and labels by name: rotation, jigsaw, camouflage; see `patch_classification`.
        restored: predictions, features and mask by name: grey, blank; see `patch_divergence`.

    Returns:
        The sum; aux: each part by its name.
    """
    parts = {name: patch_classification(*inputs).loss for name, inputs in classified.items()}
    parts |= {name: patch_divergence(*inputs).loss for name, inputs in restored.items()}
    if not parts:
        raise UserError("no question about patches was given")
    return Objective(
        torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}
    )
