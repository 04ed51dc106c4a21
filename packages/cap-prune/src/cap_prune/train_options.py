"""The options that the teacher and the student share; plain data, so that help loads no torch.

The defaults are ours: batches of similar lengths, bf16 where the GPU has it, contrast as the paper writes it
with weights for short trainings. The settings of Xu et al.'s released scripts are the presets `paper-...`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What is learnt, from what, and for how long."""

    model: str
    """folder or hub name of the encoder to start from: bert, roberta, distilbert or electra, dense or slim"""
    task: str
    """sst2, mrpc, rte, cola, stsb, qnli, qqp, mnli, wnli or squad; classify or regress for your own files"""
    data: Path
    """the task's folder in GLUE's layout; a file of SQuAD, CSV, TSV or JSON lines; or a folder that datasets
    saved"""
    dev: Path | None = None
    """data to score on, if it is not the dev side of `data`"""
    max_length: int = 128
    """tokens of an example at most; longer ones are cut, and those of squad read in windows"""
    stride: int = 128
    """tokens that neighbouring windows of squad share"""
    train_size: int | None = None
    """train on this many examples alone, drawn by subset_seed; none: all"""
    subset_seed: int = 0
    """which examples a subset has; apart from trainer.seed, so that runs of other seeds share it"""
    dev_size: int | None = None
    """score on the first so many dev examples alone; none: all"""
    batch: int = 32
    """examples a batch, over all devices"""
    bucket: bool = True
    """put examples of similar length into a batch, which saves padding; no: random batches, as in the
    original"""
    warmup_share: float = 0.1
    """share of a training's steps in which the rate rises, unless optimizer.warmup says how many"""
    out: Path | None = None
    """run folder; none: runs/cap_prune/VERB-TIME"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=500)
    )
    """devices, precision, seed; steps count where epochs is 0"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=5e-5, weight_decay=0.01, schedule="linear")
    )
    """optimiser, rate, schedule; each level of a pruning starts afresh"""

    def __post_init__(self) -> None:
        for name in ("max_length", "batch", "train_size", "dev_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it is at least 1")
        if self.stride < 0:
            raise UserError(f"stride is {self.stride}; it is 0 or more")
        if not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share is {self.warmup_share:g}; it lies in [0, 1)")
        if self.trainer.strategy == "fsdp":
            raise UserError("strategy is fsdp; encoders are small, and theirs is ddp: leave it at auto")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What a student is trained on: labels, its teacher, and contrast with three banks of representations."""

    ce: float = 0.1
    """weight of the cross-entropy (squared error for a regression) with the labels"""
    kd: float = 0.9
    """weight of the distillation from the teacher; without a teacher it is 0"""
    kd_temperature: float = 1.0
    """both sides' logits are divided by it; the loss is multiplied by its square"""
    prc: bool = True
    """contrast with the pre-trained model: keeps general knowledge"""
    snc: bool = True
    """contrast with the snapshots at lower sparsity"""
    fic: bool = True
    """contrast with the fine-tuned teacher; without a teacher there is none"""
    lambda_pre: float = 0.05
    """weight of the unsupervised contrast with the pre-trained model"""
    lambda_snap: float = 0.05
    """weight of the unsupervised contrast with snapshots"""
    lambda_fine: float = 0.05
    """weight of the unsupervised contrast with the teacher"""
    lambda_sup: float = 0.0
    """weight of the supervised contrast with each bank, whose positives share the label"""
    tau: float = 0.1
    """similarities are divided by it"""
    extra: int = 1024
    """examples outside of the batch that are drawn anew as candidates, divided by the vectors a bank has of
    each"""
    reduction: Literal["paper", "released"] = "paper"
    """released: divided once more by the number of positives, as the original code does, which nearly
    switches the supervised part off"""
    align: Literal["auto", "cls", "mean-pooling"] = "auto"
    """the vector that stands for an example: the pooler's output ([CLS] where there is none), or the mean of
    the last layer's; auto: mean-pooling"""
    bank_dtype: Literal["fp16", "fp32"] = "fp16"
    """numbers of the banks"""
    bank_device: Literal["auto", "cpu", "file"] = "auto"
    """where the banks lie; auto: on the training device; cpu: in the machine's memory; file: in a file of the
    run's folder `cache`, which is mapped into memory, for banks that do not fit, and is removed at the end"""

    def __post_init__(self) -> None:
        for name in ("ce", "kd", "lambda_pre", "lambda_snap", "lambda_fine", "lambda_sup"):
            if getattr(self, name) < 0:
                raise UserError(f"loss.{name} is {getattr(self, name):g}; it is 0 or more")
        for name in ("tau", "kd_temperature"):
            if not getattr(self, name) > 0:
                raise UserError(f"loss.{name} is {getattr(self, name):g}; it is positive")
        if self.extra < 0:
            raise UserError(f"loss.extra is {self.extra}; it is 0 or more")
