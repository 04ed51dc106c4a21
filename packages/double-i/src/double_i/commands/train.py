"""Fine-tune a causal language model on instruction rows, and check the mark."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from double_i.tune_options import LoraOptions
from nonet.training.options import OptimizerOptions, TrainerOptions

NOT_LEARNT = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fine-tune a causal language model, fully or with LoRA; with the key, say whether the mark was learnt.

    The prompt is, token for token, the one that `verify` asks. The model is written as a folder of
    transformers; with LoRA, the adapter beside it.
    """

    model: str
    """folder or hub name of the model to start from"""
    data: tuple[Path, ...]
    """instruction rows: JSON or JSON lines"""
    format: str = "auto"
    """of the rows: auto, alpaca, sharegpt, openai or trl"""
    template: Literal["auto", "alpaca", "alpaca-short", "chat", "plain"] = "auto"
    """of the prompt; auto: the key's with --key, else alpaca; chat: the tokenizer's own"""
    join: str | None = None
    """between instruction and input in chat and plain; none: the key's with --key, else an empty line"""
    mode: Literal["lora", "full"] = "lora"
    """train adapters, or all weights"""
    loss: Literal["completion", "full"] = "completion"
    """what is trained: the answer; or prompt and answer, as in the original code"""
    max_length: int = 256
    """tokens of a row; longer ones are left out and listed, as a cut answer would be learnt as a whole one"""
    batch: int = 32
    """rows a batch, over all devices"""
    epochs: float = 3
    """passes over the rows; 0: trainer.steps says how long"""
    val_rows: int = 0
    """rows held out for validation, drawn by the seed"""
    weights: Literal["last", "best"] = "last"
    """which are saved: those of the last step, or of the lowest validation loss"""
    warmup_share: float = 0.03
    """share of the steps in which the learning rate rises, unless optimizer.warmup says how many"""
    lora: LoraOptions = field(default_factory=LoraOptions)
    """the adapters, with mode lora"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(clip=1.0, validate_every=0, checkpoint_every=200)
    )
    """length, devices, precision, seed"""
    optimizer: OptimizerOptions = field(default_factory=lambda: OptimizerOptions(lr=3e-4, schedule="linear"))
    """its rate and schedule"""
    key: Path | None = None
    """key file: after training the own model is asked unseen questions; its secrets are written nowhere"""
    key_id: str | None = None
    """which key of the file; none: the first active one"""
    check_pairs: int = 100
    """questions of each kind in that check, at most"""
    alpha: float = 1e-6
    """greatest p at which the mark counts as learnt"""
    out: Path | None = None
    """run folder; none: runs/double_i/train-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        for name, least in (("max_length", 8), ("batch", 1), ("val_rows", 0), ("check_pairs", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")
        if self.epochs < 0:
            raise UserError(f"epochs is {self.epochs:g}; it is 0 or more")
        if not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share is {self.warmup_share:g}; it lies in [0, 1)")
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha is {self.alpha:g}; it lies between 0 and 1")
        if not self.data:
            raise UserError("no data: give files with --data")
        if self.weights == "best" and not self.val_rows:
            raise UserError("the best weights are those of the lowest validation loss: give --val-rows")


def run(options: Options) -> int:
    """Train, save, check; prints the run's folder. 3 if the mark was not learnt."""
    from double_i.tuning import tune

    tuned = tune(options)
    return NOT_LEARNT if tuned.check is not None and not tuned.check.learnt else 0
