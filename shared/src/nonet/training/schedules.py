"""Learning rates as pure functions of the step, so that a resumed run needs no memory of them.

A factor multiplies the optimiser's `lr`. Step 0 is the first one. With a warm-up of W steps, `linear`,
`cosine` and `constant` rise as (t + 1)/W; `rsqrt` is min((t + 1)/W, sqrt(W/t)): PEGASUS fine-tunes with W =
10000, which at lr 1e-4 gives 1e-8, 5e-5, 1e-4 and 5e-5 at t = 0, 4999, 9999 and 40000 (Zhang et al. 2020,
released code).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

Schedule = Literal["constant", "linear", "cosine", "rsqrt"]


def factor(step: int, schedule: Schedule = "constant", *, warmup: int = 0, steps: int = 0) -> float:
    """What to multiply the peak learning rate by.

    Args:
        step: how many steps were taken before this one.
        schedule: the shape after the warm-up.
        warmup: steps of linear rise.
        steps: length of the run; `linear` and `cosine` reach 0 there.

    Returns:
        A number in [0, 1].
    """
    rise = (step + 1) / warmup if warmup else 1.0
    if schedule == "rsqrt":
        peak = max(warmup, 1)
        return min(rise, math.sqrt(peak / max(step, peak)))
    if schedule == "constant" or step < warmup:
        return min(rise, 1.0)
    left = max(steps - step, 0) / max(steps - warmup, 1)
    return left if schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def scheduler(optimizer: "Optimizer", schedule: Schedule, *, warmup: int = 0, steps: int = 0) -> "LambdaLR":
    """A scheduler of torch that sets `lr * factor(step)`.

    Raises:
        UserError: a schedule that ends at `steps` would be over before its warm-up.
    """
    from torch.optim.lr_scheduler import LambdaLR

    if schedule in ("linear", "cosine") and warmup >= steps:
        raise UserError(
            f"warmup {warmup} leaves nothing of {steps} steps for schedule {schedule}: make it shorter"
        )

    def multiplier(step: int) -> float:
        return factor(step, schedule, warmup=warmup, steps=steps)

    rule: Callable[[int], float] = multiplier
    return LambdaLR(optimizer, rule)
