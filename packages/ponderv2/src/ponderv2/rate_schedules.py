"""SGD and AdamW with the schedules of `RateOptions`, as functions of the step alone, so that runs resume."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from nonet.errors import UserError
from ponderv2.rate_options import RateOptions


def build_rates(
    module: nn.Module,
    rates: RateOptions,
    *,
    steps: int,
    factor: Callable[[str], float] | None = None,
) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns.

    Args:
        module: whose parameters are trained; those that need no gradient are left out.
        rates: optimiser, rate, schedule.
        steps: length of the run.
        factor: a parameter's name to the factor of its rate; 1 for all by default.

    Raises:
        UserError: nothing is left after the warm-up, or nothing is to be trained.
    """
    rates.check_length(steps)
    groups: dict[float, list[Tensor]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            groups.setdefault(1.0 if factor is None else factor(name), []).append(weight)
    if not groups:
        raise UserError("no weight of the model is trained: nothing to optimise")
    ordered = sorted(groups.items(), key=lambda pair: pair[0] != 1.0)  # the rate of the first one is logged
    parts = [{"params": weights, "lr": rates.lr * times} for times, weights in ordered]
    optimizer: torch.optim.Optimizer
    if rates.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            parts, lr=rates.lr, momentum=rates.momentum, weight_decay=rates.weight_decay,
            nesterov=rates.momentum > 0,
        )  # fmt: skip
    else:
        optimizer = torch.optim.AdamW(parts, lr=rates.lr, weight_decay=rates.weight_decay)
    schedule = LambdaLR(optimizer, lambda step: rate_factor(step, rates, steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate_factor(step: int, rates: RateOptions, steps: int) -> float:
    """What the peak rate is multiplied by at step 0, 1, ..., steps - 1.

    One-cycle is torch's OneCycleLR with cosines: it begins at 1 / div, is 1 at step rise * steps - 1, and
    ends at 1 / (div * final_div). With rise 0.05, div 10 and 1,000 steps, the factor is 0.1 at step 0, 1 at
    step 49.

    Args:
        step: steps taken before.
        rates: the schedule.
        steps: of the whole run.
    """
    if rates.schedule == "onecycle":
        return _one_cycle(min(step, steps - 1), rates, steps)
    if step < rates.warmup:
        return (step + 1) / rates.warmup
    done = min(1.0, (step - rates.warmup) / max(1, steps - rates.warmup))
    if rates.schedule == "poly":
        return float((1 - done) ** rates.power)
    if rates.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def _one_cycle(step: int, rates: RateOptions, steps: int) -> float:
    top, end = max(rates.rise * steps - 1, 0.0), steps - 1.0
    low, last = 1 / rates.div, 1 / (rates.div * rates.final_div)
    if step < top:
        return _along(low, 1.0, step / top)
    return 1.0 if end <= top else _along(1.0, last, (step - top) / (end - top))


def _along(first: float, last: float, share: float) -> float:
    """From one value to another along half a cosine."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
