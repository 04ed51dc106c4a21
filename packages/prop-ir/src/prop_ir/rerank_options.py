"""Options that re-ranking and fine-tuning share; plain data, so that help loads no torch."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from nonet.errors import UserError
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.options import ReadOptions

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """The queries, their candidates, and where the candidates' texts are."""

    topics: Path
    """queries: lines of id and text with a tab, TREC topics, BEIR's queries.jsonl, or ir_datasets:NAME"""
    run: Path
    """candidates: a run file of six columns, such as BM25's, also .gz or .zst"""
    corpus: tuple[Path, ...]
    """collection with their texts: files, folders, globs, ir_datasets:NAME, or one store"""
    field: str = "title"
    """part of TREC topics: title, desc or narr; several joined by +, as in title+desc"""
    number_topics: Literal["file", "position"] = "file"
    """position: number the topics 1, 2, ..., as the judgements of Cranfield do"""
    read: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    """how the collection's files are read"""


@dataclass(frozen=True)
class ScoreOptions:
    """How a model scores candidates."""

    depth: int = 100
    """candidates of a query that are re-ranked, from the top; the others keep their order below them"""
    max_length: int = 512
    """word pieces of query and document together, special ones included"""
    batch: int = 32
    """pairs at once"""
    passages: Literal["first", "max"] = "first"
    """what of a document is read; first: its beginning, as much as fits (FirstP); max: windows of all of it,
    and the highest score counts (MaxP)"""
    window: int = 0
    """word pieces of a window; 0: as many as fit beside the query"""
    stride: int = 0
    """word pieces from one window's beginning to the next; 0: half a window"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on GPUs that have it, else fp32"""

    def __post_init__(self) -> None:
        for name in ("depth", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        for name in ("window", "stride"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it is 0 or more")
        if self.passages == "first" and (self.window or self.stride):
            raise UserError("window and stride belong to --passages max")
        if self.window and self.stride > self.window:
            raise UserError(f"a stride of {self.stride} leaves gaps between windows of {self.window} pieces")


@dataclass(frozen=True)
class TuneOptions:
    """How a ranker is fine-tuned on judged queries."""

    loss: Literal["cross-entropy", "hinge", "logistic"] = "cross-entropy"
    """cross-entropy: the positive against all of its group; hinge: each negative at least 1 below it;
    logistic: the same without an end, log(1 + exp(difference))"""
    negatives: int = 7
    """documents of a group beside the positive one, drawn from the candidates; unjudged ones count as
    negative"""
    positives: Literal["candidates", "judged"] = "candidates"
    """where relevant documents come from: among the candidates alone, or all that are judged"""
    each: Literal["positive", "query"] = "positive"
    """what has a group in every epoch: each positive document, or each query, whose positive is drawn"""
    groups: int = 8
    """groups a step"""
    epochs: int = 0
    """passes over all groups; 0: the trainer's number of steps"""
    hold_out: float = 0.2
    """share of the training queries that choose the best weights instead of training; 0: none, the last
    weights are kept"""
    patience: int = 0
    """stop after so many validations that were no better; 0: never"""
    train: Literal["all", "head"] = "all"
    """what changes: all weights, or those between the encoder and the score alone"""
    head_rate: float = 1.0
    """factor of the learning rate for the ranking head"""
    warmup_share: float = 0.1
    """share of the steps in which the learning rate rises, unless optimizer.warmup says how many"""

    def __post_init__(self) -> None:
        for name in ("negatives", "groups"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        for name in ("epochs", "patience"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it is 0 or more")
        if not 0 <= self.hold_out < 1:
            raise UserError(f"hold_out is {self.hold_out:g}; it is 0 or more, and below 1")
        if not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share is {self.warmup_share:g}; it is 0 or more, and below 1")
        if not self.head_rate > 0:
            raise UserError(f"head_rate is {self.head_rate:g}; it is positive")


TRAINER = TrainerOptions(steps=200, validate_every=20, checkpoint_every=100, devices=1, clip=1.0)
"""length of a fine-tuning unless told otherwise"""
OPTIMIZER = OptimizerOptions(lr=3e-5, weight_decay=0.01, schedule="linear")
"""its optimiser"""


def part(options: object, kind: type[T]) -> T:
    """The fields of `kind` out of a verb's options that inherit from it; checked again by its own rules."""
    return kind(**{each.name: getattr(options, each.name) for each in dataclasses.fields(kind)})  # type: ignore[arg-type]
