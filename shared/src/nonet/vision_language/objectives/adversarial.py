"""Training on the most harmful small change of the embeddings, found by gradient ascent.

VILLA (Gan et al. 2020; released code `train_vqa_adv.py`): changes of word embeddings and region features, by
projected gradient ascent; the loss has the clean input, the changed one, and the divergence of both
predictions.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from nonet.errors import UserError
from nonet.vision_language.objectives.objective import Objective, mean_over, widen

# Shapes: B examples; embeddings are (B, ...), logits (B, K).

Forward = Callable[[Sequence[Tensor]], Tensor]
"""from the embeddings of all modalities to logits (B, K)"""
TaskLoss = Callable[[Tensor], Tensor]
"""from logits to a scalar"""


def find_perturbation(
    forward: Forward,
    embeddings: Sequence[Tensor],
    objective: Callable[[Tensor], Tensor],
    *,
    steps: int = 2,
    step_sizes: Sequence[float] = (1e-3,),
    radius: float = 0.0,
    norm: Literal["l2", "linf"] = "l2",
    changed: Sequence[bool] | None = None,
) -> list[Tensor]:
    """Ascend the objective from no change: each step is as long as its size, for each example by itself.

    delta <- projection(delta + size * g / |g|). Weights get no gradient from it.

    Args:
        forward: see `Forward`. Dropout draws anew at each call, as in the released code.
        embeddings: (B, ...) float, one for each modality.
        objective: from logits to the scalar to make large.
        steps: how many.
        step_sizes: for each modality, or one for all.
        radius: largest norm of an example's change; 0: no limit, as in the released settings.
        norm: of the gradient and of the radius: l2 over all of an example, or linf, which clamps.
        changed: which modalities may change; None: all.

    Returns:
        The changes, without gradient, one for each modality.
    """
    if norm not in ("l2", "linf"):
        raise UserError(f"no norm {norm!r}; there are l2 and linf")
    sizes = list(step_sizes) * len(embeddings) if len(step_sizes) == 1 else list(step_sizes)
    moving = [True] * len(embeddings) if changed is None else list(changed)
    if len(sizes) != len(embeddings) or len(moving) != len(embeddings):
        raise UserError(
            f"{len(embeddings)} modalities need as many step sizes and choices of what may change"
        )
    fixed = [each.detach() for each in embeddings]
    deltas = [torch.zeros_like(each) for each in fixed]
    places = [place for place, moves in enumerate(moving) if moves]
    with torch.enable_grad():
        for _ in range(steps):
            for delta in deltas:
                delta.requires_grad_()
            value = objective(forward([base + delta for base, delta in zip(fixed, deltas, strict=True)]))
            gradients = torch.autograd.grad(value, [deltas[place] for place in places])
            deltas = [delta.detach() for delta in deltas]
            for place, gradient in zip(places, gradients, strict=True):
                step = sizes[place] * gradient / _length(gradient, norm).clamp_min(1e-8)
                deltas[place] = _project(deltas[place] + step, radius, norm)
    return deltas


def adversarial_loss(
    forward: Forward,
    embeddings: Sequence[Tensor],
    task_loss: TaskLoss,
    *,
    steps: int = 2,
    step_sizes: Sequence[float] = (1e-3,),
    radius: float = 0.0,
    norm: Literal["l2", "linf"] = "l2",
    changed: Sequence[bool] | None = None,
    divergence_weight: float = 1.5,
    symmetric: bool = True,
) -> Objective:
    """Loss of the clean input, loss of the most harmful near one, and how far the predictions differ (VILLA).

    loss = L(f(x)) + L(f(x + delta)) + w [KL(clean || changed) + KL(changed || clean)], with delta that makes
    the last two terms large. The released code starts at delta = 0 and takes weights' gradients of all its
    three forward passes, divided by 3: the clean input is the first of them.

    Args:
        forward: see `Forward`.
        embeddings: (B, ...) float, one for each modality.
        task_loss: from logits to a scalar, such as cross entropy.
        steps: see `find_perturbation`.
        step_sizes: see `find_perturbation`.
        radius: see `find_perturbation`.
        norm: see `find_perturbation`.
        changed: see `find_perturbation`.
        divergence_weight: w: 1.5, or 1, in the released settings.
        symmetric: False: KL(changed || clean) alone.

    Returns:
        The loss; aux: clean, changed, divergence: the terms without weights.
    """
    clean = forward(embeddings)
    target = clean.detach()

    def harm(logits: Tensor) -> Tensor:
        return task_loss(logits) + divergence_weight * _divergence(logits, target, symmetric=symmetric)

    deltas = find_perturbation(
        forward,
        embeddings,
        harm,
        steps=steps,
        step_sizes=step_sizes,
        radius=radius,
        norm=norm,
        changed=changed,
    )
    changed_logits = forward([base + delta for base, delta in zip(embeddings, deltas, strict=True)])
    parts = {
        "clean": task_loss(widen(clean)),
        "changed": task_loss(widen(changed_logits)),
        "divergence": _divergence(changed_logits, clean, symmetric=symmetric),
    }
    loss = parts["clean"] + parts["changed"] + divergence_weight * parts["divergence"]
    return Objective(loss, {name: part.detach() for name, part in parts.items()})


def _length(values: Tensor, norm: str) -> Tensor:
    """The norm of each example, with as many axes as the values."""
    order = 2 if norm == "l2" else torch.inf
    lengths = torch.linalg.vector_norm(values.flatten(1).float(), order, dim=1)
    return lengths.view(-1, *[1] * (values.dim() - 1)).to(values.dtype)


def _project(delta: Tensor, radius: float, norm: str) -> Tensor:
    if radius <= 0:
        return delta
    if norm == "linf":
        return delta.clamp(-radius, radius)
    return delta * (radius / _length(delta, norm).clamp_min(1e-12)).clamp_max(1)


def _divergence(first: Tensor, second: Tensor, *, symmetric: bool = True) -> Tensor:
    """Mean of KL(softmax(first) || softmax(second)), with `symmetric` plus the reverse. (..., K) each."""
    p, q = log_softmax(widen(first), -1), log_softmax(widen(second), -1)
    each = (p.exp() - q.exp()) * (p - q) if symmetric else p.exp() * (p - q)
    return mean_over(each.sum(-1))
