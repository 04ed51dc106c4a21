"""Runs scored on the same judged queries, with intervals, and compared with paired tests (ours).

All judged queries count, as with `trec_eval -c`; numbers of cross-validation are means over the test queries
of all folds together, not means of folds. Sources of the statistics: `nonet.metrics.stats` and
`nonet.metrics.paired_tests`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.paired_tests import Correction, adjusted, paired_t
from nonet.metrics.ranking import METRICS, in_order, parse_metric, score_run
from nonet.metrics.stats import Interval, column_intervals, mean_interval, paired_permutation
from prop_ir.qrels import Qrels
from prop_ir.runs import Run

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """The values of several runs on the same queries."""

    queries: list[str]
    metrics: list[str]
    values: dict[str, dict[str, Floats]]
    """run -> metric -> (queries,) values"""
    means: dict[str, dict[str, Interval]]
    """run -> metric -> mean with its bootstrap interval"""
    level: float
    """of the intervals"""
    notes: list[str] = field(default_factory=list)
    """what a reader should know before believing the numbers"""


@dataclass(frozen=True)
class Comparison:
    """One run against another by one metric."""

    metric: str
    run: str
    against: str
    difference: float
    """mean of run - against"""
    low: float
    high: float
    """bootstrap interval of the difference"""
    wins: int
    """queries on which the run is better"""
    ties: int
    losses: int
    t: float
    p: float
    """two-sided, of the paired t-test"""
    p_corrected: float
    """corrected for the number of pairs of runs"""
    p_randomisation: float
    """of the randomisation test, not corrected"""


def evaluate(
    qrels: Qrels,
    runs: Mapping[str, Run],
    metrics: Sequence[str],
    *,
    queries: Iterable[str] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score runs.

    Args:
        qrels: the judgements.
        runs: by name.
        metrics: names that `nonet.metrics.ranking` knows.
        queries: the queries that count, such as those of all test folds; None: all judged ones. A run that
            has no results for one of them has 0 there.
        level: of the intervals.
        resamples: bootstrap samples of the intervals.
        seed: of the bootstrap.

    Raises:
        UserError: no query is left, an unknown metric, or a query that counts and is not judged.
    """
    chosen = list(qrels) if queries is None else list(dict.fromkeys(queries))
    unknown = [query for query in chosen if query not in qrels]
    if unknown:
        raise UserError(f"{len(unknown):,} queries to count are not judged, such as {unknown[0]}")
    if not chosen:
        raise UserError("no judged query is left to count")
    judged = {query: qrels[query] for query in chosen}
    values = {
        name: {metric: np.array(list(by_query.values())) for metric, by_query in scored.items()}
        for name, scored in ((name, score_run(judged, run, metrics)) for name, run in runs.items())
    }
    means = {}
    for name, columns in values.items():
        table = np.stack([columns[metric] for metric in metrics], axis=1)
        means[name] = dict(zip(metrics, column_intervals(table, seed, level, resamples), strict=True))
    return Evaluation(chosen, list(metrics), values, means, level, list(_notes(judged, qrels, runs)))


def compare(
    evaluation: Evaluation,
    *,
    baseline: str | None = None,
    correction: Correction = "holm",
    resamples: int = 10_000,
    seed: int = 0,
) -> Iterator[Comparison]:
    """Compare runs pair by pair: every pair, or each run with one.

    P-values are corrected for the number of pairs, for each metric by itself.

    Args:
        evaluation: of at least two queries; of fewer there is no test.
        baseline: compare with this run alone.
        correction: of the t-test's p-values.
        resamples: sign patterns of the randomisation test, and bootstrap samples of the interval.
        seed: of both.

    Yields:
        The comparisons of a metric together; each later run against an earlier one, or against the baseline.
    """
    names = list(evaluation.values)
    if baseline is None:
        pairs = [(run, against) for against, run in combinations(names, 2)]
    else:
        pairs = [(run, baseline) for run in names if run != baseline]
    if len(evaluation.queries) < 2:
        return
    for metric in evaluation.metrics:
        sides = [(evaluation.values[a][metric], evaluation.values[b][metric]) for a, b in pairs]
        tests = [paired_t(a, b) for a, b in sides]
        corrected = adjusted([test.p for test in tests], correction).tolist()
        for (run, against), (a, b), test, p in zip(pairs, sides, tests, corrected, strict=True):
            interval = mean_interval(a - b, seed, evaluation.level, resamples)
            yield Comparison(
                metric, run, against, test.difference, interval.low, interval.high, test.wins, test.ties,
                test.losses, test.t, test.p, p, paired_permutation(a, b, seed, resamples),
            )  # fmt: skip


def conventions(metrics: Sequence[str]) -> list[str]:
    """How the metrics are computed, a line for each kind."""
    kinds = dict.fromkeys(parse_metric(metric).kind for metric in metrics)
    origin = {"nDCG": " (trec_eval's ndcg)", "nDCG-exp": " (gdeval's)"}
    return [f"{kind}: {METRICS[kind]}{origin.get(kind, '')}" for kind in kinds]


def run_names(paths: Sequence[Path]) -> list[str]:
    """Names for run files: what tells them apart.

    Raises:
        UserError: a file is given twice.
    """
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"{twice} is given twice; a run is compared with others")
    short = [path.name.removesuffix(".gz").removesuffix(".zst") for path in paths]
    short = [name.rpartition(".")[0] or name for name in short]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def per_query(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A row for each query and run: `query`, `run`, and a value for each metric."""
    return [
        {"query": query, "run": name}
        | {metric: float(columns[metric][place]) for metric in evaluation.metrics}
        for place, query in enumerate(evaluation.queries)
        for name, columns in evaluation.values.items()
    ]


def _notes(judged: Qrels, qrels: Qrels, runs: Mapping[str, Run]) -> Iterator[str]:
    if len(judged) < len(qrels):
        yield f"{len(judged):,} of the {len(qrels):,} judged queries count"
    empty = sum(not any(grade > 0 for grade in grades.values()) for grades in judged.values())
    if empty:
        yield f"{_queries(empty)} without a relevant document, counted as 0 as in trec_eval"
    for name, run in runs.items():
        absent = sum(not run.get(query) for query in judged)
        if absent:
            yield f"{name}: {_queries(absent)} without results, counted as 0 (trec_eval -c)"
        others = sum(query not in qrels for query in run)
        if others:
            yield f"{name}: {_queries(others)} without judgements, left out"
        tied = sum(_other_order(run[query]) for query in judged if query in run)
        if tied:
            yield (
                f"{name}: equal scores in {_queries(tied)}; such documents are ranked by their ids, as in "
                "trec_eval, not by the rank column"
            )


def _other_order(documents: Mapping[str, float]) -> bool:
    """Whether trec_eval breaks ties in another way than the order of the run does."""
    return sorted(documents, key=lambda name: -documents[name]) != in_order(documents)


def _queries(count: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'}"
