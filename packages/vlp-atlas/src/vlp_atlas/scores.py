"""What scoring gives, and what scorers share: choosing a convention, reading files, pairing them (ours)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.errors import UserError
from vlp_atlas import score_files

Missing = Literal["error", "zero"]


class Score(NamedTuple):
    """A number, or why there is none.

    Attributes:
        metric: id in the catalogue.
        value: None if it could not be computed.
        unit: percent, x100, metres or none, as the catalogue writes the metric's results.
        n: items it is of.
        convention: how it was computed.
        note: what a reader must know; for no value, why.
    """

    metric: str
    value: float | None
    unit: str
    n: int
    convention: str
    note: str = ""


@dataclass
class Scores:
    """The scores of one file of predictions, and what was odd about it."""

    task: str
    scores: list[Score] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    graph: Path | None = None
    """viewpoints of houses, which navigation needs"""

    def add(
        self, metric: str, value: float, n: int, convention: str, unit: str = "percent", note: str = ""
    ) -> None:
        """Add a number; a fraction is written in percent."""
        shown = 100 * value if unit in ("percent", "x100") else value
        self.scores.append(Score(metric, float(shown), unit, n, convention, note))

    def skip(self, metric: str, unit: str, why: str) -> None:
        """Add a line that says why there is no number."""
        self.scores.append(Score(metric, None, unit, 0, "", f"skipped: {why}"))


def choice(convention: str | None, known: Sequence[str]) -> str:
    """The convention that was asked for, or the first.

    Raises:
        UserError: it is not known.
    """
    if convention is None:
        return known[0]
    if convention not in known:
        raise UserError(f"--convention {convention}: there are {', '.join(known)}")
    return convention


def predictions(found: Scores, pred: Path) -> dict[str, str]:
    """Predicted texts, counted."""
    told = score_files.predicted_texts(pred)
    found.counts |= {"predictions": len(told.values), "numeric": told.numbers, "empty": told.empty}
    return told.values


def paired(
    found: Scores, pred: Path, gold: Path, missing: Missing
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Predictions, truth, and the ids to score; a missing one is among them only if it may be missing."""
    predicted, truth = score_files.values(pred), score_files.values(gold)
    return predicted, truth, matched(found, predicted, truth, missing)


def matched(
    found: Scores, predicted: Mapping[str, Any], truth: Mapping[str, Any], missing: Missing
) -> list[str]:
    """The ids to score, and counts of what is missing or too many."""
    from nonet.metrics.predictions import align

    aligned = align(predicted, truth, missing=missing)
    found.counts |= {
        "predictions": len(predicted), "missing": len(aligned.missing), "extra": len(aligned.extra),
    }  # fmt: skip
    return list(truth) if missing == "zero" else aligned.ids


def matrix(path: Path) -> Any:
    """Similarities, images by texts, of a .npy or JSON file."""
    import numpy

    try:
        if path.suffix == ".npy":
            return numpy.load(path, allow_pickle=False)
        return numpy.asarray(score_files.read(path), dtype=numpy.float64)
    except UserError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{path}: no matrix of numbers: {error}") from None
