"""What re-rankers reach with few judged queries: cells of a learning curve, their means and tests (ours).

A cell is a model, a number of training queries and a seed. Its values are those of all test queries: with
training, each query is ranked by the fold's model that has not seen it; with 0 queries, by the model itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.paired_tests import Paired, paired_t
from nonet.metrics.ranking import score_run
from nonet.metrics.stats import Interval, holm, mean_interval, t_interval
from prop_ir.cross_validation import Plan
from prop_ir.finetuning import Ranking
from prop_ir.folds import Fold
from prop_ir.reranking import arrange
from prop_ir.runs import Run
from prop_ir.scoring import Scorer

UNTUNED = 0.5
"""weight of the first stage where no query is judged to tune it on"""


@dataclass(frozen=True)
class Cell:
    """A point of a curve before it is averaged."""

    model: str
    """its name"""
    queries: int
    """judged queries that a fold's model was trained on, held-out ones included"""
    seed: int
    values: dict[str, dict[str, dict[str, float]]]
    """`prop` and `mixed` -> metric -> query -> value"""


@dataclass(frozen=True)
class Point:
    """A mean over test queries and seeds."""

    model: str
    queries: int
    metric: str
    ranking: str
    """`prop`: the model alone; `mixed`: with the first stage"""
    mean: float
    over_queries: Interval
    """bootstrap of the queries' means over seeds"""
    over_seeds: Interval | None
    """Student's interval of the seeds' means; None with one seed"""
    seeds: int


@dataclass(frozen=True)
class Contrast:
    """A model against the first one, with the same training queries."""

    model: str
    against: str
    queries: int
    test: Paired
    p_holm: float
    """corrected for all tests of the metric"""


def fold_runs(plan: Plan, fold: Fold, count: int | None, seed: int) -> tuple[Run, Run]:
    """Both runs of a fold's test queries after fine-tuning on `count` queries; None: on all."""
    result, _ = plan.drawn(count, seed).tuned(fold)
    return result.run, result.mixed


def zero_shot_runs(plan: Plan, test: Sequence[str], seed: int) -> tuple[Run, Run]:
    """Both runs of test queries without training; a head that the model lacks is drawn by the seed."""
    ranker, tokenizer = plan.drawn(0, seed).start()
    score = plan.score
    scorer = Scorer(
        ranker, tokenizer, max_length=score.max_length, batch=score.batch, device=score.device,
        precision=score.precision,
    )  # fmt: skip
    scores = Ranking(scorer, plan.task, score).scores(test)
    first = {query: plan.task.run.get(query, {}) for query in scores}
    return arrange(first, scores), arrange(first, scores, weight=UNTUNED, how=plan.normalise)


def values_of(
    qrels: Mapping[str, Mapping[str, int]], test: Sequence[str], runs: tuple[Run, Run], metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Every metric of test queries, by the model alone and with the first stage."""
    judged = {query: qrels[query] for query in test}
    return {name: score_run(judged, run, metrics) for name, run in zip(("prop", "mixed"), runs, strict=True)}


def points(cells: Sequence[Cell], metrics: Sequence[str], *, seed: int = 0) -> list[Point]:
    """Means and intervals, by model and number of queries."""
    found = []
    for (model, queries), group in _by_setting(cells).items():
        for ranking in ("prop", "mixed"):
            for metric in metrics:
                table = _table(group, ranking, metric)
                seeds = table.mean(1)
                over_queries = mean_interval(table.mean(0), seed, resamples=10_000)
                over_seeds = t_interval(seeds) if len(seeds) > 1 else None
                mean = float(table.mean())
                found.append(
                    Point(model, queries, metric, ranking, mean, over_queries, over_seeds, len(seeds))
                )
    return found


def contrasts(cells: Sequence[Cell], metric: str, *, ranking: str = "prop") -> list[Contrast]:
    """Every later model against the first one, at every number of queries, on means over the seeds of both.

    Raises:
        UserError: two cells are of other queries.
    """
    groups = _by_setting(cells)
    models = list(dict.fromkeys(cell.model for cell in cells))
    sizes = sorted({cell.queries for cell in cells})
    found = []
    for model in models[1:]:
        for queries in sizes:
            mine, first = groups.get((model, queries)), groups.get((models[0], queries))
            if mine and first:
                sides = [_table(group, ranking, metric).mean(0) for group in (mine, first)]
                if len(sides[0]) != len(sides[1]):
                    raise UserError(f"cells of {model} and {models[0]} were tested on other queries")
                if len(sides[0]) > 1:
                    found.append((model, queries, paired_t(*sides)))
    corrected = holm([test.p for *_, test in found]).tolist()
    return [
        Contrast(model, models[0], queries, test, p)
        for (model, queries, test), p in zip(found, corrected, strict=True)
    ]


def sizes_of(wanted: Sequence[int | str], pool: int) -> tuple[dict[int, int | None], list[str]]:
    """Numbers of training queries, and what there is to say about them.

    Args:
        wanted: numbers from 0, or `all`.
        pool: training queries of the smallest fold.

    Returns:
        Shown number -> number to draw, None for all; and notes on numbers beyond the pool.
    """
    found: dict[int, int | None] = {}
    notes = []
    for count in wanted:
        if not isinstance(count, str) and count < pool:
            found.setdefault(count, count)
            continue
        found[pool] = None
        if not isinstance(count, str):
            notes.append(f"{count} training queries are all that a fold has: {pool}")
    return dict(sorted(found.items())), notes


def named_models(words: Sequence[str]) -> dict[str, str]:
    """NAME=MODEL pairs; a model without a name is called like its folder, or the one above `model`.

    Raises:
        UserError: two models have one name.
    """
    found: dict[str, str] = {}
    for word in words:
        name, sign, model = word.partition("=")
        if not sign:
            parts = [part for part in Path(word).parts if part not in ("model", ".", "/")] or [word]
            name, model = parts[-1], word
        if not name or not model:
            raise UserError(f"models has {word!r}; a model is FOLDER or NAME=FOLDER")
        if name in found:
            raise UserError(f"two models are called {name!r}: give them names, as in NAME=FOLDER")
        found[name] = model
    return found


def _by_setting(cells: Sequence[Cell]) -> dict[tuple[str, int], list[Cell]]:
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.model, cell.queries), []).append(cell)
    return found


def _table(cells: Sequence[Cell], ranking: str, metric: str) -> NDArray[np.float64]:
    """(seeds, queries) values; the queries in the order of the first cell."""
    order = list(cells[0].values[ranking][metric])
    rows: Iterator[list[float]] = ([cell.values[ranking][metric][query] for query in order] for cell in cells)
    return np.array(list(rows))
