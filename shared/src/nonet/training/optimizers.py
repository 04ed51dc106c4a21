"""AdamW and Adafactor as the papers set them, with a schedule, in the form Lightning wants.

Adafactor (Shazeer & Stern 2018, algorithms 4 and 5) is torch's, with PEGASUS's settings: no momentum,
clipping threshold d = 1, second-moment decay 1 - t^-0.8, steps relative to the size of a weight matrix,
max(RMS(p), 1e-3), and eps1 such that the variance is at least 1e-30. Its rate is min(lr, 1/sqrt(t)): lr 1e-2
without a schedule is PEGASUS's pre-training rate, 0.01, 0.01 and 0.005 at t = 1, 10000 and 40000.
"""

from typing import Any

import torch
from torch import nn

from nonet.training.options import OptimizerOptions
from nonet.training.schedules import scheduler

ADAFACTOR_EPS = (1e-15, 1e-3)  # torch squares the first one: variances are at least 1e-30


def build_optimizer(module: nn.Module, options: OptimizerOptions, *, steps: int) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns.

    Args:
        module: whose parameters are trained; those that need no gradient are left out.
        options: optimiser, rate and schedule.
        steps: length of the run, for schedules that end.

    Returns:
        `{"optimizer": ..., "lr_scheduler": {"scheduler": ..., "interval": "step"}}`.

    Raises:
        UserError: the warm-up is longer than a run whose schedule ends.
    """
    optimizer = make_optimizer(module, options)
    schedule = scheduler(optimizer, options.schedule, warmup=options.warmup, steps=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(module: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """The optimiser alone, for loops without Lightning.

    Args:
        module: whose parameters are trained.
        options: optimiser and rate; its schedule is not looked at.
    """
    groups = parameter_groups(module, options.weight_decay)
    if options.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=options.lr, beta2_decay=-0.8, eps=ADAFACTOR_EPS, d=1.0)
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, eps=options.eps)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay, and those that do not: biases, gains of norms and other vectors and scalars.

    Args:
        module: each of its parameters is in one group, once, in the order of `parameters()`.
        weight_decay: of the first group; without any there is one group.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not weight_decay:
        return [{"params": parameters, "weight_decay": 0.0}]
    norms = {id(p) for part in module.modules() if _is_norm(part) for p in part.parameters(recurse=False)}
    vectors = {id(p) for p in parameters if p.ndim < 2 or id(p) in norms}
    groups = [
        {"params": [p for p in parameters if id(p) not in vectors], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) in vectors], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()
