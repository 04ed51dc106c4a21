"""The losses of mixed images against all texts (paper; released `model_mplug.py`), and their floors.

    L_mix = 1/2 [mean_i CE(v_i T^t / tau, Y_i) + mean_j CE(t_j V^t / tau, Y^t_j)]

where V are mixed images, T the texts of the unmixed ones, Y the labels of `mix_targets` and Y^t their columns
in shares (the released code takes rows for both halves). Why it regularises (ours): the loss of a row with
labels lam and 1 - lam is least, H(lam), where the two scores differ by log(lam / (1 - lam)), so that a pair,
right or wrong, is not learned by heart with an ever greater margin: lam .75 gives 0.562335 and 1.098612.

For SigLIP (Zhai et al. 2023) each pair is judged by itself, with lam and 1 - lam as what is to be found.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nonet.errors import UserError
from nonet.vision_language.objectives.contrastive import contrastive_logits, image_text_contrastive
from nonet.vision_language.objectives.objective import widen
from timix.mixed_targets import text_targets as transposed

# Shapes: M mixed images of a rank, B its texts, e size of the shared space; C texts, A images of all ranks.

TAU_RANGE = (0.001, 0.5)  # of the released code


def mixed_itc(
    v_mix: Tensor,
    t_all: Tensor,
    targets: Tensor,
    tau: Tensor | float,
    *,
    images_all: Tensor | None = None,
    texts: Tensor | None = None,
    text_targets: Tensor | None = None,
    queues: tuple[Tensor, Tensor] | None = None,
    tau_range: tuple[float, float] = TAU_RANGE,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Contrast of mixed images with texts, both ways.

    On several devices each gives its own rows against all columns; the mean over ranks is the loss of one
    device with all rows. On one device only the first four arguments are needed. With lam = 1 it is
    `image_text_contrastive`.

    Args:
        v_mix: (M, e) float: mixed images of this rank, of length 1.
        t_all: (C, e) float: texts of all ranks, rank 0's first, of length 1.
        targets: (M, C) float: from `mix_targets`.
        tau: temperature, a number or a scalar tensor that is learned.
        images_all: (A, e) float: mixed images of all ranks; None: `v_mix`.
        texts: (B, e) float: texts of this rank; None: `t_all`.
        text_targets: (B, A) float: from `timix.mixed_targets.text_targets`; None: columns of `targets`.
        queues: earlier texts and earlier images, (Q, e) each: more columns, never right, without gradient.
        tau_range: bounds of the temperature; beyond them it has no gradient.

    Returns:
        The loss, float32 (float64 for float64); and, without gradient: `floor`, below which it cannot go;
        `gap_bound`, the mean difference of the two right scores of an image where the loss is least, infinite
        where only one is right; `image_to_text`, `text_to_image`, its halves.

    Raises:
        UserError: shapes do not fit, a temperature is not positive, or features of all ranks are given
            without those of this one.
    """
    if targets.shape != (len(v_mix), len(t_all)):
        raise UserError(
            f"labels of shape {tuple(targets.shape)} do not fit {len(v_mix)} images and {len(t_all)} texts"
        )
    if (images_all is None) != (texts is None) or (images_all is not None and text_targets is None):
        raise UserError("images of all ranks, texts of this one and their targets go together")
    if not isinstance(tau, Tensor) and not tau > 0:
        raise UserError(f"a temperature of {tau:g}: it must be above 0, such as 0.07")
    tau = tau.clamp(*tau_range) if isinstance(tau, Tensor) else min(max(tau, tau_range[0]), tau_range[1])
    if text_targets is None:
        text_targets = transposed(targets)
    earlier_texts, earlier_images = queues or (None, None)
    found = image_text_contrastive(
        contrastive_logits(v_mix, t_all, tau, earlier_texts),
        contrastive_logits(
            t_all if texts is None else texts,
            v_mix if images_all is None else images_all,
            tau,
            earlier_images,
        ),
        targets=targets,
        text_targets=text_targets,
    )
    aux = {
        "floor": (_entropy(targets) + _entropy(text_targets)) / 2,
        "gap_bound": _gap(targets),
        "image_to_text": found.aux["image_to_text"],
        "text_to_image": found.aux["text_to_image"],
    }
    return found.loss, aux


def mixed_sigmoid(
    v_mix: Tensor, t_all: Tensor, targets: Tensor, scale: Tensor | float = 10.0, bias: Tensor | float = -10.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Whether a mixed image and a text belong together, pair by pair, with shares as what is right.

    loss = 1/M sum over i, j of softplus(z_ij) - Y_ij z_ij with z_ij = scale v_i t_j + bias: the binary cross
    entropy. With lam = 1 it is SigLIP's.

    Args:
        v_mix: (M, e) float: mixed images of this rank, of length 1.
        t_all: (C, e) float: texts, of all ranks or of one of them, of length 1.
        targets: (M, C) float in 0..1: from `mix_targets(..., shares=False)`.
        scale: learned, 10 at the start; its exponential is not taken here.
        bias: learned, -10 at the start.

    Returns:
        The loss; `floor`, below which it cannot go.

    Raises:
        UserError: shapes do not fit.
    """
    if targets.shape != (len(v_mix), len(t_all)):
        raise UserError(
            f"labels of shape {tuple(targets.shape)} do not fit {len(v_mix)} images and {len(t_all)} texts"
        )
    logits = widen(v_mix) @ widen(t_all).mT * scale + bias
    targets = targets.detach().to(logits)
    count = max(len(v_mix), 1)
    floor = -(torch.xlogy(targets, targets) + torch.xlogy(1 - targets, 1 - targets)).sum() / count
    return (softplus(logits) - targets * logits).sum() / count, {"floor": floor}


def _entropy(targets: Tensor) -> Tensor:
    """Mean entropy of the rows that have any mass, in nats."""
    found = -torch.xlogy(targets, targets).sum(1)
    return found.sum() / (targets.sum(1) > 0).sum().clamp_min(1)


def _gap(targets: Tensor) -> Tensor:
    """Mean log ratio of the two greatest labels of a row."""
    if targets.shape[1] < 2:
        return targets.new_tensor(torch.inf)
    first, second = targets.topk(2, dim=1).values.log().unbind(1)
    return (first - second).mean()
