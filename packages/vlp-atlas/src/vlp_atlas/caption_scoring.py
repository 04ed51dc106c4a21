"""Scores captions with the functions that the catalogue names as its metrics' `impl` (ours).

Such a function takes captions by image and references by image, and gives a number, or something with it as
`score`. One that refuses its input, as CIDEr does with a single image, leaves the others alone.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from nonet.metrics.predictions import align

if TYPE_CHECKING:
    from vlp_atlas.scores import Missing, Scores

METRICS = ("bleu-4", "rouge-l", "cider-d", "meteor-py")


def caption_scores(
    found: "Scores",
    predicted: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    missing: "Missing",
) -> None:
    """Add the scores of captions; a missing one is an empty caption where it may be missing.

    Args:
        found: where scores and counts go.
        predicted: image -> caption.
        references: image -> captions of people.
        missing: whether a missing prediction is an error.

    Raises:
        UserError: predictions are missing, or no metric could be computed.
    """
    from vlp_atlas import Atlas
    from vlp_atlas.scores import Score
    from vlp_atlas.scoring import JAVA

    aligned = align(predicted, references, missing=missing)
    found.counts |= {"missing": len(aligned.missing), "extra": len(aligned.extra)}
    captions = {image: predicted.get(image, "") for image in references}
    atlas = Atlas.load()
    refused = ""
    for metric in METRICS:
        record = atlas.get("metrics", metric)
        convention = next(iter(record.get("conventions", {})), "")
        try:
            value = number(implementation(record)(captions, references))
        except UserError as error:
            refused = refused or f"{metric}: {error}"
            found.scores.append(Score(metric, None, record["unit"], 0, convention, f"skipped: {error}"))
        else:
            found.add(metric, value, len(references), convention, record["unit"])
    if all(score.value is None for score in found.scores):
        raise UserError(refused)
    for metric in JAVA:
        unit = atlas.get("metrics", metric)["unit"]
        found.scores.append(Score(metric, None, unit, 0, "", "skipped: needs Java"))


def implementation(record: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that a metric's record names."""
    module, _, name = str(record["impl"]).rpartition(".")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def number(told: Any) -> float:
    """What a metric gives, as a number."""
    return float(getattr(told, "score", told))
