"""The options of training: devices, length, precision, optimiser; plain data, so that help loads no torch."""

from dataclasses import dataclass
from typing import Literal

from nonet.errors import UserError

FP16 = "fp16 overflows in PEGASUS- and T5-like models (activations beyond 65504 become infinite): use bf16"


@dataclass(frozen=True)
class TrainerOptions:
    """How long, on what and how often."""

    steps: int = 1000
    """optimiser steps; the whole run, also when it is resumed"""
    accumulate: int = 1
    """batches whose gradients make one step"""
    clip: float | None = None
    """largest norm of the gradient; none: not clipped"""
    seed: int = 0
    """of initial weights, order of examples and dropout"""
    validate_every: int = 500
    """steps between two validations, besides the one at the end; 0: at the end only"""
    checkpoint_every: int = 500
    """steps between two checkpoints, besides the one at the end; 0: at the end only"""
    log_every: int = 10
    """steps that a line of metrics.jsonl averages over"""
    workers: int = 0
    """processes that load data, a device; 0: the training process itself"""
    devices: Literal["auto"] | int = "auto"
    """devices on each machine; auto: every GPU, or one CPU"""
    nodes: int = 1
    """machines, started by torchrun or SLURM"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: GPUs where there are any"""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """ddp: a copy of the model on each device; fsdp: weights, gradients and optimiser shared out (FSDP2);
    auto: ddp on several devices"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """bf16: mixed, weights stay fp32; auto: bf16 on GPUs that have it, else fp32; fp16 is refused, because
    such models overflow in it"""
    deterministic: bool = False
    """only kernels that give the same bits every time; on a GPU slower, and what resuming to the bit takes
    there"""

    def __post_init__(self) -> None:
        if self.precision == "fp16":
            raise UserError(f"precision fp16: {FP16}")
        for name in ("steps", "accumulate", "log_every", "nodes"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        for name in ("validate_every", "checkpoint_every", "workers", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it is 0 or more")
        if self.seed >= 2**63:
            raise UserError(f"seed is {self.seed}; it is below 2^63")
        if self.devices != "auto" and self.devices < 1:
            raise UserError(f"devices is {self.devices}; it is auto or at least 1")
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip is {self.clip:g}; it is positive, or none")


@dataclass(frozen=True)
class OptimizerOptions:
    """Which optimiser, at which rate."""

    name: Literal["adamw", "adafactor"] = "adamw"
    """adafactor keeps two vectors a matrix where adamw keeps two matrices; it multiplies the rate by the size
    of each weight matrix, hence wants about 1e-2 where adamw wants 1e-4"""
    lr: float = 1e-4
    """peak learning rate; adafactor uses at most 1/sqrt(step) of it"""
    weight_decay: float = 0.0
    """decay of weight matrices a step, times the rate; biases and norms never decay"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay of adamw's two running means"""
    eps: float = 1e-8
    """adamw's smallest divisor"""
    schedule: Literal["constant", "linear", "cosine", "rsqrt"] = "constant"
    """after the warm-up; linear and cosine: down to 0 at the last step; rsqrt: with 1/sqrt(step)"""
    warmup: int = 0
    """steps of linear rise to `lr`; with rsqrt this is also where the fall begins"""

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"lr is {self.lr:g}; it is positive")
        if self.weight_decay < 0:
            raise UserError(f"weight_decay is {self.weight_decay:g}; it is 0 or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas are {self.betas[0]:g} and {self.betas[1]:g}; both lie in [0, 1)")
        if not self.eps > 0:
            raise UserError(f"eps is {self.eps:g}; it is positive")
        if self.warmup < 0:
            raise UserError(f"warmup is {self.warmup}; it is 0 steps or more")
