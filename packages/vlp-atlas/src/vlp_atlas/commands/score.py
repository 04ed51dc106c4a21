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
    """any task of the catalogue but text-to-image and multimodal-translation, such as vqa, gqa, vcr,
    captioning, image-text-retrieval, moment-retrieval, visual-dialog or navigation; also a-okvqa, and
    `accuracy` for any labels"""
    pred: Path
    """predictions: JSON, JSON lines or CSV, records or {id: value}. Submissions of VQA, GQA (questionId,
    prediction), VCR (CSV), Hateful Memes (id,proba,label), TVR, VisDial (ranks) and R2R (trajectory) are read
    as they are. For retrieval a .npy or JSON matrix of similarities, images or videos by texts. By id:
    moment-retrieval [start, end] in seconds; phrase-grounding boxes left, top, right, bottom, best first;
    relation-detection records as VRD annotates them, with score, or with triple, boxes and score;
    document-understanding tags, or text with a token and its tag a line"""
    gold: Path
    """the truth, in the data set's own format (annotations of VQA, A-OKVQA, VCR, Hateful Memes, TVR, VRD and
    R2R; questions of GQA; dialogues or dense annotations of VisDial) or as {id: value}; for retrieval a list:
    the number, from 0, of each text's image or video"""
    graph: Path | None = None
    """for navigation: the folder of Matterport3D's SCAN_connectivity.json files, or a JSON file {scan:
    {"positions": {viewpoint: [x, y, z]}, "edges": [[viewpoint, viewpoint]]}} in metres"""
    missing: Literal["error", "zero"] = "error"
    """what a missing prediction is"""
    convention: str | None = None
    """a metric's convention, such as official-2015 or fixed for vqa, count or count-rounded for the counts of
    TGIF-QA, merged for phrase-grounding; an unknown one lists those there are"""
    require: tuple[str, ...] = ()
    """metrics that must be computed: exit code 3 if one cannot be, such as spice without Java"""
    json: bool = False
    """print JSON"""


def run(options: Options) -> int:
    """Print the scores; 3 if a required metric could not be computed."""
    from vlp_atlas.scoring import report, score

    scores = score(
        options.task, options.pred, options.gold, missing=options.missing, convention=options.convention,
        graph=options.graph,
    )  # fmt: skip
    return report(scores, require=options.require, as_json=options.json)
