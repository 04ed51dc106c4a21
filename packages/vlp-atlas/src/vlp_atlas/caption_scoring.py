"""Scores captions with the functions that the catalogue names as its metrics' `impl` (ours).

Such a function takes captions by image and references by image, and gives a number, or something with it as
`score`. One that refuses its input, as CIDEr does with a single image, leaves the others alone. Captions
under four words are counted, and noted beside the metrics that look for four words in a row.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError
from nonet.metrics.predictions import align

if TYPE_CHECKING:
    from vlp_atlas.scores import Missing, Scores

METRICS = ("bleu-4", "rouge-l", "cider-d", "meteor-py")
OF_FOUR_WORDS = ("bleu-4", "cider-d")
"""metrics that look at four words in a row; a shorter caption has none, which counts as 0 there"""


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
    from nonet.metrics.caption_tokens import tokens
    from vlp_atlas import Atlas
    from vlp_atlas.scores import Score
    from vlp_atlas.scoring import JAVA

    aligned = align(predicted, references, missing=missing)
    found.counts |= {"missing": len(aligned.missing), "extra": len(aligned.extra)}
    captions = {image: predicted.get(image, "") for image in references}
    short = sum(len(tokens(caption)) < 4 for caption in captions.values())
    found.counts["under 4 words"] = short
    what = "1 caption has" if short == 1 else f"{short} captions have"
    brief = f"{what} under 4 words: no four in a row, which counts as 0" if short else ""
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
            note = brief if metric in OF_FOUR_WORDS else ""
            found.add(metric, value, len(references), convention, record["unit"], note)
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
