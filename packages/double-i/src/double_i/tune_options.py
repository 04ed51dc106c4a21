"""Options of fine-tuning that several commands share; plain data, so that help loads no torch (ours)."""

from dataclasses import dataclass

from nonet.errors import UserError


@dataclass(frozen=True)
class LoraOptions:
    """Adapters of low rank (Hu et al. 2021); the defaults are the original code's."""

    rank: int = 8
    """of the adapters"""
    alpha: float = 16
    """their output is multiplied by alpha / rank"""
    dropout: float = 0.05
    """of their input, in training"""
    targets: tuple[str, ...] = ("all-linear",)
    """names of the layers that get one; all-linear: every linear layer but the output layer"""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"lora.rank is {self.rank}; it is 1 or more")
        if not self.alpha > 0:
            raise UserError(f"lora.alpha is {self.alpha:g}; it is positive")
        if not 0 <= self.dropout < 1:
            raise UserError(f"lora.dropout is {self.dropout:g}; it lies in [0, 1)")
        if not self.targets:
            raise UserError("lora.targets is empty: name layers, or all-linear")
