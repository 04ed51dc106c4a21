"""Fine-tuning of one ranker on judged queries, and what it makes of test queries (spec: PROP, section 2.7).

Depth of candidates, held-out queries and the metric that chooses the weights are ours: the released code
leaves them open. The starting weights compete, too: where no validation is better, they stay.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.errors import UserError
from nonet.metrics.ranking import score_run
from nonet.training.data import StepData
from nonet.training.devices import pick_device
from nonet.training.options import OptimizerOptions, TrainerOptions
from prop_ir.finetune_module import RankerModule
from prop_ir.fitting import Chosen, fit
from prop_ir.groups import Choice, GroupCollate, GroupData, Task, choices
from prop_ir.interpolation import Normalise, tuned_weight
from prop_ir.rerank_options import OPTIMIZER, TRAINER, ScoreOptions, TuneOptions
from prop_ir.reranking import arrange, score_candidates
from prop_ir.runs import Run
from prop_ir.scoring import Scorer

AT_ONCE = 64
"""validation queries that are scored together, so that their pairs share batches by length"""
FEW = 10
"""with fewer held-out queries the weight of the first stage is tuned on all training queries"""


@dataclass(frozen=True)
class Tuned:
    """What came out of one fine-tuning."""

    ranker: Any
    """the model with the chosen weights, in evaluation mode; it is the one that was given"""
    scores: Run
    """the model's scores of the test queries' candidates"""
    run: Run
    """the test queries by the model alone"""
    mixed: Run
    """the test queries by model and first stage together"""
    weight: float
    """of the first stage in `mixed`"""
    chosen: Chosen
    """the validated metric before and after, and the steps behind the weights"""
    groups: int
    """training examples of an epoch"""
    left_out: tuple[str, ...]
    """training queries without a relevant or without another candidate"""


class Ranking:
    """A model's scores and metrics on the queries of a task.

    Args:
        scorer: the model.
        task: queries, documents, first stage, judgements.
        options: depth and passages.
    """

    def __init__(self, scorer: Scorer, task: Task, options: ScoreOptions) -> None:
        self.scorer, self.task, self.options = scorer, task, options

    def scores(self, queries: Iterable[str], advance: Any = None) -> Run:
        """The model's scores of these queries' candidates; queries without candidates have none."""
        task = self.task
        chosen = {q: task.run.get(q, {}) for q in dict.fromkeys(queries) if q in task.queries}
        return score_candidates(
            self.scorer, task.queries, task.documents, chosen, self.options, advance=advance
        )

    def values(self, queries: Sequence[str], metric: str) -> list[float]:
        """The metric of each of these judged queries by the model alone."""
        run = arrange({q: self.task.run.get(q, {}) for q in queries}, self.scores(queries))
        return list(score_run({q: self.task.qrels[q] for q in queries}, run, [metric])[metric].values())


def finetune(
    ranker: Any,
    tokenizer: Any,
    task: Task,
    *,
    train: Sequence[str],
    val: Sequence[str] = (),
    test: Sequence[str] = (),
    metric: str = "nDCG@20",
    tune: TuneOptions | None = None,
    score: ScoreOptions | None = None,
    trainer: TrainerOptions | None = None,
    optimizer: OptimizerOptions | None = None,
    normalise: Normalise = "z",
    folder: Path | None = None,
) -> Tuned:
    """Train a ranker on some queries, keep its best weights, and rank others.

    Args:
        ranker: a model of transformers with one label; it is changed.
        tokenizer: its tokenizer.
        task: queries, documents, first stage and judgements.
        train: queries to learn from.
        val: held-out training queries; those weights are kept that are best on them. None: the last ones.
        test: queries to rank; their judgements are not looked at.
        metric: what is best.
        tune: loss, groups, batch, what is trained; `hold_out` is the caller's.
        score: how candidates are scored; its `max_length` and `depth` hold for training, too, which reads
            the beginning of a document.
        trainer: steps, validations, seed.
        optimizer: and its schedule.
        normalise: of the scores that are added up.
        folder: where checkpoints and numbers go, and where an interrupted call goes on; None: neither is
            kept, and nothing is printed.

    Raises:
        UserError: no training query has both a relevant and another candidate; sizes that do not fit.
    """
    tune, score = tune or TuneOptions(), score or ScoreOptions()
    trainer, optimizer = trainer or TRAINER, optimizer or OPTIMIZER
    if trainer.strategy == "fsdp":
        raise UserError("fine-tuning shares no weights out: leave trainer.strategy at auto or ddp")
    found, without = training_choices(task, train, tune, score)
    device = pick_device(score.device)
    scorer = Scorer(
        ranker, tokenizer, max_length=score.max_length, batch=score.batch, device=device,
        precision=score.precision,
    )  # fmt: skip
    ranking = Ranking(scorer, task, score)
    judged = [query for query in val if query in task.queries and task.qrels.get(query)]
    data = GroupData(found, negatives=tune.negatives, each=tune.each, seed=trainer.seed)
    batches = RandomBatches(len(data), min(tune.groups, len(data)), trainer.seed)
    if tune.epochs:
        trainer = replace(trainer, steps=tune.epochs * batches.steps(0))
    if not optimizer.warmup:
        optimizer = replace(optimizer, warmup=round(tune.warmup_share * trainer.steps))

    module = RankerModule(
        ranker, loss=tune.loss, size=1 + tune.negatives, optimizer=optimizer,
        steps=trainer.steps, head_only=tune.train == "head", head_rate=tune.head_rate, metric=metric,
        validate=lambda numbers: ranking.values([judged[number] for number in numbers], metric),
    )  # fmt: skip
    step_data = StepData(
        data, batches, GroupCollate(task, scorer.template, max_length=score.max_length, pad=scorer.pad),
        *((Numbers(len(judged)), OrderedBatches(len(judged), AT_ONCE)) if judged else ()),
        val_collate=torch.tensor, workers=trainer.workers,
    )  # fmt: skip
    chosen = fit(
        module, step_data, trainer, patience=tune.patience, folder=folder,
        validate=(lambda: float(np.mean(ranking.values(judged, metric)))) if judged else None,
        state={"loss": tune.loss, "negatives": tune.negatives, "train": tune.train},
    )  # fmt: skip
    ranker.requires_grad_(True).eval().to(device)

    known = judged if len(judged) >= FEW else [*judged, *(choice.query for choice in found)]
    scores = ranking.scores([*known, *test])
    weight = tuned_weight(task.run, scores, task.qrels, known, metric=metric, how=normalise)
    first = {query: task.run[query] for query in test if query in task.run}
    own = {query: scores[query] for query in first if query in scores}
    return Tuned(
        ranker, own, arrange(first, own), arrange(first, own, weight=weight, how=normalise), weight,
        chosen, len(data), tuple(without),
    )  # fmt: skip


def training_choices(
    task: Task, train: Sequence[str], tune: TuneOptions, score: ScoreOptions
) -> tuple[list[Choice], list[str]]:
    """What the groups of training queries are drawn from, and the queries that have none.

    Raises:
        UserError: no query has any.
    """
    found, without = choices(task, train, depth=score.depth, positives=tune.positives)
    if not found:
        raise UserError(
            f"none of the {len(train)} training queries has a relevant and another document among its first "
            f"{score.depth} candidates: judge more queries, or raise the depth"
        )
    return found, without


class Numbers:
    """The numbers 0..n-1 as a data set."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> int:
        return key[1]
