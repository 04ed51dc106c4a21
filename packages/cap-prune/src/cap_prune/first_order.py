"""First-order importance of heads and neurons: how much the loss changes with a gate (CAP-f).

Xu et al. 2022, section 3.1, after Michel et al. 2019: |dL/dm| at gates m = 1, where L is the complete
training loss of a batch in evaluation mode, contrast and distillation included. The absolute value is that
of a batch, not of an example, and batches are added up, as in the released code.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from cap_prune.gates import Gates
from cap_prune.unit_scores import UnitScores

Batch = Mapping[str, Any]
Loss = Callable[[Any, int], Tensor]
"""a batch and its number to the training loss"""


def first_order(model: Any, batches: Iterable[Batch], loss: Loss) -> UnitScores:
    """Sums of |dL/dm| over batches.

    On several devices a loss is the mean over all of them (as `Objective.loss` gives it), each has its share
    of every batch, and all get the same scores.

    Args:
        model: a supported encoder with head, dense or slim.
        batches: on the model's device.
        loss: `loss(batch, number)`, a scalar of a forward pass through `model`.

    Returns:
        Scores of the live units.
    """
    training, wanted = model.training, [weight.requires_grad for weight in model.parameters()]
    model.eval()
    model.requires_grad_(False)  # gradients of the gates alone: no weight's is computed
    try:
        with Gates(model) as gates, torch.enable_grad():
            leaves = [*gates.heads, *gates.neurons]
            sums = [torch.zeros_like(gate, dtype=torch.float32) for gate in leaves]
            for number, batch in enumerate(batches):
                value = loss(batch, number)
                grads = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
                for total, grad in zip(sums, _over_devices(grads), strict=True):
                    total += grad.abs()
    finally:
        model.train(training)
        for weight, before in zip(model.parameters(), wanted, strict=True):
            weight.requires_grad_(before)
    layers = len(gates.heads)
    return UnitScores(sums[:layers], sums[layers:])


def _over_devices(grads: tuple[Tensor, ...]) -> list[Tensor]:
    """The mean over devices, which is the gradient of the whole batch's loss."""
    sizes = [len(grad) for grad in grads]
    whole = torch.cat([grad.detach().float() for grad in grads])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(whole)
        whole /= torch.distributed.get_world_size()
    return list(whole.split(sizes))
