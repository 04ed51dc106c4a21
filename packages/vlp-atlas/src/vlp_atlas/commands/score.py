"""The verb `score`: your predictions, scored as the catalogue says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score predictions against gold: prints each metric with its value, the number of items, its convention.

    Missing, extra and repeated ids are counted. A missing prediction is an error unless --missing zero says
    that it scores nothing.
    """

    task: str = field(metadata={"positional": True})
    """task of the catalogue, such as vqa, doc-vqa, nlvr2, snli-ve, captioning, image-text-retrieval,
    referring-expressions or sentiment; or `accuracy` for any labels"""
    pred: Path
    """predictions: JSON or JSON lines, records or {id: value}; for retrieval a .npy or JSON matrix of
    similarities, images by texts"""
    gold: Path
    """the truth, in the data set's own format or as {id: value}; for retrieval a list: each text's image"""
    missing: Literal["error", "zero"] = "error"
    """what a missing prediction is"""
    convention: str | None = None
    """a metric's convention, such as official-2015 or fixed for vqa; see vlp-atlas metric NAME"""
    require: tuple[str, ...] = ()
    """metrics that must be computed: exit code 3 if one cannot be, such as spice without Java"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print the scores; 3 if a required metric could not be computed."""
    from vlp_atlas.scoring import report, score

    scores = score(
        options.task, options.pred, options.gold, missing=options.missing, convention=options.convention
    )
    return report(scores, require=options.require, as_json=options.json)
