"""Optimiser and learning rates of every training, as plain data, so that help loads no torch.

The defaults are PonderV2's for fine-tuning a segmentation: SGD with Nesterov's momentum, a rate that rises
over 5 % of the steps and falls along a cosine (its configurations semseg-*; AdamW is what it uses outdoors).
"""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RateOptions:
    """Which optimiser, at which rate."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd: with Nesterov's momentum, decay times the rate on every weight; adamw: decoupled decay"""
    lr: float = 0.05
    """peak learning rate"""
    momentum: float = 0.9
    """of sgd; 0: none"""
    weight_decay: float = 1e-4
    """decay of all weights a step, times the rate"""
    schedule: Literal["onecycle", "poly", "cosine", "constant"] = "onecycle"
    """onecycle: rise and fall along a cosine; poly: fall as (1 - step/steps)^power; cosine: to 0"""
    rise: float = 0.05
    """onecycle: share of the steps over which the rate rises"""
    div: float = 10.0
    """onecycle: the rate begins at lr / div"""
    final_div: float = 1e4
    """onecycle: the rate ends at lr / div / final_div"""
    warmup: int = 0
    """poly, cosine, constant: steps of linear rise"""
    power: float = 0.9
    """poly: the exponent"""

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"rates.lr is {self.lr:g}; it is positive")
        for name in ("weight_decay", "warmup"):
            if getattr(self, name) < 0:
                raise UserError(f"rates.{name} is {getattr(self, name):g}; it is 0 or more")
        if not 0 <= self.momentum < 1:
            raise UserError(f"rates.momentum is {self.momentum:g}; it lies in [0, 1)")
        if not 0 <= self.rise < 1:
            raise UserError(f"rates.rise is {self.rise:g}; it lies in [0, 1)")
        for name in ("div", "final_div"):
            if getattr(self, name) < 1:
                raise UserError(f"rates.{name} is {getattr(self, name):g}; it is at least 1")
        if not self.power > 0:
            raise UserError(f"rates.power is {self.power:g}; it is positive")

    def check_length(self, steps: int) -> None:
        """Refuse a warm-up that takes all of the steps; of no importance to onecycle, which has none.

        Args:
            steps: of the run.

        Raises:
            UserError: nothing is left after the warm-up.
        """
        if self.schedule != "onecycle" and self.warmup >= steps:
            raise UserError(f"rates.warmup {self.warmup} leaves nothing of {steps} steps: make it shorter")
