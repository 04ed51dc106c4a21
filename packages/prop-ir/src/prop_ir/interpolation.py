"""First-stage and model scores in one: normalised query by query, and added with a weight (ours).

The weight is that of the first stage: 0 is the model alone, 1 the first stage's order. It is tuned on
training queries; nothing here looks at others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.ranking import score_run
from prop_ir.runs import steps_down

Normalise = Literal["z", "min-max"]
Scores = Mapping[str, Mapping[str, float]]  # query -> document -> score

GRID = tuple(step / 20 for step in range(21))
"""weights that are tried"""
STEP = 2.0**-22
"""relative; run files write equal scores with steps of a 32-bit float between them"""


def normalised(scores: NDArray[np.float64], how: Normalise = "z") -> NDArray[np.float64]:
    """Scores of one query's candidates on a common scale.

    Args:
        scores: (n,) any finite numbers.
        how: z: mean 0 and standard deviation 1; min-max: from 0 to 1.

    Returns:
        (n,); zeros where all scores are equal, or differ by what a run file puts between equal ones.
    """
    if len(scores) == 0:
        return scores
    shift, scale = (scores.mean(), scores.std()) if how == "z" else (scores.min(), np.ptp(scores))
    if scale <= STEP * len(scores) * float(np.abs(scores).max()):
        return np.zeros(len(scores))
    return (scores - shift) / scale


def mixed(
    first: Mapping[str, float], model: Mapping[str, float], weight: float, how: Normalise = "z"
) -> dict[str, float]:
    """Weighted sums for the documents that the model scored.

    Args:
        first: document -> first-stage score, of these documents at least.
        model: document -> model's score.
        weight: of the first stage, 0..1; the model has the rest.
        how: see `normalised`.

    Returns:
        document -> score, in the order of `model`. With weight 0 the model's own scores.
    """
    if not 0 <= weight <= 1:
        raise UserError(f"the weight of the first stage is {weight:g}; it lies in [0, 1]")
    if weight == 0:
        return dict(model)
    b = normalised(np.array([first[name] for name in model], np.float64), how)
    s = normalised(np.array(list(model.values()), np.float64), how)
    return dict(zip(model, (weight * b + (1 - weight) * s).tolist(), strict=True))


def tuned_weight(
    first: Scores,
    model: Scores,
    qrels: Mapping[str, Mapping[str, int]],
    queries: Iterable[str],
    *,
    metric: str,
    how: Normalise = "z",
    grid: Sequence[float] = GRID,
) -> float:
    """The weight of the first stage that is best on some queries.

    Args:
        first: first-stage scores.
        model: the model's, of re-ranked documents.
        qrels: judgements.
        queries: which to look at: training queries, those with judgements and model scores count.
        metric: what is best, such as nDCG@20.
        how: see `normalised`.
        grid: weights that are tried.

    Returns:
        The one with the highest mean; of equal ones the nearest to 1/2. Without any query 1/2.
    """
    chosen = [query for query in queries if query in qrels and query in model]
    if not chosen:
        return 0.5
    best, best_weight = -1.0, 0.5
    for weight in sorted(grid, key=lambda weight: (abs(weight - 0.5), weight)):
        value = mean_of(first, model, qrels, chosen, weight, metric, how)
        if value > best + 1e-12:
            best, best_weight = value, weight
    return best_weight


def mean_of(
    first: Scores,
    model: Scores,
    qrels: Mapping[str, Mapping[str, int]],
    queries: Sequence[str],
    weight: float,
    metric: str,
    how: Normalise = "z",
) -> float:
    """The mean of a metric over judged queries with one weight; ties keep the order of `model`."""
    run = {
        query: {name: float(score) for name, score in steps_down(scores).items()}
        for query, scores in ((query, mixed(first[query], model[query], weight, how)) for query in queries)
    }
    judged = {query: qrels[query] for query in queries}
    return float(np.mean(list(score_run(judged, run, [metric])[metric].values())))
