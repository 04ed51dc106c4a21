"""How ALBEF and mPLUG are optimised: AdamW with two rates, a warm-up, a cosine that moves once an epoch.

Released code `optim/__init__.py`, `scheduler/cosine_lr.py`. The rate of step t rises from `warmup_lr` to lr
within the warm-up; behind it, in epoch e of E,

    rate = min_lr + (lr - min_lr) (1 + cos(pi e / E)) / 2

With lr 1e-4, min_lr 1e-6 and 30 epochs it is 1e-4, 9.973e-5, 5.05e-5 in epochs 0, 1 and 15. Rates of images
end at the same two small ones. Vectors, scalars, positions and the class token do not decay; the released
code finds norms by name and overlooks those of CLIP.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from torch import nn

VISUAL = "vision.vit."  # in the name of every weight that has the rate of images
UNDECAYED = ("cls_token", "pos_embed", "positions.weight")


@dataclass(frozen=True, kw_only=True)
class PairRates:
    """Rates of an image-text model's optimiser."""

    lr: float = 1e-4
    """peak learning rate of text, fusion, decoder and heads"""
    lr_visual: float = 1e-5
    """peak learning rate of the vision transformer"""
    weight_decay: float = 0.02
    """decay of weight matrices a step, times the rate"""
    warmup: int = 2000
    """steps of rise"""
    warmup_unit: int = 100
    """steps between two rises"""
    warmup_lr: float = 1e-6
    """rate of the first step; not above a peak"""
    min_lr: float = 1e-6
    """rate that the fall ends at; not above a peak"""
    fall: Literal["epoch", "step"] = "epoch"
    """when the rate falls: once an epoch, or in each step"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay of adamw's two running means"""
    eps: float = 1e-8
    """adamw's smallest divisor"""

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.lr_visual >= 0):
            raise UserError(f"lr is {self.lr:g} and lr_visual {self.lr_visual:g}; above 0, and 0 or more")
        for name in ("weight_decay", "warmup", "warmup_lr", "min_lr"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if self.warmup_unit < 1:
            raise UserError(f"warmup_unit is {self.warmup_unit}; it is at least 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas are {self.betas[0]:g} and {self.betas[1]:g}; both lie in [0, 1)")
        if not self.eps > 0:
            raise UserError(f"eps is {self.eps:g}; it is positive")


def rate_at(step: int, peak: float, rates: PairRates, *, steps: int, steps_per_epoch: int) -> float:
    """The rate of step 0, 1, ...

    Args:
        step: steps that were taken before this one.
        peak: `rates.lr` or `rates.lr_visual`.
        rates: the rest.
        steps: of the whole run.
        steps_per_epoch: of an epoch; its number is their quotient, rounded up.
    """
    low = min(rates.warmup_lr, peak)
    if step < rates.warmup:
        return low + (peak - low) * (step // rates.warmup_unit * rates.warmup_unit) / rates.warmup
    if rates.fall == "epoch":
        done = (step // steps_per_epoch) / max(1, -(-steps // steps_per_epoch))
    else:
        done = (step - rates.warmup) / max(1, steps - rates.warmup)
    least = min(rates.min_lr, peak)
    return least + (peak - least) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def rate_groups(module: "nn.Module", rates: PairRates) -> list[dict[str, Any]]:
    """The parameters in up to four groups, images last: by rate, and by whether they decay.

    Args:
        module: each of its parameters that needs a gradient is in one group, once. Those with `vision.vit.`
            in their name have the rate of images.
        rates: of the groups.

    Returns:
        Groups with `params`, `lr`, `weight_decay` and `visual`; none is empty.
    """
    sorted_out: dict[tuple[bool, bool], list[Any]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim >= 2 and not name.endswith(UNDECAYED)
            sorted_out.setdefault((VISUAL in name, not decays), []).append(weight)
    return [
        {
            "params": weights,
            "lr": rates.lr_visual if visual else rates.lr,
            "weight_decay": 0.0 if undecayed else rates.weight_decay,
            "visual": visual,
        }
        for (visual, undecayed), weights in sorted(sorted_out.items(), key=lambda pair: pair[0])
    ]


def pair_optimizer(
    modules: "nn.Module | Iterable[nn.Module]", rates: PairRates, *, steps: int, steps_per_epoch: int
) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns.

    Args:
        modules: what is trained, such as the LightningModule.
        rates: of its groups.
        steps: of the whole run.
        steps_per_epoch: of an epoch.

    Raises:
        UserError: the warm-up is as long as the run, or nothing is trained.
    """
    import torch
    from torch.optim.lr_scheduler import LambdaLR

    if rates.warmup >= steps:
        raise UserError(f"warmup {rates.warmup} leaves nothing of {steps} steps: make it shorter")
    found = [modules] if isinstance(modules, torch.nn.Module) else list(modules)
    groups = [group for module in found for group in rate_groups(module, rates)]
    if not groups:
        raise UserError("no weight is left to train: each one is frozen, or no loss reaches it")
    for group in groups:
        if not group["lr"]:  # a schedule multiplies, and nothing times 0 is the warm-up's rate
            for weight in group["params"]:
                weight.requires_grad_(False)
    groups = [group for group in groups if group["lr"]]
    optimizer = torch.optim.AdamW(groups, lr=rates.lr, betas=rates.betas, eps=rates.eps)

    def factor(peak: float) -> Any:
        return lambda step: rate_at(step, peak, rates, steps=steps, steps_per_epoch=steps_per_epoch) / peak

    schedule = LambdaLR(optimizer, [factor(group["lr"]) for group in groups])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
