"""AdamW and Adafactor as the papers set them, with a schedule, in the form Lightning wants.

Adafactor (Shazeer & Stern 2018, algorithms 4 and 5) is torch's, with PEGASUS's settings: no momentum,
clipping threshold d = 1, second-moment decay 1 - t^-0.8, steps relative to the size of a weight matrix,
max(RMS(p), 1e-3), and eps1 such that the variance is at least 1e-30. Its rate is min(lr, 1/sqrt(t)): lr 1e-2
without a schedule is PEGASUS's pre-training rate, 0.01, 0.01 and 0.005 at t = 1, 10000 and 40000.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nonet.training.options import OptimizerOptions
from nonet.training.schedules import scheduler

ADAFACTOR_EPS = (1e-15, 1e-3)  # torch squares the first one: variances are at least 1e-30


def build_optimizer(
    module: nn.Module,
    options: OptimizerOptions,
    *,
    steps: int,
    rates: Callable[[str], float] | None = None,
    make: Callable[..., torch.optim.Optimizer] | None = None,
) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns.

    Args:
        module: whose parameters are trained; those that need no gradient are left out.
        options: optimiser, rate and schedule.
        steps: length of the run, for schedules that end.
        rates: a parameter's name to the factor of its learning rate; 1 for all by default.
        make: another optimiser than the options name; called with groups, `lr`, `betas` and `eps`.

    Returns:
        `{"optimizer": ..., "lr_scheduler": {"scheduler": ..., "interval": "step"}}`.

    Raises:
        UserError: the warm-up is longer than a run whose schedule ends.
    """
    optimizer = make_optimizer(module, options, rates=rates, make=make)
    schedule = scheduler(optimizer, options.schedule, warmup=options.warmup, steps=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(
    module: nn.Module,
    options: OptimizerOptions,
    *,
    rates: Callable[[str], float] | None = None,
    make: Callable[..., torch.optim.Optimizer] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser alone, for loops without Lightning.

    Args:
        module: whose parameters are trained.
        options: optimiser and rate; its schedule is not looked at.
        rates: a parameter's name to the factor of its learning rate; 1 for all by default.
        make: another optimiser than the options name; called with groups, `lr`, `betas` and `eps`.
    """
    groups = parameter_groups(module, options.weight_decay)
    if rates is not None:
        groups = _by_rate(module, groups, options.lr, rates)
    if make is not None:
        return make(groups, lr=options.lr, betas=options.betas, eps=options.eps)
    if options.name == "adafactor":
        return Adafactor(groups, lr=options.lr, beta2_decay=-0.8, eps=ADAFACTOR_EPS, d=1.0)
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, eps=options.eps)


class Adafactor(torch.optim.Adafactor):  # type: ignore[misc]
    """torch's Adafactor, which also takes weights that FSDP2 shares out; torch's own cannot.

    Sums over a sharded weight cross the devices: five small ones for a matrix, two for a vector, each step.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what `closure` returns."""
        if not any(_is_sharded(p) for group in self.param_groups for p in group["params"]):
            return super().step(closure)
        with torch.enable_grad():
            loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step_sharded(parameter, parameter.grad, group)
        return loss

    def _step_sharded(self, x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Algorithms 4 and 5 in operations that sharded tensors know."""
        state, (eps1, eps2) = self.state[x], group["eps"]
        square = gradient.square()
        seen = {"variance": square}
        if x.dim() > 1:
            seen = {"row_var": _mean(square, -1), "col_var": _mean(square, -2)}
        if not state:
            state["step"] = torch.tensor(0.0)
            state.update({name: torch.zeros_like(value) for name, value in seen.items()})
        state["step"] += 1
        step = state["step"].item()
        weight, rate = step ** group["beta2_decay"], min(float(group["lr"]), step**-0.5)
        alpha = max(eps2, _rms(x)) * rate
        if group["weight_decay"]:
            x.mul_(1 - float(group["lr"]) * group["weight_decay"])
        for name, value in seen.items():
            state[name].mul_(1 - weight).add_(value * weight)
        if x.dim() > 1:
            row_mean = _mean(state["row_var"], -2).clamp(min=eps1)
            variance = state["row_var"] * state["col_var"] / row_mean
        else:
            variance = state["variance"]
        update = gradient * variance.clamp(min=eps1 * eps1).rsqrt()
        x.sub_(update * (alpha / max(1.0, _rms(update) / group["d"])))


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


def _by_rate(
    module: nn.Module, groups: list[dict[str, Any]], lr: float, rates: Callable[[str], float]
) -> list[dict[str, Any]]:
    """The groups split by the factors of their parameters' rates, those of factor 1 first."""
    factors = {id(parameter): rates(name) for name, parameter in module.named_parameters()}
    found = [
        (factor, group | {"params": [p for p in group["params"] if factors[id(p)] == factor]})
        for factor in sorted(set(factors.values()), key=lambda factor: (factor != 1, factor))
        for group in groups
    ]
    return [group | {"lr": lr * factor} for factor, group in found if group["params"]]


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _mean(x: Tensor, dim: int) -> Tensor:
    """The mean along a dimension, kept; whole on every device where the dimension is sharded."""
    total = x.sum(dim, keepdim=True)
    if _is_sharded(total):
        from torch.distributed.tensor import Replicate

        whole = [Replicate() if placement.is_partial() else placement for placement in total.placements]
        total = total.redistribute(placements=whole)
    return total / x.shape[dim]


def _rms(x: Tensor) -> float:
    total = x.square().sum()
    return math.sqrt((total.full_tensor() if _is_sharded(total) else total).item() / x.numel())


def _is_sharded(x: Tensor) -> bool:
    return hasattr(x, "full_tensor")  # a DTensor; not every build of torch has them
