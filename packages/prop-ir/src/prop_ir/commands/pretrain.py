"""Pre-train a re-ranker with representative words."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.options import MaskOptions, ReadOptions, SamplerOptions, WordOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pre-train a re-ranker on documents alone: word sets of their language models, and masked words.

    Give a store of `prepare`, or the collection itself, which is then prepared inside the run's folder.
    """

    init: str
    """folder or hub name of the encoder to start from"""
    store: Path | None = None
    """store of `prepare`"""
    corpus: tuple[Path, ...] = ()
    """collection instead of a store: files, folders or ir_datasets:NAME"""
    out: Path | None = None
    """run folder; none: runs/prop_ir/pretrain-TIME"""
    resume: Path | None = None
    """run folder to go on with; give the same options"""
    pairs: int = 5
    """pairs of word sets of each document in an epoch"""
    max_length: int = 512
    """pieces of word set and document together, special ones included; longer documents are cut"""
    batch: int = 32
    """pairs a batch, over all devices"""
    loss: Literal["softmax_hinge", "hinge", "logistic"] = "softmax_hinge"
    """of d = score of the likelier set - score of the other; softmax_hinge: 2 sigmoid(-d), the released
    code's; hinge: max(0, 1 - d), the paper's; logistic: log(1 + exp(-d))"""
    rop_weight: float = 1.0
    """weight of the preference between word sets; 0: masked words alone, an ablation"""
    mlm_weight: float = 1.0
    """weight of the masked-word loss; 0: without"""
    head: Literal["keep", "new"] = "keep"
    """the ranking head; keep: pooler and classifier of the model, what it lacks is drawn; new: drawn anew,
    for models whose pooler was never trained"""
    head_rate: float = 1.0
    """factor of the learning rate for ranking and masked-word head"""
    freeze_embeddings: bool = False
    """leave the word embeddings as they are"""
    val_share: float = 0.01
    """share of the documents kept for validation, at most 2,000"""
    weights: Literal["last", "best"] = "last"
    """which are saved as the model: those of the last step, or of the lowest validation loss"""
    warmup_share: float = 0.1
    """share of the steps in which the learning rate rises, unless optimizer.warmup says how many"""
    bert_adam: bool = False
    """the released code's optimiser: no bias correction, each gradient clipped to norm 1 by itself"""
    terms: Path | None = None
    """weights of `bprop-attn`, for sampler.sampler bprop"""
    sampler: SamplerOptions = field(default_factory=SamplerOptions)
    """how word sets are drawn"""
    masks: MaskOptions = field(default_factory=MaskOptions)
    """which words of the document are masked"""
    read: ReadOptions = field(default_factory=ReadOptions)
    """how the collection is read, with --corpus"""
    words: WordOptions = field(default_factory=WordOptions)
    """words of the language model, with --corpus"""
    trainer: TrainerOptions = field(
        default_factory=lambda: TrainerOptions(steps=100_000, clip=1.0, validate_every=5000)
    )
    """length, devices, precision"""
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=2e-5, weight_decay=0.01, eps=1e-6, schedule="linear")
    )
    """AdamW at 2e-5 with linear decay is the released code's, but for BertAdam's lack of bias correction"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        for name in ("pairs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is 1 or more")
        if not 0 <= self.val_share < 1:
            raise UserError(f"val_share is {self.val_share:g}; the share kept for validation lies in [0, 1)")
        if not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share is {self.warmup_share:g}; it lies in [0, 1)")
        for name in ("rop_weight", "mlm_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name):g}; it is 0 or more")
        if not self.head_rate > 0:
            raise UserError(f"head_rate is {self.head_rate:g}; it is positive")
        if self.bert_adam and self.optimizer.name != "adamw":
            raise UserError("bert_adam takes the place of adamw: leave optimizer.name at adamw")
        if (self.sampler.sampler == "bprop") != (self.terms is not None):
            raise UserError("--sampler.sampler bprop and --terms WEIGHTS (of bprop-attn) go together")


def run(options: Options) -> int:
    """Pre-train, save the model, draw the page, and say how well held-out pairs are told apart."""
    from prop_ir.pretraining import pretrain

    pretrain(options)
    return 0
