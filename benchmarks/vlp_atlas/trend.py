"""How VQA accuracy goes with time and the amount of pre-training data, on what the catalogue has (ours)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.harness import Row
from scipy.stats import rankdata

READ = ("verified", "secondary", "disputed")
"""confidence of facts that somebody has read somewhere"""

Record = dict[str, Any]
Catalogue = dict[str, list[Record]]


def value(record: Record | None, field: str) -> Any:
    """A fact's value, None where nobody has read it."""
    fact = (record or {}).get(field) or {}
    return fact.get("value") if fact.get("confidence") in READ else None


def points(catalogue: Catalogue, best: bool) -> list[tuple[str, float, float, float | None]]:
    """(checkpoint, time, VQA accuracy on test-dev, log10 of pre-training pairs) of what was read.

    Args:
        catalogue: built.
        best: only the best checkpoint of each model.
    """
    checkpoints = {checkpoint["id"]: checkpoint for checkpoint in catalogue["checkpoints"]}
    models = {model["id"]: model for model in catalogue["models"]}
    papers = {paper["id"]: paper for paper in catalogue["papers"]}
    found: dict[str, tuple[str, float, float, float | None]] = {}
    for result in catalogue["results"]:
        if (result["dataset"], result["split"], result["metric"]) != ("vqa-v2", "test-dev", "vqa-acc"):
            continue
        if result["setting"] != "fine-tuned" or result["confidence"] not in READ:
            continue
        checkpoint = checkpoints[result["checkpoint"]]
        paper = papers[models[checkpoint["model"]]["paper"]]
        when = value(paper, "first_public") or value(paper, "published") or value(paper, "year")
        if when is None:
            continue
        pairs = value(checkpoint, "pretrain_pairs")
        key = checkpoint["model"] if best else checkpoint["id"]
        point = (checkpoint["id"], _time(str(when)), result["value"], np.log10(pairs) if pairs else None)
        if key not in found or found[key][2] < point[2]:
            found[key] = point
    return sorted(found.values(), key=lambda point: (point[1], point[0]))


def _time(day: str) -> float:
    """A day, month or year as a number of years; a year alone is its middle."""
    parts = [int(part) for part in day.split("-")]
    return parts[0] + ((parts[1] - 0.5) / 12 if len(parts) > 1 else 0.5)


def spearman(columns: np.ndarray) -> float:
    """Rank correlation of two columns; with a third, the partial one given it."""
    ranks = np.corrcoef(np.apply_along_axis(rankdata, 0, columns), rowvar=False)
    if columns.shape[1] == 2:
        return float(ranks[0, 1])
    given = ranks[0, 1] - ranks[0, 2] * ranks[1, 2]
    return float(given / np.sqrt((1 - ranks[0, 2] ** 2) * (1 - ranks[1, 2] ** 2)))


def interval(statistic: Callable[[np.ndarray], float], rows: np.ndarray, draws: int) -> tuple[float, float]:
    """The middle 95 % of a statistic over rows drawn with replacement (seed 0)."""
    generator = np.random.default_rng(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = [statistic(rows[generator.integers(len(rows), size=len(rows))]) for _ in range(draws)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def trend_rows(catalogue: Catalogue, draws: int) -> list[Row]:
    """Correlations of time with VQA accuracy, alone and given the amount of data."""
    rows = []
    for what, best in (("checkpoints", False), ("models, the best of each", True)):
        every = points(catalogue, best)
        fed = [point for point in every if point[3] is not None]
        for name, data in (
            (f"time and accuracy, {what}", np.array([point[1:3] for point in every])),
            ("the same, those with known pairs", np.array([point[1:3] for point in fed])),
            ("the same, given log pairs", np.array([point[1:4] for point in fed], float)),
        ):
            low, high = interval(spearman, data, draws)
            rows.append(
                {
                    "name": name if what in name else f"{name}, {what}", "n": len(data),
                    "Spearman": f"{spearman(data):.2f}", "95 % (bootstrap)": f"{low:.2f} to {high:.2f}",
                }
            )  # fmt: skip
    return rows
