"""Fine-tuning fold by fold: k models, each tested on queries new to it (spec: PROP, section 2.7)."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import distributed

from nonet.files import write_json
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.finetuning import Tuned, finetune, training_choices
from prop_ir.folds import Fold, draw, hold_out
from prop_ir.groups import Task
from prop_ir.interpolation import Normalise
from prop_ir.model import load_ranker
from prop_ir.rerank_options import ScoreOptions, TuneOptions
from prop_ir.runs import Run, read_run, write_run


@dataclass(frozen=True)
class Plan:
    """What the fine-tunings of all folds have in common."""

    model: str
    """folder or hub name that each starts from"""
    head: Literal["keep", "new"]
    task: Task
    metric: str
    tune: TuneOptions
    score: ScoreOptions
    trainer: TrainerOptions
    optimizer: OptimizerOptions
    normalise: Normalise = "z"
    train_queries: int | None = None
    """training queries of each fold, drawn by the trainer's seed; None: all"""

    def sides(self, fold: Fold) -> tuple[list[str], list[str]]:
        """Training and held-out queries of a fold; where it names the latter, the draw leaves them alone."""
        seed = self.trainer.seed
        drawn = draw(fold.train, self.train_queries, seed)
        if fold.val is not None:
            return drawn, list(fold.val)
        return hold_out(drawn, self.tune.hold_out, seed)

    def drawn(self, count: int | None, seed: int) -> "Plan":
        """The same with another number of training queries, and another seed of draws and training."""
        return replace(self, train_queries=count, trainer=replace(self.trainer, seed=seed))

    def check(self, folds: Sequence[Fold]) -> None:
        """Refuse folds whose training queries make no group, before anything is trained.

        Raises:
            UserError: see `finetuning.training_choices`.
        """
        for fold in folds:
            training_choices(self.task, self.sides(fold)[0], self.tune, self.score)

    def start(self) -> tuple[Any, Any]:
        """The ranker that every fold begins with, and its tokenizer."""
        return load_ranker(self.model, head=self.head, seed=self.trainer.seed, say=lambda _: None)

    def tuned(self, fold: Fold, *, folder: Path | None = None) -> tuple[Tuned, Any]:
        """Fine-tune on a fold; the result, and the tokenizer."""
        train, val = self.sides(fold)
        ranker, tokenizer = self.start()
        result = finetune(
            ranker, tokenizer, self.task, train=train, val=val, test=fold.test, metric=self.metric,
            tune=self.tune, score=self.score, trainer=self.trainer, optimizer=self.optimizer,
            normalise=self.normalise, folder=folder,
        )  # fmt: skip
        return result, tokenizer


@dataclass(frozen=True)
class FoldResult:
    """What a fold came to."""

    run: Run
    """test queries by the model alone"""
    mixed: Run
    """by model and first stage together"""
    facts: dict[str, Any]
    """weight, metric before and after, steps, numbers of queries"""


def run_fold(
    plan: Plan,
    fold: Fold,
    folder: Path,
    *,
    first: str,
    writes: bool = True,
    save: Callable[[Any, Any, Path, Mapping[str, Any]], None],
) -> FoldResult:
    """Fine-tune on a fold in its folder, or read what is there of a finished one.

    The folder has `fold.json`, written last, both runs and `model/`; checkpoints are removed at the end.

    Args:
        plan: what to do.
        fold: the queries.
        folder: of this fold.
        first: name of the first stage.
        writes: whether this process does; of several only the first one.
        save: writes a ranker and its tokenizer as a folder, with the facts.
    """
    record = folder / "fold.json"
    runs = folder / "prop.trec", folder / f"prop+{first}.trec"
    if record.exists():
        facts = json.loads(record.read_text(encoding="utf-8"))
        pure, mixed = (read_run(path) if path.exists() else {} for path in runs)
        return FoldResult(pure, mixed, facts)
    train, val = plan.sides(fold)
    result, tokenizer = plan.tuned(fold, folder=folder)
    facts = {
        "weight of the first stage": result.weight,
        f"held-out {plan.metric} before": result.chosen.start,
        f"held-out {plan.metric} after": result.chosen.best,
        "steps behind the weights": result.chosen.step,
        "training queries": len(train),
        "held-out queries": len(val),
        "test queries": len(fold.test),
        "groups an epoch": result.groups,
        "training queries without groups": len(result.left_out),
    }
    if not writes:
        return FoldResult(result.run, result.mixed, facts)
    save(result.ranker, tokenizer, folder / "model", facts)
    for path, ranked in zip(runs, (result.run, result.mixed), strict=True):
        if ranked:
            write_run(path, ranked, "prop-ir")
    write_json(record, facts)
    if not (distributed.is_available() and distributed.is_initialized()):  # others may still read them
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return FoldResult(result.run, result.mixed, facts)
